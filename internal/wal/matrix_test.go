package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// model is what a log holds, as plain slices.
type model struct {
	hs      wal.HardState
	mark    wal.Mark
	entries []*raftpb.Entry // behind the mark
}

func (m model) last() uint64 { return m.mark.Index + uint64(len(m.entries)) }

func (m model) append(hs wal.HardState, entries []*raftpb.Entry) model {
	if hs != (wal.HardState{}) {
		m.hs = hs
	}
	if len(entries) > 0 {
		kept := entries[0].GetIndex() - m.mark.Index - 1
		m.entries = append(slices.Clone(m.entries[:kept]), entries...)
	}
	return m
}

func (m model) moveMark(mark wal.Mark) model {
	if mark.Index <= m.mark.Index {
		return m
	}
	at := mark.Index - m.mark.Index - 1
	if at < uint64(len(m.entries)) && m.entries[at].GetTerm() == mark.Term {
		m.entries = slices.Clone(m.entries[at+1:])
	} else {
		m.entries = nil
	}
	m.mark = mark
	return m
}

func (m model) String() string {
	return fmt.Sprintf("%+v %+v %s", m.hs, m.mark, strings.Join(show(m.entries), ","))
}

// equal is a fast comparison; String shows a difference.
func (m model) equal(n model) bool {
	return m.hs == n.hs && m.mark == n.mark && slices.EqualFunc(m.entries, n.entries, func(a, b *raftpb.Entry) bool {
		return a.GetIndex() == b.GetIndex() && a.GetTerm() == b.GetTerm() && a.GetType() == b.GetType() &&
			bytes.Equal(a.GetData(), b.GetData())
	})
}

func recovered(found *wal.Recovered) model {
	return model{hs: found.HardState, mark: found.Mark, entries: found.Entries}
}

// world is a log under test and what it must hold: synced after every crash, and in
// place of that next if a sync was under way.
type world struct {
	log          *wal.Log
	synced, next model
	inSync       bool
}

