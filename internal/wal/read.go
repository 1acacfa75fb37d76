package wal

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Entries returns the entries from lo up to, not including, hi, as many as fit in
// maxBytes but at least one. It reads what the last Sync covered: raft.ErrCompacted
// below the oldest entry that is kept, raft.ErrUnavailable above the newest. A
// CorruptError says that the disk changed what it held; nothing wrong is returned. The
// result is the caller's; its data shares memory within a batch. It may be called from
// any goroutine, also beside the writer.
func (l *Log) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	extents, err := l.acquire(lo, hi)
	if err != nil {
		return nil, err
	}
	defer l.giveBack(extents)
	r := reader{next: lo, end: hi, maxBytes: maxBytes}
	for _, x := range extents {
		if err := r.read(x); err != nil {
			return nil, err
		}
		if r.full {
			break
		}
	}
	return r.entries, nil
}

// acquire returns the extents that hold [lo, hi) and keeps their files open.
func (l *Log) acquire(lo, hi uint64) ([]extent, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &l.index
	switch {
	case lo >= hi:
		return nil, nil
	case hi > x.last+1:
		return nil, raft.ErrUnavailable
	case lo < x.first():
		return nil, raft.ErrCompacted
	}
	// Copied, because a later Append may cut an extent short.
	extents := append([]extent(nil), x.extents[x.find(lo):x.find(hi-1)+1]...)
	for i := range extents {
		extents[i].segment.readers++
	}
	return extents, nil
}

// giveBack closes files that were released meanwhile.
func (l *Log) giveBack(extents []extent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range extents {
		s := extents[i].segment
		s.readers--
		if s.readers == 0 && s.released {
			_ = s.file.Close() // it was only read, and is deleted or given up
		}
	}
}

// slotsPerAllocation bounds what is allocated ahead of the limit in bytes, and how many
// entries one that is kept keeps alive.
const slotsPerAllocation = 64

// reader gathers consecutive entries from extents.
type reader struct {
	next, end           uint64
	sizeBytes, maxBytes uint64
	entries             []*raftpb.Entry
	full                bool
	// The batch that was read last; several runs may lie in it.
	segment     *segment
	batchOffset int64
	payload     []byte
}

// read adds the entries of one extent.
func (r *reader) read(x extent) error {
	if r.segment != x.segment || r.batchOffset != x.batchOffset {
		_, payload, err := x.segment.readBatch(x.batchOffset, x.batchBytes)
		if err != nil {
			return err
		}
		r.segment, r.batchOffset, r.payload = x.segment, x.batchOffset, payload
	}
	at := int(x.payloadOffset) + recordHeaderBytes
	last := min(x.last, r.end-1)
	var slots []slot
	for index := x.first; index <= last; index++ {
		kind, data, n := parseEntry(r.payload[at:])
		if n == 0 {
			return x.segment.corrupt(x.batchOffset, fmt.Sprintf("entry %d is malformed", index))
		}
		at += n
		if index < r.next {
			continue
		}
		r.sizeBytes += entrySizeBytes(data)
		if r.sizeBytes > r.maxBytes && len(r.entries) > 0 {
			r.full = true
			return nil
		}
		if len(slots) == 0 {
			slots = make([]slot, min(last+1-index, slotsPerAllocation))
		}
		r.entries = append(r.entries, slots[0].fill(index, x.term, kind, data))
		slots = slots[1:]
		r.next++
	}
	return nil
}

// fill sets the entry and returns it.
func (s *slot) fill(index, term uint64, kind raftpb.EntryType, data []byte) *raftpb.Entry {
	s.index, s.term, s.kind = index, term, kind
	s.entry.Index, s.entry.Term, s.entry.Type = &s.index, &s.term, &s.kind
	if len(data) > 0 {
		s.entry.Data = data
	}
	return &s.entry
}

// Term returns the term of an entry that the last Sync covered, or of the mark:
// raft.ErrCompacted below the oldest that is kept, raft.ErrUnavailable above the newest.
// It may be called from any goroutine.
func (l *Log) Term(index uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term, ok := l.index.term(index); ok {
		return term, nil
	}
	if index > l.index.last {
		return 0, raft.ErrUnavailable
	}
	return 0, raft.ErrCompacted
}

// Bounds returns the indexes of the oldest and the newest entry that Entries can read;
// an empty log has first = last + 1. It may be called from any goroutine.
func (l *Log) Bounds() (first, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index.first(), l.index.last
}
