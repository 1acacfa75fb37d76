package zkdifferential

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// fieldKind says how a field is compared.
type fieldKind int

const (
	// fieldPlain must be equal.
	fieldPlain fieldKind = iota
	// fieldZxid must stand for the same change.
	fieldZxid
	// fieldPlace must be as far from the beginning: the zxid that a reply says its server has come to.
	fieldPlace
	// fieldLoose is such a zxid while others are at work.
	fieldLoose
	// fieldTime is a time in milliseconds, that of the zxid before it.
	fieldTime
	// fieldSession must be the same session.
	fieldSession
)

// field is a part of a message.
type field struct {
	kind fieldKind
	name string
	text string
	n    int64
}

// fields takes messages apart.
type fields struct {
	scanner
	out []field
}

func (f *fields) add(kind fieldKind, name string, n int64) {
	f.out = append(f.out, field{kind: kind, name: name, n: n, text: fmt.Sprint(n)})
}

func (f *fields) plain(name, text string) {
	f.out = append(f.out, field{kind: fieldPlain, name: name, text: text})
}

func (f *fields) text(name string) {
	f.plain(name, showBytes(pairsJoined(f.bytes())))
}

// pairsJoined turns what Java's writers make of a character beyond U+FFFF, two halves of three bytes each
// (org.apache.jute.BinaryOutputArchive.stringToByteBuffer), into the UTF-8 of the character, which okapi sends.
func pairsJoined(b []byte) []byte {
	at := bytes.IndexByte(b, 0xed)
	for i := at; i >= 0 && i+6 <= len(b); i++ {
		if h := b[i : i+6]; h[0] == 0xed && h[1]&0xf0 == 0xa0 && h[3] == 0xed && h[4]&0xf0 == 0xb0 {
			high, low := rune(h[1]&0x0f)<<6|rune(h[2]&0x3f), rune(h[4]&0x0f)<<6|rune(h[5]&0x3f)
			b = slices.Concat(b[:i], utf8.AppendRune(nil, 0x10000+(high<<10|low)), b[i+6:])
		}
	}
	return b
}

// names adds a list whose order is open.
func (f *fields) names(name string) {
	n := int(f.scanner.int())
	if n < 0 {
		f.plain(name, "null")
		return
	}
	var list []string
	for range n {
		if f.short {
			break
		}
		list = append(list, showBytes(f.bytes()))
	}
	slices.Sort(list)
	f.plain(name, fmt.Sprintf("%d [%s]", n, strings.Join(list, " ")))
}

// pairs adds a list of pairs, whose order is open.
func (f *fields) pairs(name string) {
	n := f.count()
	var list []string
	for range n {
		list = append(list, showBytes(f.bytes())+":"+showBytes(f.bytes()))
	}
	slices.Sort(list)
	f.plain(name, fmt.Sprintf("%d [%s]", n, strings.Join(list, " ")))
}

func (f *fields) stat() {
	czxid, mzxid, ctime, mtime := f.long(), f.long(), f.long(), f.long()
	f.add(fieldZxid, "czxid", czxid)
	f.add(fieldTime, "ctime", ctime)
	f.add(fieldZxid, "mzxid", mzxid)
	f.add(fieldTime, "mtime", mtime)
	for _, name := range []string{"version", "cversion", "aversion"} {
		f.add(fieldPlain, name, int64(f.int()))
	}
	f.add(fieldSession, "ephemeralOwner", f.long())
	f.add(fieldPlain, "dataLength", int64(f.int()))
	f.add(fieldPlain, "numChildren", int64(f.int()))
	f.add(fieldZxid, "pzxid", f.long())
}

// take apart a message. parallel says that others were at work at the time.
func fieldsOf(m *message, parallel bool) []field {
	f := &fields{scanner: scanner{rest: m.frame}}
	switch m.kind {
	case messageEnd:
		f.plain("kind", "end of the connection")
	case messageConnect:
		f.connect()
	case messageEvent:
		f.event()
	case messageReply:
		f.reply(m.request, parallel)
	}
	if f.short || len(f.rest) > 0 {
		f.plain("rest", fmt.Sprintf("%x", f.rest))
		f.plain("short", fmt.Sprint(f.short))
	}
	return f.out
}

func (f *fields) connect() {
	f.plain("kind", "connect")
	f.add(fieldPlain, "protocol", int64(f.int()))
	f.add(fieldPlain, "timeout", int64(f.int()))
	f.add(fieldSession, "session", f.long())
	password := f.bytes()
	zero := !slices.ContainsFunc(password, func(b byte) bool { return b != 0 })
	f.plain("password", fmt.Sprintf("%d bytes, zero: %v", len(password), zero))
	if len(f.rest) > 0 {
		f.add(fieldPlain, "readOnly", int64(f.byte()))
	}
}

