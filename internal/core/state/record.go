package state

import (
	"encoding/binary"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// A snapshot of the machine is a list of records. Each has a kind and bytes; how they are framed, checked
// and compressed is not our concern. Numbers are varints, strings have their length before them.
// recordFormat stands in the first record and is raised when the encoding changes.
const recordFormat = 3

// The kinds, in the order in which they come.
const (
	recordState  uint8 = 1 // counters, settings, marks; exactly one, and first
	recordLeases uint8 = 2 // sessions and leases
	recordPlain  uint8 = 3 // one plain key and its versions
	recordTree   uint8 = 4 // one znode and its versions
	recordEnd    uint8 = 5 // how many records came before; exactly one, and last
)

// Bits of the first byte of a version.
const (
	versionDeleted    = 1 << iota // a tombstone
	versionSharesData             // the data are those of the version before
	versionSharesACL              // so is the access list
	versionNull                   // the data are null rather than empty
)

// encoder appends to b.
type encoder struct{ b []byte }

func (e *encoder) byte(x byte)     { e.b = append(e.b, x) }
func (e *encoder) uint(x uint64)   { e.b = binary.AppendUvarint(e.b, x) }
func (e *encoder) string(x string) { e.uint(uint64(len(x))); e.b = append(e.b, x...) }
func (e *encoder) bytes(x []byte)  { e.uint(uint64(len(x))); e.b = append(e.b, x...) }
func (e *encoder) bool(x bool)     { e.byte(byte(flag(x))) }

// ints appends signed numbers.
func (e *encoder) ints(xs ...int64) {
	for _, x := range xs {
		e.b = binary.AppendVarint(e.b, x)
	}
}

// decoder takes off b. After the first number or string that is not there everything it returns is
// zero, and bad is true.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.b, d.bad = nil, true
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	x := d.b[0]
	d.b = d.b[1:]
	return x
}

func (d *decoder) uint() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return x
}

func (d *decoder) int() int64 {
	x, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return x
}

// ints reads signed numbers into what the arguments point to.
func (d *decoder) ints(xs ...*int64) {
	for _, x := range xs {
		*x = d.int()
	}
}

// int32 reads a signed number of 32 bits.
func (d *decoder) int32() int32 {
	x := d.int()
	if int64(int32(x)) != x {
		d.fail()
	}
	return int32(x)
}

// bytes returns what stands in the record itself.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	x := d.b[:n:n]
	d.b = d.b[n:]
	return x
}

func (d *decoder) string() string { return string(d.bytes()) }
func (d *decoder) bool() bool     { return d.byte() != 0 }

// count reads the length of a list whose elements take at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (e *encoder) settings(c *command.Settings) {
	e.string(c.TreePrefix)
	e.ints(c.TreeHistory, c.QuotaBytes, c.TreeQuotaBytes)
	e.bool(c.ExtendedTypes)
	e.bool(c.EnforceQuota)
	e.bool(c.SkipACL)
}

func (d *decoder) settings(c *command.Settings) {
	c.TreePrefix = d.string()
	d.ints(&c.TreeHistory, &c.QuotaBytes, &c.TreeQuotaBytes)
	c.ExtendedTypes = d.bool()
	c.EnforceQuota = d.bool()
	c.SkipACL = d.bool()
}

func (e *encoder) history(h *history) {
	e.ints(h.total, h.floor, h.floorTotal)
	e.uint(uint64(len(h.marks)))
	for _, k := range h.marks {
		e.ints(k.time, k.rev, k.total)
	}
}

func (d *decoder) history(h *history) {
	d.ints(&h.total, &h.floor, &h.floorTotal)
	h.marks = make([]mark, d.count())
	for i := range h.marks {
		k := &h.marks[i]
		d.ints(&k.time, &k.rev, &k.total)
	}
}

func (e *encoder) lease(l *lease) {
	e.byte(byte(l.kind))
	e.ints(l.id, l.ttl, int64(l.timeoutMS))
	e.uint(l.generation)
	e.uint(l.sequence)
	if l.kind == leaseSession {
		e.b = append(e.b, l.password[:]...)
	}
}

func (d *decoder) lease() *lease {
	l := &lease{kind: leaseKind(d.byte())}
	d.ints(&l.id, &l.ttl)
	l.timeoutMS = d.int32()
	l.generation = d.uint()
	l.sequence = d.uint()
	if l.kind > leaseSession {
		d.fail()
	}
	if l.kind == leaseSession {
		if len(d.b) < len(l.password) {
			d.fail()
			return l
		}
		copy(l.password[:], d.b)
		d.b = d.b[len(l.password):]
	}
	return l
}

// value appends a version's record, without what it shares with the version before.
func (e *encoder) value(v *value, bits byte) {
	e.ints(v.create, v.version, v.lease)
	if bits&versionSharesData == 0 {
		e.bytes(v.data)
	}
}

func (d *decoder) value(v *value, bits byte, before *value) {
	d.ints(&v.create, &v.version, &v.lease)
	v.data = d.data(bits, before.data)
}

// data reads data that may be shared with the version before. Others are part of what is decoded.
func (d *decoder) data(bits byte, before []byte) []byte {
	if bits&versionSharesData != 0 {
		return before
	}
	b := d.bytes()
	if bits&versionNull != 0 {
		return nil
	}
	return b
}

// node appends a version's record, without what it shares with the version before.
func (e *encoder) node(z *znode, bits byte) {
	e.ints(z.czxid, z.mzxid, z.pzxid, z.ctime, z.mtime, z.create, z.mod, z.owner, z.ttl)
	e.ints(int64(z.version), int64(z.aversion), int64(z.creates), int64(z.children))
	e.byte(byte(z.kind))
	if bits&versionSharesData == 0 {
		e.bytes(z.data)
	}
	if bits&versionSharesACL == 0 {
		e.uint(uint64(len(z.acl.entries)))
		for i := range z.acl.entries {
			a := &z.acl.entries[i]
			e.ints(int64(a.Perms))
			e.string(a.Scheme)
			e.string(a.ID)
		}
	}
}

func (d *decoder) node(z *znode, bits byte, before *znode, acls *aclTable) {
	d.ints(&z.czxid, &z.mzxid, &z.pzxid, &z.ctime, &z.mtime, &z.create, &z.mod, &z.owner, &z.ttl)
	z.version, z.aversion, z.creates, z.children = d.int32(), d.int32(), d.int32(), d.int32()
	z.kind = nodeKind(d.byte())
	if z.kind > implicit {
		d.fail()
	}
	z.data = d.data(bits, before.data)
	if bits&versionSharesACL != 0 {
		z.acl = before.acl
		if z.acl == nil {
			d.fail()
		}
		return
	}
	entries := make([]command.ACL, d.count())
	for i := range entries {
		entries[i] = command.ACL{Perms: command.Permission(d.int32()), Scheme: d.string(), ID: d.string()}
	}
	z.acl = acls.intern(entries)
}
