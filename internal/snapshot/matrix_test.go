package snapshot_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

func survivals() []vfs.Survival {
	return []vfs.Survival{
		{Percent: 0}, {Percent: 100}, {Percent: 50, Seed: 1}, {Percent: 50, Seed: 2},
		{Percent: 90, Seed: 3}, {Percent: 97, Seed: 4}, {Percent: 15, Seed: 5},
	}
}

// countOf counts the operations of a step that nothing disturbs.
func countOf(t *testing.T, s step) vfs.Counts {
	t.Helper()
	m := disk(t, small(5), small(9))
	m.SetFaults(vfs.Faults{})
	must(t, s.do(m))
	c := m.Counts()
	found, err := wantWhole(m, allowed()...)
	must(t, err)
	if diff := cmp.Diff(s.want[len(s.want)-1], found); diff != "" {
		t.Fatalf("%s undisturbed:\n%s", s.name, diff)
	}
	return c
}

// oneOf checks that the folder holds whole snapshots and one of the sets that the step allows. final says that only
// the last will do.
func (s step) oneOf(m *vfs.Mem, final bool) error {
	found, err := wantWhole(m, allowed()...)
	if err != nil {
		return err
	}
	sets := s.want
	if final {
		sets = sets[len(sets)-1:]
	}
	if !slices.ContainsFunc(sets, func(w []uint64) bool { return slices.Equal(w, found) }) {
		return fmt.Errorf("snapshots %v, want one of %v", found, sets)
	}
	return nil
}

// TestEveryCrashPoint stops the disk at each operation of writing, receiving and purging, lets a part of what was
// not synced survive, and looks at the folder as the next start does.
func TestEveryCrashPoint(t *testing.T) {
	t.Parallel()
	cases, points := 0, 0
	for _, s := range steps(t) {
		total := countOf(t, s).Changes
		points += total + 1 // and once after the last operation
		for stop := 1; stop <= total+1; stop++ {
			m := disk(t, small(5), small(9))
			m.SetFaults(vfs.Faults{StopAt: stop})
			err := s.do(m)
			if stop <= total && !errors.Is(err, vfs.ErrStopped) && s.name != "purge" {
				t.Fatalf("%s, stop %d: %v", s.name, stop, err)
			}
			for _, survival := range survivals() {
				cases++
				if err := s.oneOf(m.Clone(survival), err == nil); err != nil {
					t.Fatalf("%s, stop %d, %+v: %v", s.name, stop, survival, err)
				}
			}
		}
	}
	t.Logf("snapshot: %d crash points x %d survivals = %d crashes, 0 lost, 0 half, 0 temporary files left",
		points, len(survivals()), cases)
}

// TestEveryFailingOperation lets each write, sync and other operation of a step fail once. The step must say
// so; the folder stays as it was or is as it should become, at once and after a power cut, and the step
// succeeds when it is repeated.
func TestEveryFailingOperation(t *testing.T) {
	t.Parallel()
	writes, syncs, others := 0, 0, 0
	for _, s := range steps(t) {
		c := countOf(t, s)
		for n := 1; n <= c.Writes; n++ {
			for _, partial := range []int{0, 511, 1 << 20} {
				writes++
				failOnce(t, s, vfs.Faults{FailWrite: n, PartialBytes: partial}, true)
			}
		}
		for n := 1; n <= c.Syncs; n++ {
			syncs++
			failOnce(t, s, vfs.Faults{FailSync: n}, true)
		}
		for n := 1; n <= c.Reads; n++ {
			others++
			failOnce(t, s, vfs.Faults{FailRead: n}, true)
		}
		for n := 1; n <= c.Changes+c.Reads+4; n++ { // and a few that open
			others++
			seen := 0
			failOnce(t, s, vfs.Faults{Check: func(vfs.Op) error {
				if seen++; seen == n {
					return vfs.ErrInjected
				}
				return nil
			}}, false)
		}
	}
	t.Logf("snapshot: %d failed writes, %d failed syncs, %d other failed operations: 0 lost, 0 half, 0 unreported", writes, syncs, others)
}

func failOnce(t *testing.T, s step, f vfs.Faults, mustFail bool) {
	t.Helper()
	m := disk(t, small(5), small(9))
	m.SetFaults(f)
	err := s.do(m)
	if mustFail && err == nil || err != nil && !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("%s, %+v: %v, want the injected error", s.name, f, err)
	}
	m.SetFaults(vfs.Faults{})
	for _, survival := range survivals()[:2] {
		if err := s.oneOf(m.Clone(survival), err == nil); err != nil {
			t.Fatalf("%s, %+v, then power cut %+v: %v", s.name, f, survival, err)
		}
	}
	if err := s.oneOf(m, err == nil); err != nil {
		t.Fatalf("%s, %+v: %v", s.name, f, err)
	}
	must(t, s.do(m))
	// A file that a purge removed may come back with a power cut: nobody relies on its absence.
	if err := s.oneOf(m.Clone(vfs.Survival{Percent: 0}), s.name != "purge"); err != nil {
		t.Fatalf("%s, %+v, repeated: %v", s.name, f, err)
	}
}