func (f *fields) event() {
	f.plain("kind", "event")
	f.add(fieldPlain, "xid", int64(f.int()))
	f.add(fieldZxid, "zxid", f.long())
	f.add(fieldPlain, "err", int64(f.int()))
	f.add(fieldPlain, "type", int64(f.int()))
	f.add(fieldPlain, "state", int64(f.int()))
	f.text("path")
}

func (f *fields) reply(r *request, parallel bool) {
	f.plain("kind", "reply")
	f.add(fieldPlain, "xid", int64(f.int()))
	zxid, code := f.long(), f.int()
	kind := fieldPlace
	switch {
	case parallel && writes(r) && code != marshallingError:
		kind = fieldZxid
	case parallel:
		kind = fieldLoose
	}
	f.add(kind, "zxid", zxid)
	f.add(fieldPlain, "err", int64(code))
	if code == 0 {
		f.replyBody(r)
	} else if r.op == opMultiRead && string(f.rest) == emptyMulti {
		f.rest = nil
	}
}

// emptyMulti is what ZooKeeper sends behind its refusal of a multiRead of writes: the list that it had begun
// (org.apache.zookeeper.server.FinalRequestProcessor). Nobody reads what stands behind a refusal.
const emptyMulti = "\xff\xff\xff\xff\x01\xff\xff\xff\xff"

// marshallingError is what a request is answered that cannot be decoded. Not every one of them gets a zxid.
const marshallingError = -5

// writes reports whether a request gets a zxid.
func writes(r *request) bool {
	switch r.op {
	case opCreate, opCreate2, opCreateContainer, opCreateTTL, opDelete, opSetData, opSetACL, opMulti, opClose:
		return true
	}
	return false
}

func (f *fields) replyBody(r *request) {
	switch r.op {
	case opCreate, opSync:
		f.text("path")
	case opCreate2, opCreateContainer, opCreateTTL:
		f.text("path")
		f.stat()
	case opExists, opSetData, opSetACL:
		f.stat()
	case opGetData:
		f.text("data")
		f.stat()
	case opGetACL:
		f.acl()
		f.stat()
	case opGetChildren, opGetEphemerals:
		f.names("names")
	case opGetChildren2:
		f.names("names")
		f.stat()
	case opMulti, opMultiRead:
		f.multi()
	case opCountAll:
		f.add(fieldPlain, "count", int64(f.int()))
	case opAddWatch:
		f.add(fieldPlain, "error", int64(f.int()))
	case opSASL:
		f.text("token")
	case opWhoAmI:
		f.pairs("identities")
	}
}

func (f *fields) acl() {
	n := int(f.int())
	f.add(fieldPlain, "entries", int64(n))
	var list []entry
	for range n {
		if f.short {
			return
		}
		list = append(list, entry{f.int(), string(f.bytes()), string(f.bytes())})
	}
	// The identities that auth stands for come in any order.
	for i := range list {
		for j := i; j > 0 && list[j].scheme == "digest" && list[j-1].scheme == "digest" && list[j].perms == list[j-1].perms && list[j].id < list[j-1].id; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	for _, e := range list {
		f.add(fieldPlain, "perms", int64(e.perms))
		f.plain("scheme", showBytes([]byte(e.scheme)))
		f.plain("id", showBytes([]byte(e.id)))
	}
}

func (f *fields) multi() {
	for !f.short {
		op, done, code := f.int(), f.byte(), f.int()
		f.plain("op", fmt.Sprintf("type %d done %d err %d", op, done, code))
		if done != 0 {
			return
		}
		switch op {
		case -1:
			f.add(fieldPlain, "error", int64(f.int()))
		case opCreate:
			f.text("path")
		case opCreate2:
			f.text("path")
			f.stat()
		case opSetData:
			f.stat()
		case opGetData:
			f.text("data")
			f.stat()
		case opGetChildren:
			f.names("names")
		}
	}
}

// show prints a message for people.
func (m *message) show() string {
	var b strings.Builder
	for _, f := range fieldsOf(m, false) {
		if b.Len() > 0 {
			b.WriteString(" ")
		}
		switch {
		case f.name == "kind":
			b.WriteString(f.text)
		case f.kind != fieldPlain && f.kind != fieldTime:
			fmt.Fprintf(&b, "%s=%#x", f.name, uint64(f.n))
		default:
			fmt.Fprintf(&b, "%s=%s", f.name, f.text)
		}
	}
	return b.String()
}