// run opens the log and does the workload until an error.
func (w *world) run(m *vfs.Mem) (err error) {
	w.log, _, err = wal.Open(m, dir, owner(), small())
	if err != nil {
		return err
	}
	defer w.log.Close()
	for _, step := range workload() {
		if err := step(w); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) append(term uint64, first, last uint64) error {
	hs := wal.HardState{Term: term, Vote: term % 3, Commit: w.next.mark.Index}
	if first > last {
		hs.Commit = w.next.last()
	}
	w.next = w.next.append(hs, span(first, last, term))
	return w.log.Append(hs, span(first, last, term))
}

func (w *world) sync() error {
	w.inSync = true
	if err := w.log.Sync(); err != nil {
		return err
	}
	w.inSync = false
	w.synced = w.next
	return nil
}

// workload is a short life with everything in it: appends that share a sync, truncated
// suffixes, votes alone, several segments, a batch larger than the space prepared for it,
// snapshots of our own and from the leader, releases.
func workload() []func(*world) error {
	add := func(term, first, last uint64) func(*world) error {
		return func(w *world) error { return w.append(term, first, last) }
	}
	mark := func(index, term uint64) func(*world) error {
		return func(w *world) error {
			w.next = w.next.moveMark(wal.Mark{Index: index, Term: term})
			return w.log.Mark(wal.Mark{Index: index, Term: term})
		}
	}
	release := func(index uint64) func(*world) error {
		return func(w *world) error { return w.log.Release(index) }
	}
	sync := (*world).sync
	one := func(size int) func(*world) error {
		return func(w *world) error {
			e := []*raftpb.Entry{entry(w.next.last()+1, w.next.hs.Term, strings.Repeat("b", size))}
			w.next = w.next.append(wal.HardState{}, e)
			return w.log.Append(wal.HardState{}, e)
		}
	}
	return []func(*world) error{
		add(1, 1, 3), one(14 << 10), sync, add(2, 4, 5), add(2, 6, 6), sync, one(14 << 10), sync, add(2, 5, 9), sync,
		add(3, 1, 0), sync, add(3, 10, 30), sync, mark(8, 2), sync, add(3, 31, 31), sync,
		release(8), add(3, 32, 300), sync, add(4, 200, 201), add(4, 201, 260), sync, mark(240, 4),
		add(4, 261, 262), sync, release(240), one(33 << 10), sync, add(5, 264, 264), sync,
		mark(500, 6), add(6, 501, 502), sync, release(500), add(6, 503, 503), sync, add(6, 504, 504), sync,
		add(6, 505, 505), sync, mark(504, 6), sync, add(7, 506, 506), sync, release(504), add(7, 507, 508),
	}
}

func emptyDisk() *vfs.Mem {
	m := vfs.NewMem(1)
	if err := errors.Join(m.MkdirAll("data"), m.SyncDir("/")); err != nil {
		panic(err) // a test cannot go on
	}
	return m
}

// count returns the operations of a workload without faults.
func count(t *testing.T) vfs.Counts {
	t.Helper()
	m, w := emptyDisk(), &world{}
	m.SetFaults(vfs.Faults{})
	must(t, w.run(m))
	return m.Counts()
}

// verify opens the log on a disk and compares it with what the world allows. It returns
// what was recovered.
func (w *world) verify(m *vfs.Mem) (model, *wal.Cut, error) {
	l, found, err := wal.Open(m, dir, owner(), small())
	if err != nil {
		return model{}, nil, err
	}
	defer l.Close()
	got := recovered(found)
	switch {
	case got.equal(w.synced):
	case w.inSync && found.Cut == nil && got.equal(w.next):
	default:
		return got, found.Cut, fmt.Errorf("recovered other entries (-synced +got):\n%s", cmp.Diff(w.synced.String(), got.String()))
	}
	if c := found.Cut; c != nil && !w.inSync {
		return got, c, fmt.Errorf("cut %+v, but no sync was under way", *c)
	}
	return got, found.Cut, nil
}

// goOn appends to a recovered log and checks that it survives a power cut.
func goOn(m *vfs.Mem, held model) error {
	l, _, err := wal.Open(m, dir, owner(), small())
	if err != nil {
		return err
	}
	defer l.Close()
	more := span(held.last()+1, held.last()+3, 90)
	hs := wal.HardState{Term: 90, Commit: held.last()}
	if err := errors.Join(l.Append(hs, more), l.Sync()); err != nil {
		return err
	}
	want := held.append(hs, more)
	l2, found, err := wal.Open(m.Clone(vfs.Survival{Percent: 0}), dir, owner(), small())
	if err != nil {
		return err
	}
	defer l2.Close()
	if got := recovered(found); !got.equal(want) {
		diff := cmp.Diff(want.String(), got.String())
		return fmt.Errorf("entries appended after the crash differ (-want +got):\n%s", diff)
	}
	return nil
}

func survivals() []vfs.Survival {
	return []vfs.Survival{
		{Percent: 0}, {Percent: 100}, {Percent: 50, Seed: 1}, {Percent: 50, Seed: 2},
		{Percent: 90, Seed: 3}, {Percent: 97, Seed: 4}, {Percent: 15, Seed: 5},
	}
}

// TestEveryCrashPoint stops the disk at each operation of the workload, lets a part of
// what was not synced survive, and opens the log again.
func TestEveryCrashPoint(t *testing.T) {
	t.Parallel()
	total, cases, cuts := count(t).Changes, 0, 0
	for stop := 1; stop <= total; stop++ {
		m, w := emptyDisk(), &world{}
		m.SetFaults(vfs.Faults{StopAt: stop})
		if err := w.run(m); err != nil && !errors.Is(err, vfs.ErrStopped) {
			t.Fatalf("stop %d: %v", stop, err)
		}
		for _, s := range survivals() {
			cases++
			after := m.Clone(s)
			got, cut, err := w.verify(after)
			if err != nil {
				t.Fatalf("stop %d, %+v: %v", stop, s, err)
			}
			if cut != nil {
				cuts++
			}
			if err := goOn(after, got); err != nil {
				t.Fatalf("stop %d, %+v: %v", stop, s, err)
			}
		}
	}
	t.Logf("wal: %d crash points x %d survivals = %d crashes, 0 lost, 0 invented, %d torn batches cut",
		total, len(survivals()), cases, cuts)
	if cuts == 0 {
		t.Error("no crash tore a batch: the test does not test")
	}
}

// TestEveryCrashPointOfOpen crashes a second time while Open repairs the first crash.
func TestEveryCrashPointOfOpen(t *testing.T) {
	t.Parallel()
	total, cases, repaired := count(t).Changes, 0, 0
	for stop := 1; stop <= total; stop++ {
		m, w := emptyDisk(), &world{}
		m.SetFaults(vfs.Faults{StopAt: stop})
		_ = w.run(m) // stopped, see TestEveryCrashPoint
		first := m.Clone(vfs.Survival{Percent: 80, Seed: uint64(stop)})
		_, cut, err := w.verify(first.Clone(vfs.Survival{Percent: 100}))
		must(t, err)
		if cut != nil {
			repaired++
		}
		for again := 1; ; again++ {
			after := first.Clone(vfs.Survival{Percent: 100})
			after.SetFaults(vfs.Faults{StopAt: again})
			if _, _, err := w.verify(after); err == nil {
				break
			} else if !errors.Is(err, vfs.ErrStopped) {
				t.Fatalf("stop %d, again %d: %v", stop, again, err)
			}
			for i, s := range survivals() {
				if testing.Short() && i > 2 {
					break
				}
				cases++
				if err := w.verifyTwice(after.Clone(s), cut); err != nil {
					t.Fatalf("stop %d, again %d, %+v: %v", stop, again, s, err)
				}
			}
		}
	}
	t.Logf("wal: %d crashes inside Open, 0 lost, 0 invented, %d of the logs had a torn batch and no cut was forgotten", cases, repaired)
	if repaired == 0 {
		t.Error("no log had a torn batch: the test does not test")
	}
}

// verifyTwice verifies a disk that crashed inside an Open which was about to report cut.
func (w *world) verifyTwice(m *vfs.Mem, cut *wal.Cut) error {
	got, again, err := w.verify(m)
	if err != nil {
		return err
	}
	// What is left of the batch may say less than before, but the cut stays.
	if cut != nil && (again == nil || again.KeptIndex != cut.KeptIndex || again.Known && *again != *cut) {
		return fmt.Errorf("the cut was %+v and became %+v", cut, again)
	}
	if again == nil {
		return nil // TestEveryCrashPoint goes on from here
	}
	return goOn(m, got)
}

// TestEveryFailedWrite and TestEveryFailedSync let one operation fail and restart the
// process on the same machine; then the power goes.
func TestEveryFailedWrite(t *testing.T) {
	t.Parallel()
	cases, total := 0, count(t).Writes
	for n := 1; n <= total; n++ {
		for _, partial := range []int{0, 1, 511, 512, 700, 4096, 1 << 20} {
			cases++
			restart(t, vfs.Faults{FailWrite: n, PartialBytes: partial})
		}
	}
	t.Logf("wal: %d writes failed in %d ways, 0 lost, 0 invented", total, cases)
}

// TestEveryFailedSync: what a failed sync dropped stays visible until the power goes, and
// later syncs succeed. See TestEveryFailedWrite.
func TestEveryFailedSync(t *testing.T) {
	t.Parallel()
	total := count(t).Syncs
	for n := 1; n <= total; n++ {
		restart(t, vfs.Faults{FailSync: n})
	}
	t.Logf("wal: %d syncs failed, 0 lost, 0 invented", total)
}

// restart runs the workload into a fault, checks that the log stays refused, opens it
// again on the same system, and then after a power cut.
func restart(t *testing.T, f vfs.Faults) {
	t.Helper()
	m, w := emptyDisk(), &world{}
	m.SetFaults(f)
	err := w.run(m)
	if !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("%+v: run = %v, want the injected error", f, err)
	}
	m.SetFaults(vfs.Faults{})
	got, _, err := w.verify(m)
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	for _, s := range survivals()[:4] {
		held := world{synced: got, inSync: w.inSync}
		held.next = got
		if _, _, err := held.verify(m.Clone(s)); err != nil {
			t.Fatalf("%+v, then %+v: %v", f, s, err)
		}
	}
	if err := goOn(m, got); err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
}

