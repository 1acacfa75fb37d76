package replica

import (
	"errors"
	"fmt"
	"path"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// The folders of a member's data directory.
const (
	walFolder      = "wal"
	snapshotFolder = "snap"
)

// bootIndex is the entry that a new cluster starts behind: the empty state, the same on all members.
const bootIndex, bootTerm = 1, 1

// Disk is the durable half of a member: its log, its snapshots, and what they held at the start.
type Disk struct {
	FS      vfs.FS
	Dir     string
	Seed    uint64 // of the machine; see state.New
	Log     *wal.Log
	Machine *state.Machine
	Boot    Boot
	Hard    wal.HardState
	// Cut says that the last, unfinished batch of the log was cut off; nil if there was none.
	Cut *wal.Cut
}

// SnapshotDir is the folder of the snapshots.
func (d *Disk) SnapshotDir() string { return path.Join(d.Dir, snapshotFolder) }

// DiskOptions say where a member's durable half is, and whose.
type DiskOptions struct {
	FS       vfs.FS
	Dir      string
	Identity wal.Identity
	// Founders are those with which the cluster was founded; nobody for a member that joins.
	Founders []state.Member
	// SegmentBytes is the size of a segment of the log; 0 is the default of wal.
	SegmentBytes int64
	// Seed is for state.New.
	Seed uint64
}

// OpenDisk reads what a member holds in its directory. One that has never held a member starts the empty state with
// the given founders, or without them waits to be told the state.
func OpenDisk(o DiskOptions) (*Disk, error) {
	d := &Disk{FS: o.FS, Dir: o.Dir, Seed: o.Seed}
	if err := vfs.MakeFolder(o.FS, o.Dir); err != nil {
		return nil, err
	}
	if err := d.bootstrap(o.Founders); err != nil {
		return nil, err
	}
	log, found, err := wal.Open(o.FS, path.Join(o.Dir, walFolder), o.Identity, wal.Options{SegmentBytes: o.SegmentBytes})
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := d.load(log, found); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return d, nil
}

// bootstrap writes the snapshot of the state before everything if the directory holds neither log nor snapshots. It
// is written before the log, so a crash in between only writes it again. Founders begin behind the entry that founded the
// cluster; who joins begins before it, in no configuration, so that the leader sends it everything.
func (d *Disk) bootstrap(founders []state.Member) error {
	dir := path.Join(d.Dir, snapshotFolder)
	have, err := snapshot.List(d.FS, dir)
	if err != nil || len(have) > 0 {
		return err
	}
	if names, err := d.FS.ReadDir(path.Join(d.Dir, walFolder)); err == nil && len(names) > 0 {
		return fmt.Errorf("%s holds a log but no snapshot: files were removed; replace this member", d.Dir)
	}
	m, meta := state.Found(0, founders), snapshot.Meta{} // written and forgotten
	if len(founders) > 0 {
		m.Apply(&state.Entry{Index: bootIndex, Term: bootTerm}, new(state.Output), nil)
		meta.Index, meta.Term = bootIndex, bootTerm
	}
	members := state.Members(m.View())
	meta.Payload = encodeConf(&raftpb.ConfState{Voters: members.Voters(), Learners: members.Learners()})
	w, err := snapshot.Create(d.FS, dir, meta)
	if err != nil {
		return err
	}
	if err := m.Export(m.View(), w); err != nil {
		return fmt.Errorf("write the first snapshot: %w", err)
	}
	return w.Commit()
}

// load takes the newest snapshot that the log knows or that is newer, and the entries behind it.
func (d *Disk) load(log *wal.Log, found *wal.Recovered) error {
	have, err := snapshot.List(d.FS, path.Join(d.Dir, snapshotFolder))
	if err != nil {
		return err
	}
	if len(have) == 0 {
		return fmt.Errorf("%s holds no snapshot: files were removed; replace this member", d.Dir)
	}
	newest := have[len(have)-1]
	if found.Mark.Index > newest.Index {
		missing := snapshot.Name(path.Join(d.Dir, snapshotFolder), found.Mark.Index, found.Mark.Term)
		return fmt.Errorf("%s lacks the snapshot of entry %d that the log builds on: %s is missing; replace this member", d.Dir, found.Mark.Index, missing)
	}
	m, conf, err := ReadSnapshot(d.FS, newest.Name, d.Seed)
	if err != nil {
		return err
	}
	entries, err := behind(found, newest)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Dir, err)
	}
	d.Log, d.Machine, d.Hard, d.Cut = log, m, found.HardState, found.Cut
	if newest.Index > found.Mark.Index {
		// A crash came between a snapshot and its mark in the log.
		if err := markSnapshot(log, newest); err != nil {
			return err
		}
	}
	_, bootstrapped := m.View().Settings()
	d.Boot = Boot{
		SnapshotIndex: newest.Index, SnapshotTerm: newest.Term, Conf: conf, Entries: entries,
		Hard: &raftpb.HardState{
			Term: new(max(d.Hard.Term, newest.Term)), Vote: new(d.Hard.Vote), Commit: new(max(d.Hard.Commit, newest.Index)),
		},
		Bootstrapped: bootstrapped, Cut: found.Cut != nil,
	}
	if d.Hard.Term < newest.Term {
		d.Boot.Hard.Vote = new(uint64(0)) // the vote was of an older term
	}
	d.Boot.Leases, d.Boot.Members = leasesOf(m.View()), state.Members(m.View())
	return nil
}

func markSnapshot(log *wal.Log, s snapshot.Info) error {
	if err := log.Mark(wal.Mark{Index: s.Index, Term: s.Term}); err != nil {
		return fmt.Errorf("mark snapshot in the log: %w", err)
	}
	if err := log.Sync(); err != nil {
		return fmt.Errorf("mark snapshot in the log: %w", err)
	}
	return nil
}

// behind returns the log's entries behind a snapshot, without gap. Entries that the snapshot made
// obsolete, because it came from a leader whose log differs, are dropped.
func behind(found *wal.Recovered, s snapshot.Info) ([]*raftpb.Entry, error) {
	entries := found.Entries
	for len(entries) > 0 && entries[0].GetIndex() <= s.Index {
		if entries[0].GetIndex() == s.Index && entries[0].GetTerm() != s.Term {
			return nil, nil
		}
		entries = entries[1:]
	}
	if len(entries) > 0 && entries[0].GetIndex() != s.Index+1 {
		return nil, fmt.Errorf("the log begins at entry %d, the snapshot ends at %d: files were removed; replace this member", entries[0].GetIndex(), s.Index)
	}
	return entries, nil
}
