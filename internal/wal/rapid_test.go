package wal_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// logMachine drives a Log and the model side by side through a random life, power cuts
// and restarts included. rapid prints the seed of a failure and shrinks it.
type logMachine struct {
	disk         *vfs.Mem
	log          *wal.Log
	synced, next model
	// cut says that the log reported one and it was not cleared.
	cut *wal.Cut
}

func (lm *logMachine) open(t *rapid.T) *wal.Recovered {
	l, found, err := wal.Open(lm.disk, dir, owner(), small())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	lm.log = l
	return found
}

// restarted compares what was recovered with the model.
func (lm *logMachine) restarted(t *rapid.T, found *wal.Recovered, inSync bool) {
	got := recovered(found)
	switch {
	case inSync && got.equal(lm.next):
		lm.synced = got
	case !got.equal(lm.synced):
		t.Fatalf("recovered (-synced +got):\n%s", cmp.Diff(lm.synced.String(), got.String()))
	}
	if lm.cut != nil && found.Cut == nil {
		t.Fatalf("the cut %+v was forgotten", lm.cut)
	}
	if found.Cut != nil && lm.cut == nil && !inSync {
		t.Fatalf("cut %+v without a sync under way", found.Cut)
	}
	lm.next, lm.cut = lm.synced, found.Cut
}

func (lm *logMachine) Append(t *rapid.T) {
	low := max(lm.next.mark.Index, lm.next.hs.Commit)
	first := rapid.Uint64Range(low+1, lm.next.last()+1).Draw(t, "first")
	if rapid.Bool().Draw(t, "atEnd") {
		first = lm.next.last() + 1
	}
	n := rapid.Uint64Range(0, 12).Draw(t, "count")
	term := lm.next.hs.Term + rapid.Uint64Range(0, 1).Draw(t, "newTerm")
	var entries []*raftpb.Entry
	for i := range n {
		size := rapid.SampledFrom([]int{0, 1, 100, 450, 3000, 14000}).Draw(t, "size")
		entries = append(entries, entry(first+i, max(term, 1), strings.Repeat("d", size)))
	}
	last := lm.next.last()
	if n > 0 {
		last = first + n - 1
	}
	hs := wal.HardState{
		Term: max(term, 1), Vote: rapid.Uint64Range(0, 3).Draw(t, "vote"),
		Commit: rapid.Uint64Range(low, last).Draw(t, "commit"),
	}
	lm.next = lm.next.append(hs, entries)
	if err := lm.log.Append(hs, entries); err != nil {
		t.Fatalf("append: %v", err)
	}
}

func (lm *logMachine) Sync(t *rapid.T) {
	if err := lm.log.Sync(); err != nil {
		t.Fatalf("sync: %v", err)
	}
	lm.synced = lm.next
}

// CrashInSync cuts the power at a random operation of a sync.
func (lm *logMachine) CrashInSync(t *rapid.T) {
	lm.disk.SetFaults(vfs.Faults{StopAt: rapid.IntRange(1, 12).Draw(t, "stopAt")})
	err := lm.log.Sync()
	if err == nil {
		lm.synced = lm.next
	} else if !errors.Is(err, vfs.ErrStopped) {
		t.Fatalf("sync: %v", err)
	}
	lm.powerCut(t, err != nil)
}

// Crash cuts the power between two calls.
func (lm *logMachine) Crash(t *rapid.T) { lm.powerCut(t, false) }

func (lm *logMachine) powerCut(t *rapid.T, inSync bool) {
	lm.disk = lm.disk.Crash(vfs.Survival{
		Percent: rapid.SampledFrom([]int{0, 30, 80, 95, 100}).Draw(t, "percent"),
		Seed:    rapid.Uint64Range(1, 1<<20).Draw(t, "seed"),
	})
	lm.restarted(t, lm.open(t), inSync)
}

// Restart ends the process and starts it again.
func (lm *logMachine) Restart(t *rapid.T) {
	if err := lm.log.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	lm.restarted(t, lm.open(t), false)
}