// TestCrashAfterFailedSync restarts the process on the same system after each failed
// sync, appends a batch that needs more prepared space, and stops at each operation of
// its sync: Open must not rely on what the failed one left in memory.
func TestCrashAfterFailedSync(t *testing.T) {
	t.Parallel()
	total, cases := count(t).Syncs, 0
	for n := 1; n <= total; n++ {
		for stop := 1; ; stop++ {
			again, m := failSyncThenStop(t, n, stop)
			if again == nil {
				break // the sync of the large batch has fewer operations
			}
			for seed := range uint64(16) {
				s := vfs.Survival{Percent: 50, Seed: seed + 1}
				cases++
				if _, _, err := again.verify(m.Clone(s)); err != nil {
					t.Fatalf("sync %d, stop %d, %+v: %v", n, stop, s, err)
				}
			}
		}
	}
	t.Logf("wal: %d crashes after a failed sync and a restart, 0 lost, 0 invented", cases)
}

// failSyncThenStop returns the stopped disk and what it may hold, nil if nothing stopped.
func failSyncThenStop(t *testing.T, failSync, stop int) (*world, *vfs.Mem) {
	t.Helper()
	m, w := emptyDisk(), &world{}
	m.SetFaults(vfs.Faults{FailSync: failSync})
	if err := w.run(m); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("sync %d: run = %v, want the injected error", failSync, err)
	}
	m.SetFaults(vfs.Faults{})
	l, found, err := wal.Open(m, dir, owner(), small())
	must(t, err)
	held := recovered(found)
	e := []*raftpb.Entry{entry(held.last()+1, 9, strings.Repeat("large", 3<<10))}
	again := &world{log: l, synced: held, next: held.append(wal.HardState{}, e), inSync: true}
	m.SetFaults(vfs.Faults{StopAt: stop})
	if err := errors.Join(l.Append(wal.HardState{}, e), l.Sync()); err == nil {
		return nil, nil
	}
	return again, m
}

