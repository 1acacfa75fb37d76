package state

import (
	"fmt"

	"github.com/okapi-kv/okapi/internal/core/mvcc"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// Sink takes the records of a snapshot, in order.
type Sink interface {
	// Record takes one record. data is used again afterwards. An error ends the export.
	Record(kind uint8, data []byte) error
}

const (
	// stepBytes is how much is encoded between two calls of Yield, at most one key's versions more.
	stepBytes = 1 << 20
	// leasesPerRecord bounds a record of leases to some 10 KiB.
	leasesPerRecord = 256
)

// Export writes a snapshot of the state to w: every version above both floors, and all that Load needs to
// go on exactly as this machine does.
//
// v is the view that the snapshot shows, taken between two entries. Export must be called before anything
// else is applied, since what has no history is captured before v.Yield is first called. From then on the
// machine may run whenever Yield is called, which is after 256 keys or 1 MiB; only Reclaim does nothing until
// Export returns.
//
// An error is w's own, wrapped.
func (m *Machine) Export(v View, w Sink) error {
	invariant.Assert(m.out == nil && v.m == m && v.seq == m.seq && v.index == m.index,
		"a snapshot begins between two entries, at the newest view")
	m.exports++
	defer func() { m.exports-- }()
	x := &export{view: v, sink: w}
	plain := form[value]{kind: recordPlain, floor: m.plain.Floor(), bits: plainBits, write: (*encoder).value}
	tree := form[znode]{kind: recordTree, floor: m.tree.Floor(), bits: treeBits, write: (*encoder).node}
	for _, r := range m.unversioned() {
		x.record(r.kind, r.data)
	}
	exportSpace(x, m.plain, plain)
	exportSpace(x, m.tree, tree)
	var e encoder
	e.uint(x.records)
	x.record(recordEnd, e.b)
	if x.err != nil {
		return fmt.Errorf("write snapshot record: %w", x.err)
	}
	return nil
}

// export is one snapshot on its way.
type export struct {
	view    View
	sink    Sink
	records uint64
	err     error // the first one; nothing is written after it

	enc   encoder
	keys  int // since the last call of Yield
	bytes int
}

// record hands a record to the sink.
func (x *export) record(kind uint8, data []byte) {
	if x.err == nil {
		x.err = x.sink.Record(kind, data)
		x.records++
	}
}

// captured is a record that was encoded before the first Yield.
type captured struct {
	kind uint8
	data []byte
}

// unversioned encodes everything but the two spaces.
func (m *Machine) unversioned() []captured {
	var e encoder
	e.uint(recordFormat)
	e.uint(m.index)
	e.uint(m.term)
	e.ints(m.time, m.revision, m.zxid)
	e.uint(m.seq)
	e.ints(m.compacted, m.plain.Floor(), m.tree.Floor())
	e.uint(m.plain.SeqAt(m.plain.Floor()))
	e.uint(m.tree.SeqAt(m.tree.Floor()))
	e.bool(m.bootstrapped)
	e.settings(&m.settings)
	e.history(&m.treeHistory)
	e.uint(uint64(len(m.alarms.list)))
	for _, a := range m.alarms.list {
		e.uint(a.Member)
		e.ints(int64(a.Type))
	}
	e.members(m.members)
	e.uint(m.level)
	e.uint(m.Digest())
	records := []captured{{recordState, e.b}}
	for all := m.leases.sorted(); len(all) > 0; {
		n := min(len(all), leasesPerRecord)
		var e encoder
		e.uint(uint64(n))
		for _, l := range all[:n] {
			e.lease(l)
		}
		records = append(records, captured{recordLeases, e.b})
		all = all[n:]
	}
	return records
}

// plainBits and treeBits say what of a version is not encoded with it: what it shares with the version
// before. A znode's data are shared by all versions that a change of its metadata made.
func plainBits(r, before *value) byte { return dataBits(r.data, before.data) }

func treeBits(r, before *znode) byte {
	bits := dataBits(r.data, before.data)
	if r.acl == before.acl {
		bits |= versionSharesACL
	}
	return bits
}

func dataBits(data, before []byte) byte {
	switch {
	case data == nil:
		return versionNull
	case len(data) > 0 && len(data) == len(before) && &data[0] == &before[0]:
		return versionSharesData
	default:
		return 0
	}
}

// form says how the versions of one space are written.
type form[R any] struct {
	kind  uint8
	floor int64
	bits  func(r, before *R) byte  // what a version shares with the one before
	write func(*encoder, *R, byte) // encodes the rest
}

// exportSpace writes the items of one space.
func exportSpace[R any](x *export, sp *mvcc.Space[R], f form[R]) {
	from, more := "", true
	var kept []*mvcc.Version[R]
	for more && x.err == nil {
		more = false
		sp.Ascend(from, func(newest *mvcc.Version[R]) bool {
			if x.keys == stepKeys || x.bytes >= stepBytes {
				from, more = newest.Key(), true
				return false
			}
			x.keys++
			kept = needed(newest, x.view.seq, f.floor, kept[:0])
			if len(kept) == 0 {
				return true
			}
			x.enc.b = x.enc.b[:0]
			x.enc.string(newest.Key())
			f.encode(&x.enc, kept)
			x.record(f.kind, x.enc.b)
			x.bytes += len(x.enc.b)
			return x.err == nil
		})
		x.keys, x.bytes = 0, 0
		if more && x.view.Yield != nil {
			x.view.Yield()
		}
	}
}

// needed appends the versions of a key that the snapshot holds, newest first: those at or above the
// floor and, unless it is a tombstone, the one before, which is what reads at the floor find and what the
// size of the history counts.
func needed[R any](v *mvcc.Version[R], seq uint64, floor int64, kept []*mvcc.Version[R]) []*mvcc.Version[R] {
	for ; v != nil; v = v.Prev() {
		if v.Seq() > seq {
			continue
		}
		if v.Rev >= floor {
			kept = append(kept, v)
			continue
		}
		if !v.Deleted() {
			kept = append(kept, v)
		}
		break
	}
	return kept
}

// encode appends versions that stand newest first, oldest first.
func (f form[R]) encode(e *encoder, kept []*mvcc.Version[R]) {
	e.uint(uint64(len(kept)))
	var none R
	before := &none
	for i := len(kept) - 1; i >= 0; i-- {
		v := kept[i]
		b := f.bits(&v.Record, before)
		if v.Deleted() {
			e.byte(b | versionDeleted)
		} else {
			e.byte(b)
		}
		e.uint(v.Seq())
		e.ints(v.Rev)
		f.write(e, &v.Record, b)
		before = &v.Record
	}
}
