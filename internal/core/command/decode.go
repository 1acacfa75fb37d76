package command

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/okapi-kv/okapi/internal/core/arena"
)

// Least encoded sizes, in bytes: a count is believed only if that many elements could follow, so that
// hostile bytes cannot ask for more memory than a small multiple of their own length.
const (
	minProposal = idSize + 3 // member, number, caller flags, kind
	minIdentity = 2
	minACL      = 3
	minCompare  = 6
	minCommand  = 3 // an op with at least two fields of one byte each
)

// decoder reads one encoded batch or proposal. The first error sticks: every read after it returns
// zero, so that the code that reads fields needs no error path of its own and stops at
// its next loop.
type decoder struct {
	data []byte
	text string // the same memory; every decoded string is a part of it
	pos  int
	err  error

	// Lists that commands after one another share.
	identities repeated[Identity]
	acls       repeated[ACL]
}

// newDecoder checks the version byte.
func newDecoder(data []byte) decoder {
	d := decoder{data: data}
	v := d.byte("version")
	if d.err == nil && v > Version {
		d.err = fmt.Errorf("read codec version %d: %w", v, ErrVersion)
	} else if v == 0 {
		d.fail("version")
	}
	if d.err == nil {
		d.text = arena.String(data)
	}
	return d
}

// finish returns the error of the decoding; bytes that were not read are one.
func (d *decoder) finish() error {
	if d.err == nil && d.pos != len(d.data) {
		d.fail("end")
	}
	return d.err
}

// fail notes that what stands at the present position is wrong.
func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("decode %s at byte %d of %d: %w", what, d.pos, len(d.data), ErrMalformed)
	}
}

// take skips n bytes and returns the offset of the first; false if they are not there.
func (d *decoder) take(what string, n int) (int, bool) {
	if d.err != nil || n > len(d.data)-d.pos {
		d.fail(what)
		return 0, false
	}
	start := d.pos
	d.pos += n
	return start, true
}

func (d *decoder) byte(what string) byte {
	if i, ok := d.take(what, 1); ok {
		return d.data[i]
	}
	return 0
}

// flags reads a byte of flags of which only those in known may be set.
func (d *decoder) flags(what string, known byte) byte {
	f := d.byte(what)
	if f&^known != 0 {
		d.pos--
		d.fail(what)
		return 0
	}
	return f
}

func (d *decoder) uvarint(what string) uint64 {
	if d.err != nil {
		return 0
	}
	if d.pos < len(d.data) && d.data[d.pos] < 0x80 { // most lengths are one byte
		d.pos++
		return uint64(d.data[d.pos-1])
	}
	v, n := binary.Uvarint(d.data[d.pos:])
	if n <= 0 {
		d.fail(what)
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) varint(what string) int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.data[d.pos:])
	if n <= 0 {
		d.fail(what)
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) int32(what string) int32 {
	start := d.pos
	v := d.varint(what)
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.pos = start
		d.fail(what)
		return 0
	}
	return int32(v)
}

func (d *decoder) id(what string) uint64 {
	if i, ok := d.take(what, idSize); ok {
		return binary.LittleEndian.Uint64(d.data[i:])
	}
	return 0
}

// count reads the number of elements of which each takes no fewer than least bytes.
func (d *decoder) count(what string, least int) int {
	start := d.pos
	n := d.uvarint(what)
	if left := uint64(len(d.data) - d.pos); n > left || n*uint64(least) > left {
		d.pos = start
		d.fail(what)
		return 0
	}
	return int(n)
}

func (d *decoder) string(what string) string {
	n := d.count(what, 1)
	if i, ok := d.take(what, n); ok {
		return d.text[i : i+n]
	}
	return ""
}

// texts reads a list of strings; an empty one is nil.
func texts(d *decoder, what string) []string {
	n := d.count(what, 1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.string(what)
	}
	return list
}

// bytes is the reverse of appendBytes.
func (d *decoder) bytes(what string) []byte {
	start := d.pos
	n := d.uvarint(what)
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(d.data)-d.pos) {
		d.pos = start
		d.fail(what)
		return nil
	}
	i, _ := d.take(what, int(n-1))
	return d.data[i:d.pos:d.pos]
}

func (d *decoder) proposal(p *Proposal) {
	p.ID.Member = d.id("member")
	p.ID.Number = d.uvarint("number")
	d.caller(&p.Caller)
	p.Command = d.command(atTop, 0)
}

