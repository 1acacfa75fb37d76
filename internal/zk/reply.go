package zk

import (
	"encoding/binary"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// output holds encoded replies.
type output struct {
	buf []byte
	// stats and account count the frames.
	stats   *stats
	account *account
}

// take gives what has been encoded to the sender; spare is memory for what comes next.
func (o *output) take(spare []byte) []byte {
	buf := o.buf
	o.buf = spare[:0]
	return buf
}

// begin starts the frame of a reply and returns where.
func (o *output) begin(h jute.ReplyHeader) (start int) {
	start = len(o.buf)
	o.buf = h.Append(jute.BeginFrame(o.buf))
	return start
}

// end completes the frame.
func (o *output) end(start int) {
	o.buf = jute.EndFrame(o.buf, start)
	o.count(1)
}

func (o *output) count(frames int64) {
	o.stats.sent.Add(frames)
	o.account.sent += frames
}

// events adds encoded notifications.
func (o *output) events(frames []byte) {
	o.buf = append(o.buf, frames...)
	n := int64(0)
	for ; len(frames) > 0; n++ {
		frames = frames[jute.FrameHeaderBytes+binary.BigEndian.Uint32(frames):]
	}
	o.count(n)
}

// notice adds a notification.
func (o *output) notice(typ watch.EventType, path string, zxid int64) {
	o.buf = appendNotice(o.buf, typ, path, zxid)
	o.count(1)
}

// connect encodes the answer to a connect request.
func (o *output) connect(m *jute.ConnectResponse) {
	start := len(o.buf)
	o.buf = m.Append(jute.BeginFrame(o.buf))
	o.end(start)
}

// fixed encodes an answer that was known from the start. That to a SASL token is a null token: the
// server has no SASL, and the client goes on without.
func (o *output) fixed(it *item) {
	start := o.begin(jute.ReplyHeader{Xid: it.xid, Zxid: it.zxid, Err: it.code})
	if it.op == jute.OpSASL {
		o.buf = (&jute.SASLToken{}).Append(o.buf)
	}
	o.end(start)
}

// refuse encodes the answer to a write that could not be decoded.
func (o *output) refuse(it *item, zxid int64) {
	o.end(o.begin(jute.ReplyHeader{Xid: it.xid, Zxid: zxid, Err: it.code}))
}

// write encodes the answer to a decided command. The error of a failed multi stands in its body,
// beside an error of 0 in the header.
func (o *output) write(it *item, code jute.ErrorCode, zxid int64) {
	multi, isMulti := it.result.Body.(*state.MultiResult)
	if isMulti {
		code = jute.CodeOK
	}
	start := o.begin(jute.ReplyHeader{Xid: it.xid, Zxid: zxid, Err: code})
	switch {
	case isMulti:
		o.buf = appendMulti(o.buf, it.replies, multi)
	case code == jute.CodeOK:
		o.buf = appendBody(o.buf, it.op, it.result.Body)
	}
	o.end(start)
}

// read encodes the answer to a read from what was seen.
func (o *output) read(it *item, l *look, zxid int64) {
	code := it.code
	if code == jute.CodeOK {
		code = replyCode(l.seen.code)
	}
	start := o.begin(jute.ReplyHeader{Xid: it.xid, Zxid: zxid, Err: code})
	if code == jute.CodeOK {
		o.buf = appendSeen(o.buf, it, l)
	}
	o.end(start)
}

// watching encodes the answer to a request about watches. Only addWatch has a body, an error that is none.
func (o *output) watching(op jute.OpCode, xid int32, zxid int64, code jute.ErrorCode) {
	start := o.begin(jute.ReplyHeader{Xid: xid, Zxid: zxid, Err: code})
	if op == jute.OpAddWatch && code == jute.CodeOK {
		o.buf = (&jute.ErrorResponse{}).Append(o.buf)
	}
	o.end(start)
}

// appendBody adds the body of the answer to a write; op says which of the two answers to a create
// it is.
func appendBody(b []byte, op jute.OpCode, body any) []byte {
	switch body := body.(type) {
	case *state.CreateResult:
		if op == jute.OpCreate {
			return (&jute.CreateResponse{Path: body.Path}).Append(b)
		}
		m := jute.Create2Response{Path: body.Path, Stat: wireStat(&body.Stat)}
		return m.Append(b)
	case *state.Stat:
		stat := wireStat(body)
		return stat.Append(b)
	}
	return b
}

// appendMulti adds the response to a multi: if it failed, an error for each operation, of type -1.
func appendMulti(b []byte, replies []jute.OpCode, m *state.MultiResult) []byte {
	failed := false
	for _, code := range m.Codes {
		failed = failed || code != state.OK
	}
	invariant.Assert(len(m.Codes) == len(replies), "a multi has a result for each operation")
	for i, code := range m.Codes {
		if failed {
			b = appendFailure(b, replyCode(code))
			continue
		}
		h := jute.MultiHeader{Type: replies[i], Err: jute.CodeOK}
		b = appendBody(h.Append(b), replies[i], m.Bodies[i])
	}
	end := jute.MultiEnd()
	return end.Append(b)
}

// appendFailure adds the element of a multi or multiRead that says that an operation has failed.
func appendFailure(b []byte, code jute.ErrorCode) []byte {
	h := jute.MultiHeader{Type: jute.OpError, Err: code}
	return (&jute.ErrorResponse{Err: code}).Append(h.Append(b))
}

// appendSeen adds the body of the answer to a read.
func appendSeen(b []byte, it *item, l *look) []byte {
	s := &l.seen
	switch it.op {
	case jute.OpMultiRead:
		return appendMultiRead(b, it.reads, l.parts)
	case jute.OpGetEphemerals:
		return appendPrefixed(b, s.names, it.path)
	case jute.OpGetAllChildrenNumber:
		return jute.AppendInt32(b, s.count)
	case jute.OpSync:
		if it.nullPath {
			return jute.AppendBytes(b, nil)
		}
		return jute.AppendString(b, it.path)
	case jute.OpWhoAmI:
		return appendIdentities(b, it.identities)
	case jute.OpGetACL:
		b = appendACL(b, s.acl)
	case jute.OpGetData:
		b = jute.AppendBytes(b, s.data)
	case jute.OpGetChildren:
		return jute.AppendStrings(b, notNull(s.names))
	case jute.OpGetChildren2:
		b = jute.AppendStrings(b, notNull(s.names))
	case jute.OpExists:
	default:
		return b // Ping has no body.
	}
	stat := wireStat(&s.stat)
	return stat.Append(b)
}

// appendMultiRead adds the response to a multiRead, in which each operation has an outcome of its
// own.
func appendMultiRead(b []byte, ops []readOp, parts []seen) []byte {
	for i := range parts {
		p := &parts[i]
		if p.code != state.OK {
			b = appendFailure(b, replyCode(p.code))
			continue
		}
		h := jute.MultiHeader{Type: ops[i].op, Err: jute.CodeOK}
		b = h.Append(b)
		if ops[i].op == jute.OpGetChildren {
			b = jute.AppendStrings(b, notNull(p.names))
			continue
		}
		stat := wireStat(&p.stat)
		b = stat.Append(jute.AppendBytes(b, p.data))
	}
	end := jute.MultiEnd()
	return end.Append(b)
}

// appendPrefixed adds those paths that begin with prefix, which need not end at a slash; blanks
// alone, or around a slash, mean every path.
func appendPrefixed(b []byte, paths []string, prefix string) []byte {
	// Java's trim cuts everything up to the blank.
	if t := strings.TrimFunc(prefix, func(r rune) bool { return r <= ' ' }); t == "" || t == "/" {
		prefix = ""
	}
	kept := make([]string, 0, len(paths))
	for _, p := range paths {
		if strings.HasPrefix(p, prefix) {
			kept = append(kept, p)
		}
	}
	return jute.AppendStrings(b, kept)
}

// appendIdentities adds who the client is.
func appendIdentities(b []byte, ids []command.Identity) []byte {
	b = jute.AppendInt32(b, int32(len(ids)))
	for _, id := range ids {
		user := id.ID
		if id.Scheme == "digest" {
			user, _, _ = strings.Cut(user, ":") // The digest itself is a secret.
		}
		b = (&jute.ClientInfo{Scheme: id.Scheme, User: user}).Append(b)
	}
	return b
}

// appendACL adds an access list.
func appendACL(b []byte, acl []command.ACL) []byte {
	b = jute.AppendInt32(b, int32(len(acl)))
	for _, a := range acl {
		m := jute.ACL{Perms: int32(a.Perms), Scheme: a.Scheme, ID: a.ID}
		b = m.Append(b)
	}
	return b
}

// notNull makes a list of names that the client finds empty rather than null.
func notNull(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// wireStat converts a Stat.
func wireStat(s *state.Stat) jute.Stat {
	return jute.Stat{
		Czxid: s.Czxid, Mzxid: s.Mzxid, Ctime: s.Ctime, Mtime: s.Mtime,
		Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion,
		EphemeralOwner: s.EphemeralOwner, DataLength: s.DataLength, NumChildren: s.NumChildren,
		Pzxid: s.Pzxid,
	}
}