// TestPoison checks that nothing is written after a failure.
func TestPoison(t *testing.T) {
	for name, f := range map[string]vfs.Faults{"write": {FailWrite: 1}, "sync": {FailSync: 1}} {
		t.Run(name, func(t *testing.T) {
			m := newMem(t)
			l, _ := open(t, m, small())
			m.SetFaults(f)
			must(t, l.Append(wal.HardState{Term: 1}, span(1, 1, 1)))
			first := l.Sync()
			if !errors.Is(first, vfs.ErrInjected) {
				t.Fatalf("Sync = %v", first)
			}
			before := m.Counts().Changes
			for i, err := range []error{
				l.Sync(), l.Append(wal.HardState{}, span(2, 2, 1)), l.Mark(wal.Mark{Index: 1, Term: 1}),
				l.Release(1), l.ClearCut(),
			} {
				if err != first {
					t.Errorf("call %d = %v, want the first error", i, err)
				}
			}
			if got := m.Counts().Changes; got != before {
				t.Errorf("%d operations after the failure", got-before)
			}
			must(t, l.Close())
		})
	}
}

func TestDiskFull(t *testing.T) {
	cases := 0
	for limit := int64(1); limit < 200<<10; limit += 1777 {
		m, w := emptyDisk(), &world{}
		m.SetFaults(vfs.Faults{LimitBytes: limit})
		err := w.run(m)
		if err == nil {
			break
		}
		if !errors.Is(err, vfs.ErrNoSpace) {
			t.Fatalf("limit %d: %v", limit, err)
		}
		cases++
		m.SetFaults(vfs.Faults{})
		if _, _, err := w.verify(m); err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
	}
	t.Logf("wal: disk full at %d sizes, 0 lost", cases)
}

// threeRecords returns a disk with a few batches, what they hold, and where the last
// three begin and end.
func threeRecords(t *testing.T) (m *vfs.Mem, held model, from, to int64) {
	t.Helper()
	m = newMem(t)
	l, held := fourBatches(t, m, func() {})
	must(t, l.Close())
	return m.Clone(vfs.Survival{Percent: 0}), held, 2 * 4096, 5 * 4096
}

// fourBatches opens a log in one segment and writes four batches, with a call of after behind each.
func fourBatches(t *testing.T, m *vfs.Mem, after func()) (l *wal.Log, held model) {
	t.Helper()
	l, _ = open(t, m, wal.Options{SegmentBytes: 32 << 10, PrepareBytes: 24 << 10})
	for i := uint64(1); i <= 4; i++ {
		hs := wal.HardState{Term: i, Vote: i, Commit: i - 1}
		appendSync(t, l, hs, span(i, i, i))
		held = held.append(hs, span(i, i, i))
		after()
	}
	return l, held
}

