package zkdifferential

import (
	"fmt"
	"strings"
)

// request is one request, with every field that any of them has. It is encoded as it stands, sense or no sense.
type request struct {
	op   int32
	path string
	// nullPath sends null instead of path.
	nullPath bool
	// data is that of create and setData, the credentials of auth and the token of SASL; nil is null.
	data []byte
	// acl is an access list; nil is null.
	acl     []entry
	flags   int32
	version int32
	ttl     int64
	watch   bool
	// kind is a watcher type or a mode of addWatch.
	kind   int32
	scheme string
	// ops are those of multi and multiRead.
	ops []request
	// again are the lists of setWatches and setWatches2, since says as of when.
	again [5][]string
	since moment
	// cut is how many bytes of the body are missing; junk is what stands behind it.
	cut  int
	junk []byte
}

// entry is one entry of an access list.
type entry struct {
	perms      int32
	scheme, id string
}

// moment is a zxid that is known only when a script runs.
type moment int

const (
	// momentSeen is the last zxid that the session has seen in a reply.
	momentSeen moment = iota
	// momentOpened is the zxid that the session saw first.
	momentOpened
	// momentZero is zxid 0.
	momentZero
	// momentAhead is a zxid that the server has not reached.
	momentAhead
)

var momentNames = [...]string{"seen", "opened", "zero", "ahead"}

// xid gives the xid for a request that is the n-th of its connection.
func (r *request) xid(n int32) int32 {
	switch r.op {
	case opPing:
		return xidPing
	case opAuth:
		return xidAuth
	case opSetWatches, opSetWatches2:
		if n%2 == 0 {
			return xidSetWatches
		}
	}
	return n
}

// frame encodes the request with its header, without the length of the frame. at resolves moments.
func (r *request) frame(n int32, at func(moment) int64) []byte {
	b := putInt(putInt(nil, r.xid(n)), r.op)
	head := len(b)
	b = r.body(b, at)
	b = b[:max(head, len(b)-r.cut)]
	return append(b, r.junk...)
}

func (r *request) body(b []byte, at func(moment) int64) []byte {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer, opCreateTTL:
		b = putInt(putACL(putBytes(r.putPath(b), r.data), r.acl), r.flags)
		if r.op == opCreateTTL {
			b = putLong(b, r.ttl)
		}
		return b
	case opDelete, opCheck:
		return putInt(r.putPath(b), r.version)
	case opExists, opGetData, opGetChildren, opGetChildren2:
		return putBool(r.putPath(b), r.watch)
	case opSetData:
		return putInt(putBytes(r.putPath(b), r.data), r.version)
	case opGetACL, opSync, opGetEphemerals, opCountAll:
		return r.putPath(b)
	case opSetACL:
		return putInt(putACL(r.putPath(b), r.acl), r.version)
	case opCheckWatches, opRemoveWatches, opAddWatch:
		return putInt(r.putPath(b), r.kind)
	case opMulti, opMultiRead:
		for i := range r.ops {
			b = putInt(putBool(putInt(b, r.ops[i].op), false), -1)
			b = r.ops[i].body(b, at)
		}
		return putInt(putBool(putInt(b, -1), true), -1)
	case opAuth:
		return putBytes(putString(putInt(b, 0), r.scheme), r.data)
	case opSASL:
		return putBytes(b, r.data)
	case opSetWatches, opSetWatches2:
		b = putLong(b, at(r.since))
		lists := r.again[:3]
		if r.op == opSetWatches2 {
			lists = r.again[:]
		}
		for _, list := range lists {
			b = putInt(b, int32(len(list)))
			for _, path := range list {
				b = putString(b, path)
			}
		}
	}
	return b
}

func (r *request) putPath(b []byte) []byte {
	if r.nullPath {
		return putInt(b, -1)
	}
	return putString(b, r.path)
}

func putACL(b []byte, acl []entry) []byte {
	if acl == nil {
		return putInt(b, -1)
	}
	b = putInt(b, int32(len(acl)))
	for _, e := range acl {
		b = putString(putString(putInt(b, e.perms), e.scheme), e.id)
	}
	return b
}

// ends reports whether the connection ends with the request, whatever it is answered.
func (r *request) ends() bool {
	_, known := opNames[r.op]
	return !known || r.op == opClose || r.op == opCheck
}

// String shows the fields that are sent.
func (r *request) String() string {
	name, known := opNames[r.op]
	if !known {
		name = fmt.Sprintf("op%d", r.op)
	}
	var b strings.Builder
	b.WriteString(name)
	if r.nullPath {
		b.WriteString(" null")
	} else if r.path != "" || strings.HasPrefix(name, "get") || r.op == opExists {
		fmt.Fprintf(&b, " %q", r.path)
	}
	switch r.op {
	case opCreate, opCreate2, opCreateContainer, opCreateTTL:
		fmt.Fprintf(&b, " data=%s flags=%d acl=%s", showBytes(r.data), r.flags, showACL(r.acl))
		if r.op == opCreateTTL {
			fmt.Fprintf(&b, " ttl=%d", r.ttl)
		}
	case opDelete, opCheck:
		fmt.Fprintf(&b, " version=%d", r.version)
	case opSetData:
		fmt.Fprintf(&b, " data=%s version=%d", showBytes(r.data), r.version)
	case opSetACL:
		fmt.Fprintf(&b, " acl=%s version=%d", showACL(r.acl), r.version)
	case opExists, opGetData, opGetChildren, opGetChildren2:
		if r.watch {
			b.WriteString(" watch")
		}
	case opCheckWatches, opRemoveWatches, opAddWatch:
		fmt.Fprintf(&b, " kind=%d", r.kind)
	case opMulti, opMultiRead:
		fmt.Fprintf(&b, "%v", showAll(r.ops))
	case opAuth, opSASL:
		fmt.Fprintf(&b, " %q %s", r.scheme, showBytes(r.data))
	case opSetWatches, opSetWatches2:
		fmt.Fprintf(&b, " since=%s data=%q exist=%q child=%q persistent=%q recursive=%q",
			momentNames[r.since], r.again[0], r.again[1], r.again[2], r.again[3], r.again[4])
	}
	if r.cut > 0 {
		fmt.Fprintf(&b, " cut=%d", r.cut)
	}
	if r.junk != nil {
		fmt.Fprintf(&b, " junk=%x", r.junk)
	}
	return b.String()
}

func showAll(rs []request) string {
	var out []string
	for i := range rs {
		out = append(out, rs[i].String())
	}
	return "{" + strings.Join(out, "; ") + "}"
}

func showBytes(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

func showACL(acl []entry) string {
	if acl == nil {
		return "null"
	}
	var out []string
	for _, e := range acl {
		out = append(out, fmt.Sprintf("%s:%s:%d", e.scheme, e.id, e.perms))
	}
	return "[" + strings.Join(out, ", ") + "]"
}
