package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// A commit index that moved alone needs no sync at once; it is on the disk when the log has been idle.
func TestIdleStoresTheCommitIndex(t *testing.T) {
	for _, idle := range []bool{false, true} {
		if commit := commitAfterCrash(t, idle); (commit == 1) != idle {
			t.Errorf("a crash leaves the commit index %d; the log was idle before: %v", commit, idle)
		}
	}
}

// commitAfterCrash writes an entry, and then that it is committed, and returns which commit index a crash leaves.
func commitAfterCrash(t *testing.T, idle bool) uint64 {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fs, id := vfs.NewMem(1), wal.Identity{ClusterID: 9, MemberID: 1}
	log, _, err := wal.Open(fs, "wal", id, wal.Options{})
	must(err)
	p := NewPersister(log, wal.HardState{})
	for commit := range uint64(2) {
		a := &Append{Hard: &raftpb.HardState{Term: new(uint64(3)), Vote: new(uint64(1)), Commit: &commit}}
		if commit == 0 {
			a.Entries, a.Sync = []*raftpb.Entry{{Index: new(uint64(1)), Term: new(uint64(3)), Data: []byte("x")}}, true
		}
		sync, err := p.Write([]*Append{a})
		if must(err); sync != a.Sync {
			t.Fatalf("a write with commit index %d wants a sync: %v", commit, sync)
		}
		if sync {
			must(p.Sync())
		}
	}
	if idle {
		must(p.Idle())
	}
	log, found, err := wal.Open(fs.Crash(vfs.Survival{}), "wal", id, wal.Options{})
	must(err)
	must(log.Close())
	return found.HardState.Commit
}