func (d *decoder) caller(c *Caller) {
	flags := d.flags("caller", callerBits)
	*c = Caller{Protocol: Protocol(flags & callerProtocol)}
	if c.Protocol > ZooKeeper {
		d.pos--
		d.fail("caller")
		return
	}
	if flags&callerUser != 0 {
		c.User = d.string("user")
		c.AuthRevision = d.uvarint("auth revision")
	}
	if flags&callerIdentities != 0 {
		c.Identities = d.identityList()
	}
	if flags&callerSession != 0 {
		c.Session = int64(d.id("session"))
		c.Generation = d.uvarint("generation")
		c.Sequence = d.uvarint("sequence")
	}
}

// identityList reads identities; an empty list is nil.
func (d *decoder) identityList() []Identity {
	return d.identities.next(d, func() []Identity {
		n := d.count("identities", minIdentity)
		if n == 0 {
			return nil
		}
		list := make([]Identity, 0, n)
		for ; n > 0 && d.err == nil; n-- {
			list = append(list, Identity{Scheme: d.string("scheme"), ID: d.string("id")})
		}
		return list
	})
}

// repeated is a list that mostly stands several times in a batch, as the identities of one client or its access list do: what
// is the same, byte by byte, as the one before is not decoded again.
type repeated[T any] struct {
	encoded []byte
	list    []T
}

// next returns the list that stands at the position of d, which read decodes.
func (r *repeated[T]) next(d *decoder, read func() []T) []T {
	if rest := d.data[d.pos:]; d.err == nil && len(r.encoded) > 0 && bytes.HasPrefix(rest, r.encoded) {
		d.pos += len(r.encoded)
		return r.list
	}
	start := d.pos
	list := read()
	if d.err == nil {
		r.encoded, r.list = d.data[start:d.pos], list
	}
	return list
}

// command reads kind and fields. depth counts the Txns around it.
func (d *decoder) command(where place, depth int) Command {
	k := Kind(d.byte("kind"))
	if d.err == nil && !where.allows(k) {
		d.pos--
		d.fail("kind")
	}
	if d.err != nil {
		return nil
	}
	switch k {
	case KindPut:
		return d.put()
	case KindRange:
		return d.scan()
	case KindDeleteRange:
		return d.deleteRange()
	case KindTxn:
		return d.txn(depth + 1)
	case KindMulti:
		return &Multi{Ops: d.commands("ops", inMulti, depth)}
	default:
		return d.leaf(k)
	}
}

// leaf reads the commands whose fields are few and plain.
func (d *decoder) leaf(k Kind) Command {
	switch k {
	case KindCompact:
		return &Compact{Revision: d.varint("revision")}
	case KindLeaseGrant:
		return &LeaseGrant{ID: int64(d.id("lease")), TTL: d.varint("ttl")}
	case KindLeaseRevoke:
		return &LeaseRevoke{ID: int64(d.id("lease"))}
	case KindAlarm:
		return &Alarm{Action: AlarmAction(d.int32("action")), Member: d.id("member"), Alarm: AlarmType(d.int32("alarm"))}
	case KindCreate:
		return &Create{Path: d.string("path"), Data: d.bytes("data"), ACL: d.acl(), Flags: d.int32("flags"), TTL: d.varint("ttl")}
	case KindDelete:
		return &Delete{Path: d.string("path"), Version: d.int32("version")}
	case KindSetData:
		return &SetData{Path: d.string("path"), Data: d.bytes("data"), Version: d.int32("version")}
	case KindSetACL:
		return &SetACL{Path: d.string("path"), ACL: d.acl(), Version: d.int32("version")}
	case KindCheck:
		return &Check{Path: d.string("path"), Version: d.int32("version")}
	case KindOpenSession:
		return &OpenSession{ID: int64(d.id("session")), Password: d.password(), Timeout: d.int32("timeout")}
	case KindAttachSession:
		return &AttachSession{ID: int64(d.id("session")), Password: d.password(), Timeout: d.int32("timeout")}
	case KindCloseSession:
		return &CloseSession{}
	case KindBootstrap:
		return d.bootstrap()
	case KindExpire:
		return &Expire{ID: int64(d.id("session")), Generation: d.uvarint("generation"), Term: d.uvarint("term")}
	case KindReap:
		return &Reap{Path: d.string("path"), Czxid: d.varint("czxid")}
	case KindPublishMember:
		return &PublishMember{ID: d.id("member"), Name: d.string("name"), ClientURLs: texts(d, "client urls")}
	case KindChangeMembers:
		return changeMembers(d)
	case KindSetLevel:
		return &SetLevel{Level: d.uvarint("level")}
	default:
		d.pos--
		d.fail("kind")
		return nil
	}
}

