package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// LogReader reads entries back from the log on disk.
type LogReader interface {
	// Entries returns synced entries [lo, hi), at least one, at most maxBytes; raft.ErrCompacted if the
	// first was dropped.
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
}

// storage is what raft sees of the log: the newest entries in memory, bounded in bytes, and older ones
// read back from disk for a follower that lags. Only the Member touches it.
//
// Entries enter when they are durable, just before raft is told so; raft keeps younger ones itself.
type storage struct {
	hard raftpb.HardState
	conf *raftpb.ConfState // at the snapshot
	snap snapshotMark      // everything up to here is in a snapshot
	// first is the index of the oldest entry that can still be read, from memory or disk, and
	// prevTerm the term of the entry before it.
	first, prevTerm uint64
	// tail holds entries tailFirst and up, without gaps; tailFirst >= first.
	tail      []*raftpb.Entry
	tailFirst uint64
	tailBytes uint64
	tailLimit uint64 // bytes
	disk      LogReader
	// confIndex is the index of the last applied configuration change. An older snapshot is offered to nobody: a
	// member that was added since is not in it. wanted says that one was asked for in vain.
	confIndex uint64
	wanted    bool
}

// snapshotMark is the last entry that a snapshot covers.
type snapshotMark struct {
	index, term uint64
}

// newStorage makes the storage of a member that starts from a snapshot and the durable entries behind it.
func newStorage(mark snapshotMark, conf *raftpb.ConfState, entries []*raftpb.Entry, disk LogReader, tailLimit uint64) *storage {
	s := &storage{
		snap: mark, conf: conf, first: mark.index + 1, prevTerm: mark.term,
		tailFirst: mark.index + 1, tailLimit: tailLimit, disk: disk,
	}
	s.append(entries)
	return s
}

// append takes durable entries; those from entries[0] on replace what was there.
func (s *storage) append(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	from := entries[0].GetIndex()
	switch {
	case from <= s.tailFirst:
		// All of the tail is replaced. What lies before it on disk stays readable.
		s.tail, s.tailFirst, s.tailBytes = nil, from, 0
	case from <= s.last():
		// A new array: raft and the applier may still hold slices of the old one.
		keep := from - s.tailFirst
		for _, e := range s.tail[keep:] {
			s.tailBytes -= entryBytes(e)
		}
		s.tail = append([]*raftpb.Entry(nil), s.tail[:keep]...)
	}
	for _, e := range entries {
		s.tail = append(s.tail, e)
		s.tailBytes += entryBytes(e)
	}
	s.trim()
}

// trim drops the oldest entries of the tail from memory while it is over its limit. The newest stays.
func (s *storage) trim() {
	n := 0
	for s.tailBytes > s.tailLimit && n < len(s.tail)-1 {
		s.tailBytes -= entryBytes(s.tail[n])
		n++
	}
	if n > 0 {
		// Not copied, which would cost the whole tail at each append: append moves it to a new array now and then,
		// and until then some dropped entries stay in memory.
		s.tail = s.tail[n:]
		s.tailFirst += uint64(n)
	}
}

func entryBytes(e *raftpb.Entry) uint64 {
	return uint64(len(e.GetData())) + 64
}

// install makes a received snapshot the start of the log; nothing older or younger is kept.
func (s *storage) install(mark snapshotMark, conf *raftpb.ConfState) {
	s.snap, s.conf = mark, conf
	s.first, s.prevTerm, s.tailFirst = mark.index+1, mark.term, mark.index+1
	s.tail, s.tailBytes = nil, 0
}

// snapshotTaken notes a snapshot of our own and forgets entries below keep. If the term before keep cannot be
// read back everything stays as it is, which is safe.
func (s *storage) snapshotTaken(mark snapshotMark, conf *raftpb.ConfState, keep uint64) {
	if mark.index <= s.snap.index {
		return
	}
	first := max(s.first, min(keep, mark.index+1))
	prev, err := s.Term(first - 1)
	if err != nil {
		return
	}
	s.snap, s.conf, s.first, s.prevTerm = mark, conf, first, prev
	if s.first > s.tailFirst {
		drop := min(s.first-s.tailFirst, uint64(len(s.tail)))
		for _, e := range s.tail[:drop] {
			s.tailBytes -= entryBytes(e)
		}
		s.tail = append([]*raftpb.Entry(nil), s.tail[drop:]...)
		s.tailFirst += drop
	}
}

// InitialState implements raft.Storage.
func (s *storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return &s.hard, s.conf, nil
}

// Entries implements raft.Storage.
func (s *storage) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo < s.first {
		return nil, raft.ErrCompacted
	}
	if hi > s.last()+1 {
		return nil, raft.ErrUnavailable
	}
	if lo < s.tailFirst {
		entries, err := s.disk.Entries(lo, min(hi, s.tailFirst), maxSize)
		if err != nil && !errors.Is(err, raft.ErrCompacted) {
			return nil, fmt.Errorf("read entries %d to %d of the log: %w", lo, hi, err)
		}
		return entries, err // raft compares ErrCompacted itself
	}
	return limitBytes(s.tail[lo-s.tailFirst:hi-s.tailFirst], maxSize), nil
}

// limitBytes returns the longest prefix within maxSize bytes, but at least one entry.
func limitBytes(entries []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	var size uint64
	for i, e := range entries {
		size += entryBytes(e)
		if size > maxSize && i > 0 {
			return entries[:i:i]
		}
	}
	return entries[:len(entries):len(entries)]
}

// Term implements raft.Storage.
func (s *storage) Term(i uint64) (uint64, error) {
	switch {
	case i == s.snap.index:
		return s.snap.term, nil
	case i+1 == s.first:
		return s.prevTerm, nil
	case i < s.first:
		return 0, raft.ErrCompacted
	case i > s.last():
		return 0, raft.ErrUnavailable
	case i >= s.tailFirst:
		return s.tail[i-s.tailFirst].GetTerm(), nil
	}
	entries, err := s.disk.Entries(i, i+1, 0)
	if errors.Is(err, raft.ErrCompacted) {
		return 0, raft.ErrCompacted // raft compares it itself
	}
	if err != nil {
		return 0, fmt.Errorf("read entry %d of the log: %w", i, err)
	}
	return entries[0].GetTerm(), nil
}

func (s *storage) last() uint64 {
	return s.tailFirst + uint64(len(s.tail)) - 1
}

// LastIndex implements raft.Storage.
func (s *storage) LastIndex() (uint64, error) { return s.last(), nil }

// FirstIndex implements raft.Storage.
func (s *storage) FirstIndex() (uint64, error) { return s.first, nil }

// takeWanted tells, once, that a newer snapshot was asked for.
func (s *storage) takeWanted() (yes bool) {
	yes, s.wanted = s.wanted, false
	return yes
}

// errNoSnapshot cannot happen: a member starts from one.
var errNoSnapshot = errors.New("no snapshot")

// Snapshot implements raft.Storage. It holds no data: the sender streams the file of that index.
func (s *storage) Snapshot() (*raftpb.Snapshot, error) {
	if s.snap.index == 0 {
		return nil, errNoSnapshot
	}
	if s.snap.index < s.confIndex {
		s.wanted = true
		return nil, raft.ErrSnapshotTemporarilyUnavailable // raft compares it itself, and asks again
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(s.snap.index), Term: new(s.snap.term), ConfState: s.conf,
	}}, nil
}