// TestLyingSyncIsSeen shows that the matrix can tell: on a disk that drops what it was told to sync, snapshots are lost.
func TestLyingSyncIsSeen(t *testing.T) {
	t.Parallel()
	s := steps(t)[0]
	m := disk(t, small(5), small(9))
	m.SetFaults(vfs.Faults{LieAboutSync: true})
	must(t, s.do(m))
	if err := s.oneOf(m.Clone(vfs.Survival{Percent: 0}), true); err == nil {
		t.Error("a snapshot survived on a disk that never synced it: the test does not test")
	}
}

// TestEveryBitFlip inverts every bit of a whole file.
func TestEveryBitFlip(t *testing.T) {
	t.Parallel()
	c := small(9)
	m := disk(t, c)
	name := nameOf(c)
	bits := int64(len(fileOf(t, c))) * 8
	for bit := range bits {
		must(t, m.FlipBit(name, bit))
		got, err := read(m, name)
		if err := wantCorrupt(err, name, int(bits/8)); err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		wantPrefix(t, c, got)
		must(t, m.FlipBit(name, bit))
	}
	got, err := read(m, name)
	must(t, err)
	if diff := cmp.Diff(c, got); diff != "" {
		t.Error(diff)
	}
	t.Logf("snapshot: %d bits of a file of %d bytes flipped, all refused with file and offset, 0 read differently", bits, bits/8)
}

// TestEveryTruncation cuts a file at each length.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	c := small(9)
	m := disk(t, c)
	whole := fileOf(t, c)
	for n := range whole {
		must(t, m.WriteFile(nameOf(c), whole[:n]))
		got, err := read(m, nameOf(c))
		if err := wantCorrupt(err, nameOf(c), n); err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		wantPrefix(t, c, got)
	}
	t.Logf("snapshot: a file of %d bytes cut at each length, all refused with file and offset", len(whole))
}

// TestEveryAddition adds bytes at the end, and doubles, drops or zeroes pieces of the middle.
func TestEveryAddition(t *testing.T) {
	t.Parallel()
	c := small(9)
	m := disk(t, c)
	whole := fileOf(t, c)
	damages := 0
	check := func(what string, damaged []byte) {
		t.Helper()
		damages++
		must(t, m.WriteFile(nameOf(c), damaged))
		got, err := read(m, nameOf(c))
		if err := wantCorrupt(err, nameOf(c), len(damaged)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		wantPrefix(t, c, got)
	}
	for _, tail := range [][]byte{{0}, make([]byte, 512), []byte("okapiend"), whole[len(whole)-32:], whole} {
		check(fmt.Sprintf("%d bytes more", len(tail)), slices.Concat(whole, tail))
	}
	for at := range whole {
		check(fmt.Sprintf("byte %d is missing", at), slices.Delete(slices.Clone(whole), at, at+1))
		check(fmt.Sprintf("byte %d is there twice", at), slices.Insert(slices.Clone(whole), at, ^whole[at]))
	}
	t.Logf("snapshot: %d additions, insertions and deletions, all refused with file and offset", damages)
}

// wantPrefix checks what a reader returned before it found the damage.
func wantPrefix(t *testing.T, c, got content) {
	t.Helper()
	if got.Index == 0 && len(got.Records) == 0 {
		return // it was refused at the door
	}
	if len(got.Records) > len(c.Records) || got.Index != c.Index || got.Payload != c.Payload {
		t.Fatalf("read entry %d with %d records", got.Index, len(got.Records))
	}
	for i, r := range got.Records {
		if r != c.Records[i] {
			t.Fatalf("record %d reads as %d bytes of kind %d", i, len(r.Data), r.Kind)
		}
	}
}

// TestDamagedFileIsListed checks that a damaged file is never passed over for an older one.
func TestDamagedFileIsListed(t *testing.T) {
	t.Parallel()
	m := disk(t, small(5), small(9))
	must(t, m.FlipBit(nameOf(small(9)), 1000))
	all, err := snapshot.List(m, dir)
	must(t, err)
	if len(all) != 2 || all[1].Index != 9 || all[1].Term != 3 || all[1].Name != nameOf(small(9)) {
		t.Fatalf("listed %+v", all)
	}
	_, err = read(m, all[1].Name)
	if err := wantCorrupt(err, nameOf(small(9)), 1<<20); err != nil {
		t.Error(err)
	}
}
