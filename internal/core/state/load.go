package state

import (
	"errors"
	"fmt"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/mvcc"
)

// ErrSnapshot is wrapped by what Load returns when the records are not a whole snapshot.
var ErrSnapshot = errors.New("bad snapshot record")

// Source gives the records of a snapshot back, in the order in which Export wrote them.
type Source interface {
	// Next returns the next record, whose data Load does not keep. An error ends the load.
	Next() (kind uint8, data []byte, err error)
}

// Load rebuilds a machine from a snapshot. It has the digest of the one that was exported, answers every later
// command alike, and holds the same history above the floors. The records have passed their checksums;
// what is still wrong with them is found by their form and in the end by the digest, and reported as
// ErrSnapshot. Errors of src are wrapped. seed is as for New.
func Load(src Source, seed uint64) (*Machine, error) {
	l := &loader{m: newMachine(seed)}
	for !l.done {
		kind, data, err := src.Next()
		if err != nil {
			return nil, fmt.Errorf("read snapshot record %d: %w", l.records, err)
		}
		if err := l.record(kind, data); err != nil {
			return nil, fmt.Errorf("load snapshot record %d: %w", l.records, err)
		}
		l.records++
	}
	m := l.m
	m.relink()
	m.digest = m.recomputeDigest()
	if m.Digest() != l.digest {
		return nil, fmt.Errorf("compare digest: %w", ErrSnapshot)
	}
	m.publish()
	return m, nil
}

// loader is one load on its way.
type loader struct {
	m                           *Machine
	records                     uint64
	kind                        uint8  // of the last record
	key                         string // of the last record, if it was an item
	plainFloor, treeFloor       int64
	plainFloorSeq, treeFloorSeq uint64
	digest                      uint64
	done                        bool

	plain []mvcc.Loaded[value] // used again for each key
	tree  []mvcc.Loaded[znode]
}

// record loads one record.
func (l *loader) record(kind uint8, data []byte) error {
	if kind < l.kind || (l.kind == 0) != (kind == recordState) {
		return ErrSnapshot
	}
	if kind != l.kind {
		l.kind, l.key = kind, ""
	}
	d := &decoder{b: data}
	switch kind {
	case recordState:
		l.state(d)
	case recordLeases:
		l.leases(d)
	case recordPlain:
		l.plain = loadItem(l, d, l.m.plain, l.plain[:0], func(r *value, bits byte, before *value) {
			d.value(r, bits, before)
		})
	case recordTree:
		l.tree = loadItem(l, d, l.m.tree, l.tree[:0], func(r *znode, bits byte, before *znode) {
			d.node(r, bits, before, &l.m.acls)
		})
	case recordEnd:
		if d.uint() != l.records {
			d.fail()
		}
		l.m.plain.LoadDone(l.plainFloor, l.plainFloorSeq)
		l.m.tree.LoadDone(l.treeFloor, l.treeFloorSeq)
		l.done = true
	default:
		d.fail()
	}
	if d.bad || len(d.b) > 0 {
		return ErrSnapshot
	}
	return nil
}

// state loads everything that there is one of.
func (l *loader) state(d *decoder) {
	m := l.m
	if d.uint() != recordFormat {
		d.fail()
		return
	}
	m.index, m.term = d.uint(), d.uint()
	d.ints(&m.time, &m.revision, &m.zxid)
	m.seq = d.uint()
	d.ints(&m.compacted, &l.plainFloor, &l.treeFloor)
	l.plainFloorSeq, l.treeFloorSeq = d.uint(), d.uint()
	m.bootstrapped = d.bool()
	d.settings(&m.settings)
	m.mount = mountAt(m.settings.TreePrefix)
	d.history(&m.treeHistory)
	for range d.count() {
		m.alarms.raise(Alarm{Member: d.uint(), Type: command.AlarmType(d.int32())})
	}
	m.members, m.level = d.members(), d.uint()
	l.digest = d.uint()
}

// leases loads some sessions and leases.
func (l *loader) leases(d *decoder) {
	for range d.count() {
		e := d.lease()
		if l.m.leases.get(e.id) != nil {
			d.fail()
			return
		}
		l.m.leases.put(e)
	}
}

// loadItem loads one key with its versions. read decodes a version's record.
func loadItem[R any](l *loader, d *decoder, sp *mvcc.Space[R], versions []mvcc.Loaded[R],
	read func(r *R, bits byte, before *R)) []mvcc.Loaded[R] {
	key := d.string()
	if key <= l.key {
		d.fail()
	}
	l.key = key
	var none R
	before := &none
	seq, rev := uint64(0), int64(0)
	for range d.count() {
		bits := d.byte()
		v := mvcc.Loaded[R]{Deleted: bits&versionDeleted != 0, Seq: d.uint(), Rev: d.int()}
		read(&v.Record, bits, before)
		if v.Seq <= seq || v.Seq > l.m.seq || v.Rev < rev {
			d.fail()
		}
		if d.bad {
			return versions
		}
		seq, rev = v.Seq, v.Rev
		versions = append(versions, v)
		before = &versions[len(versions)-1].Record
	}
	if !d.bad {
		sp.Load(key, versions)
	}
	return versions
}

// relink hangs keys and znodes on their leases again, and notes those that may be reaped.
func (m *Machine) relink() {
	scan(m.plain, span{}, m.seq, nil, func(v *plainVersion) bool {
		if l := m.leases.get(v.Record.lease); l != nil {
			l.keys = attach(l.keys, v.Key())
		}
		return true
	})
	scan(m.tree, span{}, m.seq, nil, func(v *treeVersion) bool {
		if l := m.leases.get(v.Record.owner); l != nil {
			l.nodes = attach(l.nodes, v.Key())
		}
		if isMortal(v.Record.kind) {
			m.mortals.add(v.Key())
		}
		return true
	})
}