func (d *decoder) put() Command {
	flags := d.flags("put flags", putBits)
	c := &Put{
		Key:         d.string("key"),
		Value:       d.bytes("value"),
		PrevKV:      flags&putPrevKV != 0,
		IgnoreValue: flags&putIgnoreValue != 0,
		IgnoreLease: flags&putIgnoreLease != 0,
	}
	if flags&putLease != 0 {
		c.Lease = int64(d.id("lease"))
	}
	return c
}

func (d *decoder) scan() Command {
	flags := d.flags("range flags", rangeBits)
	c := &Range{
		Key:       d.string("key"),
		End:       d.string("range end"),
		KeysOnly:  flags&rangeKeysOnly != 0,
		CountOnly: flags&rangeCountOnly != 0,
	}
	if flags&rangeRest == 0 {
		return c
	}
	c.Limit = d.varint("limit")
	c.Revision = d.varint("revision")
	c.SortOrder = SortOrder(d.int32("sort order"))
	c.SortTarget = SortTarget(d.int32("sort target"))
	c.MinModRevision = d.varint("least mod revision")
	c.MaxModRevision = d.varint("greatest mod revision")
	c.MinCreateRevision = d.varint("least create revision")
	c.MaxCreateRevision = d.varint("greatest create revision")
	return c
}

func (d *decoder) deleteRange() Command {
	flags := d.flags("delete flags", deleteBits)
	return &DeleteRange{PrevKV: flags&deletePrevKV != 0, Key: d.string("key"), End: d.string("range end")}
}

func (d *decoder) txn(depth int) Command {
	if depth > MaxTxnDepth {
		d.fail("txn depth")
		return nil
	}
	c := &Txn{}
	if n := d.count("compares", minCompare); n > 0 {
		c.Compares = make([]Compare, n)
		for i := 0; i < n && d.err == nil; i++ {
			c.Compares[i] = Compare{
				Key:    d.string("compare key"),
				End:    d.string("compare range end"),
				Target: CompareTarget(d.int32("compare target")),
				Result: CompareResult(d.int32("compare result")),
				Number: d.varint("compare number"),
				Value:  d.bytes("compare value"),
			}
		}
	}
	c.Success = d.commands("success", inTxn, depth)
	c.Failure = d.commands("failure", inTxn, depth)
	return c
}

// commands reads a list of operations; an empty one is nil.
func (d *decoder) commands(what string, where place, depth int) []Command {
	n := d.count(what, minCommand)
	if n == 0 {
		return nil
	}
	list := make([]Command, n)
	for i := 0; i < n && d.err == nil; i++ {
		list[i] = d.command(where, depth)
	}
	return list
}

// acl reads an access list; an empty one is nil.
func (d *decoder) acl() []ACL {
	return d.acls.next(d, func() []ACL {
		n := d.count("acl", minACL)
		if n == 0 {
			return nil
		}
		list := make([]ACL, 0, n)
		for ; n > 0 && d.err == nil; n-- {
			list = append(list, ACL{Perms: Permission(d.int32("perms")), Scheme: d.string("scheme"), ID: d.string("id")})
		}
		return list
	})
}

func (d *decoder) password() (p [PasswordSize]byte) {
	if i, ok := d.take("password", PasswordSize); ok {
		copy(p[:], d.data[i:])
	}
	return p
}

func (d *decoder) bootstrap() Command {
	flags := d.flags("settings flags", settingsBits)
	return &Bootstrap{Settings: Settings{
		TreePrefix:     d.string("tree prefix"),
		TreeHistory:    d.varint("tree history"),
		QuotaBytes:     d.varint("quota"),
		TreeQuotaBytes: d.varint("tree quota"),
		ExtendedTypes:  flags&settingsExtended != 0,
		EnforceQuota:   flags&settingsEnforce != 0,
		SkipACL:        flags&settingsSkipACL != 0,
	}}
}
