package sim

import (
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// watchedLog is a member's log, and our own record of what a crash would leave of it: the checks do
// not take the member's word for what is durable.
type watchedLog struct {
	*wal.Log
	bug     Bug
	durable map[uint64]uint64 // index to term, as of the last sync
	last    uint64            // the highest index in durable
	pending [][]*raftpb.Entry // written since
	floor   uint64            // a durable snapshot holds everything up to here
	mark    uint64
	hard    wal.HardState // as the member wanted it stored
	// synced is told what a sync has made durable.
	synced func(hs wal.HardState, entries []*raftpb.Entry)
}

func newWatchedLog(bug Bug, synced func(wal.HardState, []*raftpb.Entry)) *watchedLog {
	return &watchedLog{bug: bug, durable: map[uint64]uint64{}, synced: synced}
}

// recovered starts the record over from what the disk held.
func (l *watchedLog) recovered(d *replica.Disk) {
	l.floor, l.mark = d.Boot.SnapshotIndex, d.Boot.SnapshotIndex
	clear(l.durable)
	l.pending, l.last = nil, 0
	l.hard = d.Hard
	l.settle(d.Boot.Entries)
}

// settle takes entries into the durable record; they replace those from the first of them on.
func (l *watchedLog) settle(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	for i := entries[0].GetIndex(); i <= l.last; i++ {
		delete(l.durable, i)
	}
	for _, e := range entries {
		l.last = e.GetIndex()
		l.durable[l.last] = e.GetTerm()
	}
}

// Append implements replica.Log.
func (l *watchedLog) Append(hs wal.HardState, entries []*raftpb.Entry) error {
	l.hard = hs
	if l.bug == VoteNotStored {
		hs.Vote = 0
	}
	l.pending = append(l.pending, entries)
	return l.Log.Append(hs, entries)
}

// Mark implements replica.Log.
func (l *watchedLog) Mark(m wal.Mark) error {
	l.mark = max(l.mark, m.Index)
	return l.Log.Mark(m)
}

// Sync implements replica.Log.
func (l *watchedLog) Sync() error {
	if err := l.Log.Sync(); err != nil {
		return err
	}
	for _, entries := range l.pending {
		l.settle(entries)
		l.synced(l.hard, entries)
	}
	l.pending, l.floor = l.pending[:0], l.mark
	return nil
}

// holds tells whether a crash now would leave the entry of that index and term.
func (l *watchedLog) holds(index, term uint64) bool {
	t, ok := l.durable[index]
	return index <= l.floor || ok && t == term
}

// leaseRecord is the kind of the records of a snapshot that hold sessions and leases.
const leaseRecord = 2

// dropSessions rewrites a snapshot without its sessions and leases: a planted bug.
func dropSessions(fs vfs.FS, dir string, index, term uint64) {
	name, err := snapshot.Find(fs, dir, index, term)
	if err != nil {
		return
	}
	r, err := snapshot.Open(fs, name)
	if err != nil {
		return
	}
	type record struct {
		kind uint8
		data []byte
	}
	var kept []record
	for {
		kind, data, err := r.Next()
		if err != nil {
			break
		}
		if kind == leaseRecord {
			continue
		}
		kept = append(kept, record{kind, slices.Clone(data)})
	}
	meta := r.Meta()
	_ = r.Close()
	w, err := snapshot.Create(fs, dir, meta)
	if err != nil {
		return
	}
	for _, k := range kept {
		_ = w.Record(k.kind, k.data)
	}
	_ = w.Commit()
}

func sortedKeys[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