// TestEveryBitFlip inverts every bit of the last three batches, and some of the header of
// the file and of the zeros behind the end.
func TestEveryBitFlip(t *testing.T) {
	stride := int64(1)
	if testing.Short() {
		stride = 97
	}
	_, _, from, to := threeRecords(t)
	for at := from; at < to; at += 4096 {
		t.Run(fmt.Sprintf("batch at %d", at), func(t *testing.T) {
			t.Parallel()
			n := flipEach(t, at*8, (at+4096)*8, stride)
			t.Logf("wal: %d bits of the record at %d flipped, %d refused with file and offset, 0 lost", n, at, n)
		})
	}
	flipEach(t, 0, 24<<10*8, 101)
}

// flipEach inverts bits one at a time and checks that the log is refused each time.
func flipEach(t *testing.T, from, to, stride int64) (flips int) {
	t.Helper()
	m, held, _, _ := threeRecords(t)
	name := lastSegment(m)
	for bit := from; bit < to; bit += stride {
		flips++
		must(t, m.FlipBit(name, bit))
		wantRefused(t, m, name, bit, held.hs)
		must(t, m.FlipBit(name, bit))
	}
	l, found := open(t, m, small())
	if diff := cmp.Diff(held.String(), recovered(found).String()); diff != "" {
		t.Error(diff)
	}
	must(t, l.Close())
	return flips
}

// wantRefused checks that the log is refused, with the sector that was damaged. With one
// flaw, term and vote are always readable, unless it lies behind the last batch and may
// be all that is left of a newer one.
func wantRefused(t *testing.T, m *vfs.Mem, name string, bit int64, hs wal.HardState) {
	t.Helper()
	_, _, err := wal.Open(m, dir, owner(), small())
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) {
		t.Fatalf("bit %d: Open = %v, want a CorruptError", bit, err)
	}
	if corrupt.File != name || corrupt.Offset != bit/8/512*512 {
		t.Fatalf("bit %d is in the sector at %d: %v", bit, bit/8/512*512, err)
	}
	if behind := bit >= 5*4096*8; corrupt.StateKnown == behind || !behind && corrupt.HardState != hs {
		t.Fatalf("bit %d: hard state %+v, known %v; want %+v", bit, corrupt.HardState, corrupt.StateKnown, hs)
	}
}

// TestEveryLostSector zeroes each sector in turn, as a disk does that lost a write. In
// the last batch that looks like a crash and is cut, never silently; before, it is
// damage.
func TestEveryLostSector(t *testing.T) {
	m, held, from, to := threeRecords(t)
	name := lastSegment(m)
	raw, err := m.ReadFile(name)
	must(t, err)
	refused, cut := 0, 0
	for at := from; at < to; at += 512 {
		damaged := slices.Clone(raw)
		clear(damaged[at : at+512])
		c := m.Clone(vfs.Survival{Percent: 0})
		must(t, c.WriteFile(name, damaged))
		_, found, err := wal.Open(c, dir, owner(), small())
		var corrupt *wal.CorruptError
		switch {
		case errors.As(err, &corrupt) && at < to-4096:
			refused++
			if corrupt.Offset != at || !corrupt.StateKnown || corrupt.HardState != held.hs {
				t.Errorf("sector at %d: %v", at, err)
			}
		case err == nil && at >= to-4096:
			cut++
			want := &wal.Cut{KeptIndex: 3, KeptTerm: 3, Known: true, Index: 4, Term: 4}
			if diff := cmp.Diff(want, found.Cut); diff != "" {
				t.Errorf("sector at %d: cut differs:\n%s", at, diff)
			}
			wantEntries(t, held.entries[:3], found.Entries)
		default:
			t.Errorf("sector at %d: %v, cut %+v", at, err, found)
		}
	}
	t.Logf("wal: %d lost sectors, %d refused, %d cut and reported, 0 silent", refused+cut, refused, cut)
}

// TestReadAfterEachSync reads the whole log back by Entries beside its growth.
func TestReadAfterEachSync(t *testing.T) {
	m, w := emptyDisk(), &world{}
	var err error
	w.log, _, err = wal.Open(m, dir, owner(), small())
	must(t, err)
	for i, step := range workload() {
		must(t, step(w))
		if w.synced.last() == w.synced.mark.Index {
			continue
		}
		got, err := w.log.Entries(w.synced.mark.Index+1, w.synced.last()+1, math.MaxUint64)
		must(t, err)
		if diff := cmp.Diff(show(w.synced.entries), show(got)); diff != "" {
			t.Fatalf("after step %d:\n%s", i, diff)
		}
	}
	must(t, w.log.Close())
}
