package wal

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// groupBytesMax bounds what may be appended between two syncs, because offsets inside a
// batch have 32 bits. Callers stay far below it: their own budget is megabytes.
const groupBytesMax = 1 << 30

// group is what was appended since the last Sync: the batch to be, and the state that
// the log will have with it.
type group struct {
	payload   []byte
	changes   []change
	hardState HardState
	mark      Mark
	// last and lastTerm are of the last entry.
	last, lastTerm uint64
	// firstEntry and lastEntry describe the entries of the group for its header; lastEntry
	// 0 says that there are none.
	firstEntry, lastEntry uint64
	changed               bool
}

// reset empties the group after a sync.
func (g *group) reset() {
	g.payload, g.changes = g.payload[:0], g.changes[:0]
	if cap(g.payload) > bufferBytesKept {
		g.payload = nil
	}
	g.firstEntry, g.lastEntry, g.changed = 0, 0, false
}

// Append adds a hard state and entries to the group that the next Sync makes durable. A
// zero hard state means no change. Entries are consecutive; they may begin anywhere
// above the mark up to one behind the last entry, and what was there from the first of
// them on is replaced. Entries at or below the mark are covered by the snapshot and are
// skipped.
//
// The data is copied. A hard state that only moves the commit index needs no Sync: it
// goes with the next one. ErrOrder reports what cannot follow the log; then, as after
// ErrClosed, nothing was appended. Any other error is that of the earlier write or sync
// that ended this log.
func (l *Log) Append(hs HardState, entries []*raftpb.Entry) error {
	if l.err != nil {
		return l.err
	}
	g := &l.group
	for len(entries) > 0 && entries[0].GetIndex() <= g.mark.Index {
		entries = entries[1:]
	}
	if err := g.checkOrder(hs, entries); err != nil {
		return err
	}
	if hs != (HardState{}) && hs != g.hardState {
		g.hardState, g.changed = hs, true
	}
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].GetTerm() == entries[0].GetTerm() {
			n++
		}
		g.appendRun(entries[:n])
		entries = entries[n:]
	}
	return nil
}

// checkOrder tells whether the hard state and entries can follow the log.
func (g *group) checkOrder(hs HardState, entries []*raftpb.Entry) error {
	last, size := g.last, len(g.payload)
	for i, e := range entries {
		if i == 0 && e.GetIndex() > last+1 || i > 0 && e.GetIndex() != last+1 {
			return fmt.Errorf("%w: entry %d after entry %d", ErrOrder, e.GetIndex(), last)
		}
		if e.GetType() < 0 || e.GetType() >= 1<<entryTypeBits {
			return fmt.Errorf("%w: entry %d has type %d", ErrOrder, e.GetIndex(), e.GetType())
		}
		last = e.GetIndex()
		size += len(e.GetData()) + recordHeaderBytes
	}
	if size > groupBytesMax {
		return fmt.Errorf("%w: %d bytes without a sync", ErrOrder, size)
	}
	if hs == (HardState{}) {
		return nil
	}
	if hs.Term < g.hardState.Term {
		return fmt.Errorf("%w: term %d after term %d", ErrOrder, hs.Term, g.hardState.Term)
	}
	if hs.Commit > last {
		return fmt.Errorf("%w: commit index %d beyond entry %d", ErrOrder, hs.Commit, last)
	}
	return nil
}

func (g *group) appendRun(entries []*raftpb.Entry) {
	c := change{
		first:         entries[0].GetIndex(),
		last:          entries[len(entries)-1].GetIndex(),
		term:          entries[0].GetTerm(),
		payloadOffset: uint32(len(g.payload)),
	}
	g.payload = appendRun(g.payload, entries)
	g.changes = append(g.changes, c)
	g.last, g.lastTerm = c.last, c.term
	if g.lastEntry == 0 || c.first < g.firstEntry {
		g.firstEntry = c.first
	}
	g.lastEntry, g.changed = c.last, true
}

// Mark records that a snapshot covers everything up to m. If the log holds that very
// entry, the entries behind it stay; if not, the snapshot replaces the whole log. A mark
// at or below the present one does nothing. It becomes durable with the next Sync, and
// the snapshot must be durable before that.
func (l *Log) Mark(m Mark) error {
	if l.err != nil {
		return l.err
	}
	g := &l.group
	if m.Index <= g.mark.Index {
		return nil
	}
	term, ok := l.groupTerm(m.Index)
	reset := !ok || term != m.Term
	g.changes = append(g.changes, change{
		mark: true, reset: reset,
		first: m.Index, last: m.Index, term: m.Term,
		payloadOffset: uint32(len(g.payload)),
	})
	g.payload = appendMark(g.payload, m, reset)
	g.mark, g.changed = m, true
	if reset {
		g.last, g.lastTerm = m.Index, m.Term
		g.firstEntry, g.lastEntry = 0, 0
	}
	return nil
}

// groupTerm returns the term of an entry as it will be after the next Sync.
func (l *Log) groupTerm(index uint64) (uint64, bool) {
	if index > l.group.last {
		return 0, false
	}
	for i := len(l.group.changes) - 1; i >= 0; i-- {
		c := l.group.changes[i]
		if !c.mark && c.first <= index {
			return c.term, index <= c.last
		}
		if c.reset {
			return c.term, c.first == index
		}
	}
	return l.index.term(index)
}

// Unsynced tells whether the next Sync has anything to write.
func (l *Log) Unsynced() bool { return l.group.changed }
