package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

var testIdentity = wal.Identity{ClusterID: 9, MemberID: 1}

// founders are members 1 to n.
func founders(n uint64) (list []state.Member) {
	for id := uint64(1); id <= n; id++ {
		list = append(list, state.Member{ID: id, Name: fmt.Sprintf("n%d", id), PeerURLs: []string{fmt.Sprintf("http://p%d:1", id)}})
	}
	return list
}

func openTestDisk(fs vfs.FS) (*Disk, error) {
	return OpenDisk(DiskOptions{FS: fs, Dir: "data", Identity: testIdentity, Founders: founders(3), SegmentBytes: 64 << 10})
}

// bootWorld opens a fresh disk, appends entries 2 to 9 of term 2, and closes it.
func bootWorld(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	d, err := openTestDisk(m)
	if err != nil {
		t.Fatal(err)
	}
	if d.Boot.SnapshotIndex != bootIndex || d.Boot.SnapshotTerm != bootTerm || len(d.Boot.Entries) != 0 || d.Boot.Bootstrapped || d.Boot.Cut {
		t.Errorf("fresh: %+v", d.Boot)
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, d.Boot.Conf.GetVoters()); diff != "" {
		t.Errorf("fresh: voters\n%s", diff)
	}
	var entries []*raftpb.Entry
	for i := uint64(2); i < 10; i++ {
		entries = append(entries, makeEntry(i, 2, 0))
	}
	if err := errors.Join(d.Log.Append(wal.HardState{Term: 2, Vote: 3, Commit: 7}, entries), d.Log.Sync(), d.Log.Close()); err != nil {
		t.Fatal(err)
	}
	return m
}

// addSnapshot writes a snapshot as of an entry, without a word to the log.
func addSnapshot(t *testing.T, m *vfs.Mem, index, term uint64) {
	t.Helper()
	machine := state.New(1)
	machine.Apply(&state.Entry{Index: index, Term: term}, new(state.Output), nil)
	store := NewStore(machine, &raftpb.ConfState{Voters: []uint64{1, 2}}, 1)
	if _, err := WriteSnapshot(m, "data/snap", store); err != nil {
		t.Fatal(err)
	}
}

// TestOpenDisk opens what a member may find at a start.
func TestOpenDisk(t *testing.T) {
	bare := func(*testing.T, *vfs.Mem) {}
	for name, c := range map[string]struct {
		prepare  func(*testing.T, *vfs.Mem)
		snapshot uint64
		hard     wal.HardState
		entries  []string
		voters   int
		refused  string
	}{
		"restart": {prepare: bare, snapshot: 1, hard: wal.HardState{Term: 2, Vote: 3, Commit: 7}, voters: 3,
			entries: []string{"2/2:0", "3/2:0", "4/2:0", "5/2:0", "6/2:0", "7/2:0", "8/2:0", "9/2:0"}},
		"snapshot without mark": {prepare: func(t *testing.T, m *vfs.Mem) { addSnapshot(t, m, 6, 2) },
			snapshot: 6, hard: wal.HardState{Term: 2, Vote: 3, Commit: 7}, entries: []string{"7/2:0", "8/2:0", "9/2:0"}, voters: 2},
		"snapshot of all": {prepare: func(t *testing.T, m *vfs.Mem) { addSnapshot(t, m, 9, 2) },
			snapshot: 9, hard: wal.HardState{Term: 2, Vote: 3, Commit: 9}, voters: 2},
		"snapshot of another history": {prepare: func(t *testing.T, m *vfs.Mem) { addSnapshot(t, m, 6, 4) },
			snapshot: 6, hard: wal.HardState{Term: 4, Commit: 7}, voters: 2},
		"snapshot far ahead": {prepare: func(t *testing.T, m *vfs.Mem) { addSnapshot(t, m, 100, 5) },
			snapshot: 100, hard: wal.HardState{Term: 5, Commit: 100}, voters: 2},
		"no snapshot": {prepare: func(t *testing.T, m *vfs.Mem) { erase(t, m, "data/snap") }, refused: "a log but no snapshot"},
		"older snapshot than marked": {prepare: func(t *testing.T, m *vfs.Mem) {
			addSnapshot(t, m, 6, 2)
			if d, err := openTestDisk(m); err != nil || d.Log.Close() != nil {
				t.Fatal(err)
			}
			name, err := snapshot.Find(m, "data/snap", 6, 2)
			if err != nil || m.Remove(name) != nil || m.SyncDir("data/snap") != nil {
				t.Fatal(err)
			}
		}, refused: "lacks the snapshot of entry 6"},
		"damaged snapshot": {prepare: func(t *testing.T, m *vfs.Mem) {
			addSnapshot(t, m, 6, 2)
			name, err := snapshot.Find(m, "data/snap", 6, 2)
			if err != nil || m.FlipBit(name, 900) != nil {
				t.Fatal(err)
			}
		}, refused: "0000000000000006-0000000000000002.snap is damaged at offset"},
	} {
		t.Run(name, func(t *testing.T) {
			m := bootWorld(t)
			c.prepare(t, m)
			for range 2 { // the second time finds what the first made of it
				m = m.Clone(vfs.Survival{Percent: 0})
				d, err := openTestDisk(m)
				if c.refused != "" {
					if err == nil || !strings.Contains(err.Error(), c.refused) {
						t.Fatalf("OpenDisk = %v, want %q", err, c.refused)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				b := d.Boot
				hard := wal.HardState{Term: b.Hard.GetTerm(), Vote: b.Hard.GetVote(), Commit: b.Hard.GetCommit()}
				if index, _ := d.Machine.Index(); b.SnapshotIndex != c.snapshot || index != c.snapshot || hard != c.hard || len(b.Conf.GetVoters()) != c.voters {
					t.Errorf("snapshot %d, machine %d, %+v, %v", b.SnapshotIndex, index, hard, b.Conf)
				}
				if diff := cmp.Diff(c.entries, show(b.Entries)); diff != "" {
					t.Error(diff)
				}
				if err := d.Log.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func erase(t *testing.T, m *vfs.Mem, dir string) {
	t.Helper()
	names, err := m.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := m.Remove(dir + "/" + n); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
}

// TestFirstStartCrashes stops the disk at each operation of the first start: the next one founds the same member.
func TestFirstStartCrashes(t *testing.T) {
	crashes := 0
	for stop := 1; ; stop++ {
		m := vfs.NewMem(1)
		m.SetFaults(vfs.Faults{StopAt: stop})
		d, err := openTestDisk(m)
		if err == nil {
			_ = d.Log.Close()
			break
		}
		for seed := range uint64(5) {
			crashes++
			after, err := openTestDisk(m.Clone(vfs.Survival{Percent: []int{0, 100, 50, 50, 80}[seed], Seed: seed + 1}))
			if err != nil {
				t.Fatalf("stop %d, seed %d: %v", stop, seed, err)
			}
			if after.Boot.SnapshotIndex != bootIndex || len(after.Boot.Entries) > 0 {
				t.Fatalf("stop %d, seed %d: %+v", stop, seed, after.Boot)
			}
			_ = after.Log.Close()
		}
	}
	t.Logf("replica: %d crashes of the first start, each followed by a first start", crashes)
}
