package wal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

const endFile = dir + "/end"

// noted returns a disk with a log of four batches whose end was noted, and its last segment as it was after each batch.
func noted(t *testing.T) (m *vfs.Mem, held model, copies [][]byte) {
	t.Helper()
	m = newMem(t)
	l, held := fourBatches(t, m, func() {
		raw, err := m.ReadFile(lastSegment(m))
		must(t, err)
		copies = append(copies, raw)
	})
	must(t, l.NoteEnd())
	must(t, l.Close())
	return m.Clone(vfs.Survival{Percent: 0}), held, copies
}

// wantBehind checks that a log is refused because it ends too early, at an offset, with nothing claimed of term and vote.
func wantBehind(t *testing.T, m *vfs.Mem, offset int64) {
	t.Helper()
	_, _, err := wal.Open(m, dir, owner(), small())
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != lastSegment(m) || corrupt.Offset != offset || corrupt.StateKnown ||
		!strings.Contains(corrupt.Reason, "and reached batch 4 when") {
		t.Errorf("Open = %v, want damage of %s at %d", err, lastSegment(m), offset)
	}
}

// TestOlderCopyOfSegment puts back what the last segment once held.
func TestOlderCopyOfSegment(t *testing.T) {
	m, held, copies := noted(t)
	for i, raw := range copies[:3] {
		c := m.Clone(vfs.Survival{})
		must(t, c.WriteFile(lastSegment(c), raw))
		wantBehind(t, c, int64(i+2)*4096)
	}
	must(t, m.WriteFile(lastSegment(m), copies[3]))
	l, found := open(t, m, small())
	if got := recovered(found); !got.equal(held) {
		t.Errorf("the newest copy holds %v, want %v", got, held)
	}
	must(t, l.Close())
}

// TestLostSectorBelowNotedEnd zeroes each sector of the last batch: as its sync is known, it was not a crash.
func TestLostSectorBelowNotedEnd(t *testing.T) {
	for at := int64(4 * 4096); at < 5*4096; at += 512 {
		m, _, copies := noted(t)
		raw := copies[3]
		clear(raw[at : at+512])
		must(t, m.WriteFile(lastSegment(m), raw))
		wantBehind(t, m, 4*4096)
	}
}

// TestAllSegmentsGone: an end without a log is a log that was lost.
func TestAllSegmentsGone(t *testing.T) {
	m, _, _ := noted(t)
	name := lastSegment(m)
	must(t, m.Erase(name))
	_, _, err := wal.Open(m, dir, owner(), small())
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != name {
		t.Errorf("Open = %v, want %s missing", err, name)
	}
}

// TestDamagedEnd: what notes the end proves nothing once it is damaged, and the log is whole.
func TestDamagedEnd(t *testing.T) {
	m, held, _ := noted(t)
	raw, err := m.ReadFile(endFile)
	must(t, err)
	check := func(what string) {
		t.Helper()
		l, found, err := wal.Open(m, dir, owner(), small())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := recovered(found); !got.equal(held) {
			t.Fatalf("%s: holds %v, want %v", what, got, held)
		}
		must(t, l.Close())
	}
	for bit := range int64(len(raw)) * 8 {
		must(t, m.FlipBit(endFile, bit))
		check(fmt.Sprintf("bit %d", bit))
		must(t, m.FlipBit(endFile, bit))
	}
	for size := range len(raw) {
		must(t, m.WriteFile(endFile, raw[:size]))
		check(fmt.Sprintf("%d bytes", size))
	}
	must(t, m.Erase(endFile))
	check("none")
}

// TestCrashInNoteEnd stops the disk at each operation: the log opens, with all it held.
func TestCrashInNoteEnd(t *testing.T) {
	for stop := 1; ; stop++ {
		m, held, _ := noted(t)
		l, _ := open(t, m, small())
		more := span(held.last()+1, held.last()+1, 4)
		appendSync(t, l, wal.HardState{}, more)
		held = held.append(wal.HardState{}, more)
		m.SetFaults(vfs.Faults{StopAt: stop})
		err := l.NoteEnd()
		if err == nil {
			break
		}
		if again := l.NoteEnd(); !errors.Is(err, vfs.ErrStopped) || again != err {
			t.Fatalf("stop %d: NoteEnd = %v, then %v", stop, err, again)
		}
		for _, s := range survivals() {
			w := world{synced: held}
			if _, _, err := w.verify(m.Clone(s)); err != nil {
				t.Errorf("stop %d, %+v: %v", stop, s, err)
			}
		}
	}
}

// TestErrorsNameTheSegment: a segment is made under another name, which is gone when its writes fail.
func TestErrorsNameTheSegment(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 1}, span(1, 1, 1))
	m.SetFaults(vfs.Faults{FailSync: 1})
	must(t, l.Append(wal.HardState{}, span(2, 2, 1)))
	if err := l.Sync(); err == nil || !strings.Contains(err.Error(), lastSegment(m)) || strings.Contains(err.Error(), ".tmp") {
		t.Errorf("Sync = %v, want an error that names %s", err, lastSegment(m))
	}
	must(t, l.Close())
}

// TestForgottenCut: a cut whose file is gone must not be forgotten, and one that was cleared is not missed.
func TestForgottenCut(t *testing.T) {
	m, _, copies := noted(t)
	raw := copies[3]
	clear(raw[4*4096+512 : 4*4096+1024])
	must(t, m.WriteFile(lastSegment(m), raw))
	must(t, m.Erase(endFile))
	l, found := open(t, m, small())
	if found.Cut == nil {
		t.Fatal("there is no cut")
	}
	must(t, l.NoteEnd())
	must(t, l.Close())
	forgetful := m.Clone(vfs.Survival{})
	must(t, forgetful.Erase(dir+"/cut"))
	_, _, err := wal.Open(forgetful, dir, owner(), small())
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != dir+"/cut" {
		t.Errorf("Open = %v, want %s missing", err, dir+"/cut")
	}
	l, _ = open(t, m, small())
	must(t, l.ClearCut())
	must(t, l.Close())
	l, found = open(t, m.Clone(vfs.Survival{}), small())
	if found.Cut != nil {
		t.Errorf("the cut that was cleared is back: %+v", found.Cut)
	}
	must(t, l.Close())
}