func (lm *logMachine) Mark(t *rapid.T) {
	mark := wal.Mark{Index: rapid.Uint64Range(0, lm.next.last()).Draw(t, "index"), Term: max(lm.next.hs.Term, 1)}
	if mark.Index > lm.next.mark.Index {
		mark.Term = lm.next.entries[mark.Index-lm.next.mark.Index-1].GetTerm()
	}
	lm.moveMark(t, mark)
}

// MarkFromLeader is a snapshot that replaces the log.
func (lm *logMachine) MarkFromLeader(t *rapid.T) {
	ahead := rapid.Uint64Range(1, 100).Draw(t, "ahead")
	lm.moveMark(t, wal.Mark{Index: lm.next.last() + ahead, Term: max(lm.next.hs.Term, 1)})
}

func (lm *logMachine) moveMark(t *rapid.T, mark wal.Mark) {
	lm.next = lm.next.moveMark(mark)
	if err := lm.log.Mark(mark); err != nil {
		t.Fatalf("mark: %v", err)
	}
	if hs := lm.next.hs; hs.Commit < mark.Index && mark.Index == lm.next.mark.Index {
		hs.Commit, hs.Term = mark.Index, max(hs.Term, 1)
		lm.next = lm.next.append(hs, nil)
		if err := lm.log.Append(hs, nil); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

func (lm *logMachine) Release(t *rapid.T) {
	if err := lm.log.Release(rapid.Uint64Range(0, lm.next.last()).Draw(t, "index")); err != nil {
		t.Fatalf("release: %v", err)
	}
}

func (lm *logMachine) ClearCut(t *rapid.T) {
	if err := lm.log.ClearCut(); err != nil {
		t.Fatalf("clear cut: %v", err)
	}
	lm.cut = nil
}

// Read compares a range and a term with the model.
func (lm *logMachine) Read(t *rapid.T) {
	m := lm.synced
	lo := rapid.Uint64Range(0, m.last()+2).Draw(t, "lo")
	hi := rapid.Uint64Range(lo, m.last()+3).Draw(t, "hi")
	got, err := lm.log.Entries(lo, hi, math.MaxUint64)
	first, last := lm.log.Bounds()
	switch {
	case last != m.last() || first > m.mark.Index+1:
		t.Fatalf("bounds %d to %d, want up to %d from the mark %d on", first, last, m.last(), m.mark.Index)
	case lo >= hi:
		if err != nil || len(got) > 0 {
			t.Fatalf("empty range: %v, %v", got, err)
		}
	case hi > m.last()+1:
		if !errors.Is(err, raft.ErrUnavailable) {
			t.Fatalf("beyond the end: %v", err)
		}
	case lo < first:
		if !errors.Is(err, raft.ErrCompacted) {
			t.Fatalf("below the beginning: %v", err)
		}
	case err != nil:
		t.Fatalf("entries %d to %d: %v", lo, hi, err)
	case lo > m.mark.Index:
		want := m.entries[lo-m.mark.Index-1 : hi-m.mark.Index-1]
		if diff := cmp.Diff(show(want), show(got)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Check runs after every action.
func (lm *logMachine) Check(t *rapid.T) {
	if n := len(segments(lm.disk)); n == 0 {
		t.Fatal("no segment left")
	}
	for index := lm.synced.mark.Index; index <= lm.synced.last(); index += 7 {
		want := lm.synced.mark.Term
		if index > lm.synced.mark.Index {
			want = lm.synced.entries[index-lm.synced.mark.Index-1].GetTerm()
		}
		if term, err := lm.log.Term(index); term != want || err != nil {
			t.Fatalf("Term(%d) = %d, %v; want %d", index, term, err, want)
		}
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	crashes, cuts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		lm := &logMachine{disk: emptyDisk()}
		if found := lm.open(t); !found.Fresh {
			t.Fatal(fmt.Sprint("not fresh: ", found))
		}
		actions := rapid.StateMachineActions(lm)
		crash := actions["CrashInSync"]
		actions["CrashInSync"] = func(t *rapid.T) {
			crash(t)
			crashes++
			if lm.cut != nil {
				cuts++
			}
		}
		actions["Sync2"], actions["Append2"] = lm.Sync, lm.Append // more often than the rest
		t.Repeat(actions)
	})
	t.Logf("wal: random lives with %d power cuts inside a sync, after %d of which a cut was known, equal to the model", crashes, cuts)
}
