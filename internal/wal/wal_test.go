package wal_test

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

const dir = "data/wal"

func owner() wal.Identity { return wal.Identity{ClusterID: 0xc1, MemberID: 0xa1} }

// small makes segments that a few batches fill.
func small() wal.Options { return wal.Options{SegmentBytes: 40 << 10, PrepareBytes: 12 << 10} }

func entry(index, term uint64, data string) *raftpb.Entry {
	kind := raftpb.EntryType_EntryNormal
	if strings.HasPrefix(data, "conf") {
		kind = raftpb.EntryType_EntryConfChangeV2
	}
	e := &raftpb.Entry{Index: &index, Term: &term, Type: &kind}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

// span makes the entries first to last of one term.
func span(first, last, term uint64) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := first; i <= last; i++ {
		out = append(out, entry(i, term, fmt.Sprintf("entry %d of term %d", i, term)))
	}
	return out
}

// show renders entries so that go-cmp can compare them.
func show(entries []*raftpb.Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%d/%d %v %q", e.GetIndex(), e.GetTerm(), e.GetType(), e.GetData()))
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, fsys vfs.FS, opts wal.Options) (*wal.Log, *wal.Recovered) {
	t.Helper()
	l, found, err := wal.Open(fsys, dir, owner(), opts)
	must(t, err)
	return l, found
}

func appendSync(t testing.TB, l *wal.Log, hs wal.HardState, entries []*raftpb.Entry) {
	t.Helper()
	must(t, l.Append(hs, entries))
	must(t, l.Sync())
}

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	must(t, m.MkdirAll("data"))
	must(t, m.SyncDir("/"))
	return m
}

func wantEntries(t testing.TB, want, got []*raftpb.Entry) {
	t.Helper()
	if diff := cmp.Diff(show(want), show(got)); diff != "" {
		t.Errorf("entries differ (-want +got):\n%s", diff)
	}
}

func TestReopen(t *testing.T) {
	m := newMem(t)
	l, found := open(t, m, small())
	if !found.Fresh || found.Cut != nil || len(found.Entries) != 0 {
		t.Errorf("new log: %+v", found)
	}
	want := append(span(1, 3, 1), entry(4, 2, ""), entry(5, 2, "conf"))
	hs := wal.HardState{Term: 2, Vote: 7, Commit: 3}
	appendSync(t, l, hs, want)
	must(t, l.Append(wal.HardState{}, span(6, 6, 2))) // not synced
	must(t, l.Close())

	l, found = open(t, m, small())
	if found.Fresh || found.Cut != nil || found.HardState != hs {
		t.Errorf("reopened log: %+v", found)
	}
	wantEntries(t, want, found.Entries)
	must(t, l.Close())
	if err := l.Sync(); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Sync after Close = %v", err)
	}
}

func TestOverwrite(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 1}, span(1, 10, 1))
	appendSync(t, l, wal.HardState{Term: 2}, span(5, 6, 2))
	must(t, l.Append(wal.HardState{Term: 3}, span(6, 9, 3)))
	must(t, l.Append(wal.HardState{Term: 4}, span(8, 8, 4))) // in the same batch
	must(t, l.Sync())
	want := append(append(append(span(1, 4, 1), span(5, 5, 2)...), span(6, 7, 3)...), span(8, 8, 4)...)
	got, err := l.Entries(1, 9, math.MaxUint64)
	must(t, err)
	wantEntries(t, want, got)
	must(t, l.Close())
	_, found := open(t, m, small())
	wantEntries(t, want, found.Entries)
}

func TestAppendRefusesWhatDoesNotFollow(t *testing.T) {
	l, _ := open(t, newMem(t), small())
	appendSync(t, l, wal.HardState{Term: 5}, span(1, 3, 5))
	for name, err := range map[string]error{
		"gap":             l.Append(wal.HardState{}, span(5, 5, 5)),
		"hole inside":     l.Append(wal.HardState{}, append(span(4, 4, 5), span(6, 6, 5)...)),
		"older term":      l.Append(wal.HardState{Term: 4}, nil),
		"commit past end": l.Append(wal.HardState{Term: 5, Commit: 4}, nil),
	} {
		if !errors.Is(err, wal.ErrOrder) {
			t.Errorf("%s: %v, want ErrOrder", name, err)
		}
	}
	if l.Unsynced() {
		t.Error("a refused append left something behind")
	}
	appendSync(t, l, wal.HardState{Term: 5, Commit: 4}, span(4, 4, 5))
}

func TestReadLimits(t *testing.T) {
	l, _ := open(t, newMem(t), small())
	appendSync(t, l, wal.HardState{Term: 1}, span(1, 100, 1))
	appendSync(t, l, wal.HardState{Term: 1}, span(101, 200, 1))
	got, err := l.Entries(99, 150, 4*45)
	must(t, err)
	wantEntries(t, span(99, 102, 1), got)
	got, err = l.Entries(150, 200, 0)
	must(t, err)
	wantEntries(t, span(150, 150, 1), got)
	if _, err := l.Entries(150, 202, 0); !errors.Is(err, raft.ErrUnavailable) {
		t.Errorf("beyond the end: %v", err)
	}
	if term, err := l.Term(200); term != 1 || err != nil {
		t.Errorf("Term = %d, %v", term, err)
	}
	if _, err := l.Term(201); !errors.Is(err, raft.ErrUnavailable) {
		t.Errorf("Term beyond the end: %v", err)
	}
}

func TestRollAndRelease(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	for i := uint64(1); i <= 60; i++ {
		appendSync(t, l, wal.HardState{Term: 1, Commit: i}, span(i, i, 1))
	}
	if n := len(segments(m)); n < 6 {
		t.Fatalf("%d segments, want several", n)
	}
	must(t, l.Release(60)) // no mark yet: everything is needed
	if first, last := l.Bounds(); first != 1 || last != 60 {
		t.Errorf("bounds %d to %d after a release without mark", first, last)
	}
	must(t, l.Mark(wal.Mark{Index: 50, Term: 1}))
	must(t, l.Release(50)) // the mark is not durable yet
	if first, _ := l.Bounds(); first != 1 {
		t.Errorf("first %d after a release before the sync", first)
	}
	must(t, l.Sync())
	must(t, l.Release(30)) // the caller keeps some for slow followers
	first, _ := l.Bounds()
	if first < 20 || first > 31 {
		t.Errorf("first %d after Release(30)", first)
	}
	if _, err := l.Entries(first-1, 60, 0); !errors.Is(err, raft.ErrCompacted) {
		t.Errorf("released entry: %v", err)
	}
	must(t, l.Close())

	l, found := open(t, m, small())
	wantEntries(t, span(51, 60, 1), found.Entries)
	if found.Mark != (wal.Mark{Index: 50, Term: 1}) || found.HardState.Commit != 60 {
		t.Errorf("recovered %+v", found)
	}
	got, err := l.Entries(first, 61, math.MaxUint64)
	must(t, err)
	wantEntries(t, span(first, 60, 1), got)
}

// readHook is a disk that calls a function before each read.
type readHook struct {
	*vfs.Mem
	beforeRead func()
}

func (h *readHook) Create(name string) (vfs.File, error) {
	f, err := h.Mem.Create(name)
	return hookedFile{f, h}, err
}

func (h *readHook) Open(name string) (vfs.File, error) {
	f, err := h.Mem.Open(name)
	return hookedFile{f, h}, err
}

type hookedFile struct {
	vfs.File
	hook *readHook
}

func (f hookedFile) ReadAt(p []byte, offset int64) (int, error) {
	f.hook.beforeRead()
	return f.File.ReadAt(p, offset)
}

// TestReleaseWhileReading releases the segments that a reader is about to read.
// Whatever index is released, the entry behind it stays, be it the last of its segment.
func TestReleaseAtEveryEntry(t *testing.T) {
	l, _ := open(t, newMem(t), small())
	const last = 60
	for i := uint64(1); i <= last; i++ {
		appendSync(t, l, wal.HardState{Term: 1, Commit: i}, span(i, i, 1))
	}
	must(t, l.Mark(wal.Mark{Index: last, Term: 1}))
	must(t, l.Sync())
	for i := uint64(1); i < last; i++ {
		must(t, l.Release(i))
		got, err := l.Entries(i+1, last+1, math.MaxUint64)
		must(t, err)
		wantEntries(t, span(i+1, last, 1), got)
	}
	if first, _ := l.Bounds(); first < last/2 {
		t.Errorf("the first entry is %d: hardly anything was dropped", first)
	}
}

func TestReleaseWhileReading(t *testing.T) {
	h := &readHook{Mem: newMem(t)}
	h.beforeRead = func() {}
	l, _ := open(t, h, small())
	for i := uint64(1); i <= 30; i++ {
		appendSync(t, l, wal.HardState{Term: 1}, span(i, i, 1))
	}
	must(t, l.Mark(wal.Mark{Index: 30, Term: 1}))
	must(t, l.Sync())
	h.beforeRead = func() { must(t, l.Release(30)) }
	got, err := l.Entries(1, 31, math.MaxUint64)
	must(t, err)
	wantEntries(t, span(1, 30, 1), got)
	if _, err := l.Entries(1, 2, 0); !errors.Is(err, raft.ErrCompacted) {
		t.Errorf("released entry: %v", err)
	}
	must(t, l.Close())
}

// TestReadBesideWriter reads from a second goroutine; the race detector is the judge.
func TestReadBesideWriter(t *testing.T) {
	l, _ := open(t, newMem(t), small())
	done := make(chan error)
	go func() {
		for {
			first, last := l.Bounds()
			got, err := l.Entries(first, last+1, math.MaxUint64)
			switch {
			case errors.Is(err, raft.ErrCompacted):
			case err != nil:
				done <- err
				return
			case uint64(len(got)) != last+1-first:
				done <- fmt.Errorf("%d entries from %d to %d", len(got), first, last)
				return
			case last == 100:
				done <- nil
				return
			}
		}
	}()
	for i := uint64(1); i <= 100; i++ {
		must(t, l.Mark(wal.Mark{Index: max(i, 10) - 10, Term: 1}))
		appendSync(t, l, wal.HardState{Term: 1}, span(i, i, 1))
		must(t, l.Release(i))
	}
	must(t, <-done)
	must(t, l.Close())
}

func TestMarkBeyondLogResets(t *testing.T) {
	for name, mark := range map[string]wal.Mark{
		"beyond": {Index: 50, Term: 3}, "other term": {Index: 7, Term: 3},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMem(t)
			l, _ := open(t, m, small())
			appendSync(t, l, wal.HardState{Term: 3}, span(1, 10, 1))
			must(t, l.Mark(mark))
			must(t, l.Append(wal.HardState{Term: 3, Commit: mark.Index}, span(mark.Index+1, mark.Index+2, 3)))
			must(t, l.Mark(wal.Mark{Index: mark.Index + 1, Term: 3}))
			must(t, l.Mark(wal.Mark{Index: 2, Term: 1})) // older: nothing
			must(t, l.Sync())
			if first, last := l.Bounds(); first != mark.Index+1 || last != mark.Index+2 {
				t.Errorf("bounds %d to %d", first, last)
			}
			must(t, l.Close())
			_, found := open(t, m, small())
			wantEntries(t, span(mark.Index+2, mark.Index+2, 3), found.Entries)
		})
	}
}

func TestEntriesBelowMarkAreSkipped(t *testing.T) {
	l, _ := open(t, newMem(t), small())
	must(t, l.Mark(wal.Mark{Index: 10, Term: 2}))
	appendSync(t, l, wal.HardState{Term: 2}, span(8, 12, 2))
	if first, last := l.Bounds(); first != 11 || last != 12 {
		t.Errorf("bounds %d to %d", first, last)
	}
}

func TestLargeBatch(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	big := []*raftpb.Entry{entry(1, 1, strings.Repeat("x", 300<<10)), entry(2, 1, strings.Repeat("y", 1<<10))}
	appendSync(t, l, wal.HardState{Term: 1}, big)
	appendSync(t, l, wal.HardState{Term: 1}, span(3, 3, 1))
	must(t, l.Close())
	_, found := open(t, m, small())
	wantEntries(t, append(big, span(3, 3, 1)...), found.Entries)
}

func TestSyncsPerGroup(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, wal.Options{})
	m.SetFaults(vfs.Faults{})
	for i := uint64(1); i <= 100; i++ {
		must(t, l.Append(wal.HardState{Term: 1}, span(i, i, 1)))
	}
	must(t, l.Sync())
	must(t, l.Sync()) // nothing to do
	if got := m.Counts(); got.Syncs != 1 || got.Writes != 1 {
		t.Errorf("%d syncs and %d writes for 100 appends, want one of each", got.Syncs, got.Writes)
	}
}

func segments(m *vfs.Mem) []string {
	var out []string
	for _, name := range m.Files() {
		if strings.HasSuffix(name, ".wal") {
			out = append(out, name)
		}
	}
	return out
}

func lastSegment(m *vfs.Mem) string {
	names := segments(m)
	return names[len(names)-1]
}

func TestIdentityAndVersion(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	must(t, l.Close())

	_, _, err := wal.Open(m, dir, wal.Identity{ClusterID: 0xc1, MemberID: 0xa2}, small())
	var identity *wal.IdentityError
	if !errors.As(err, &identity) || identity.Found != owner() {
		t.Errorf("other member: %v", err)
	}
	raw, err := m.ReadFile(lastSegment(m))
	must(t, err)
	raw[8] = 9
	wal.SealHeaderForTest(raw)
	must(t, m.WriteFile(lastSegment(m), raw))
	_, _, err = wal.Open(m, dir, owner(), small())
	var version *wal.VersionError
	if !errors.As(err, &version) || version.Found != 9 {
		t.Errorf("newer version: %v", err)
	}
}

func TestLockKeepsSecondOpenOut(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	if _, _, err := wal.Open(m, dir, owner(), small()); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
	must(t, l.Close())
	l, _ = open(t, m, small())
	must(t, l.Close())
}

func TestEmptyFolderOfKnownMember(t *testing.T) {
	m := newMem(t)
	opts := small()
	opts.MustExist = true
	for range 2 {
		if _, _, err := wal.Open(m, dir, owner(), opts); !errors.Is(err, wal.ErrNoLog) {
			t.Errorf("Open = %v, want ErrNoLog", err)
		}
		must(t, m.MkdirAll(dir))
	}
	if files := segments(m); len(files) != 0 {
		t.Errorf("files made: %v", files)
	}
}

// filled returns a disk with several segments, the last of which holds batches.
func filled(t testing.TB) *vfs.Mem {
	t.Helper()
	m := newMem(t)
	l, _ := open(t, m, small())
	for i := uint64(1); i <= 20; i++ {
		appendSync(t, l, wal.HardState{Term: 1 + i/10, Vote: i/10 + 1, Commit: i - 1}, span(i, i, 1+i/10))
	}
	must(t, l.Close())
	return m.Clone(vfs.Survival{Percent: 0})
}

// TestDamagedFiles names each way in which files may be lost or mixed up.
func TestDamagedFiles(t *testing.T) {
	for name, damage := range map[string]struct {
		do    func(t *testing.T, m *vfs.Mem, names []string)
		file  int // of the names before the damage
		known bool
	}{
		"missing in the middle": {func(t *testing.T, m *vfs.Mem, names []string) { must(t, m.Erase(names[1])) }, 1, true},
		"missing first":         {func(t *testing.T, m *vfs.Mem, names []string) { must(t, m.Erase(names[0])) }, 1, true},
		"missing last":          {func(t *testing.T, m *vfs.Mem, names []string) { must(t, m.Erase(names[len(names)-1])) }, -1, false},
		"empty first":           {func(t *testing.T, m *vfs.Mem, names []string) { must(t, m.WriteFile(names[0], nil)) }, 0, true},
		"empty last":            {func(t *testing.T, m *vfs.Mem, names []string) { must(t, m.WriteFile(names[len(names)-1], nil)) }, -1, false},
		"copied": {func(t *testing.T, m *vfs.Mem, names []string) {
			raw, err := m.ReadFile(names[0])
			must(t, err)
			must(t, m.WriteFile(names[1], raw))
		}, 1, true},
		"from another time": {func(t *testing.T, m *vfs.Mem, names []string) {
			raw, err := otherLife(t).ReadFile(names[1])
			must(t, err)
			must(t, m.WriteFile(names[1], raw))
		}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := filled(t)
			names := segments(m)
			damage.do(t, m, names)
			before := m.Files()
			_, _, err := wal.Open(m, dir, owner(), small())
			var corrupt *wal.CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("Open = %v, want a CorruptError", err)
			}
			if want := names[(damage.file+len(names))%len(names)]; corrupt.File != want || corrupt.Offset != 0 {
				t.Errorf("names %s at %d, want %s at 0", corrupt.File, corrupt.Offset, want)
			}
			if corrupt.StateKnown != damage.known {
				t.Errorf("state known: %v, want %v (%v)", corrupt.StateKnown, damage.known, err)
			}
			if corrupt.StateKnown && corrupt.HardState != (wal.HardState{Term: 3, Vote: 3, Commit: 19}) {
				t.Errorf("hard state %+v", corrupt.HardState)
			}
			if diff := cmp.Diff(before, m.Files()); diff != "" {
				t.Errorf("a refused log was changed: %s", diff)
			}
		})
	}
}

// otherLife returns a disk of the same member with another history.
func otherLife(t *testing.T) *vfs.Mem {
	m := newMem(t)
	l, _ := open(t, m, small())
	for i := uint64(1); i <= 20; i++ {
		appendSync(t, l, wal.HardState{Term: 9}, span(i, i, 9))
	}
	must(t, l.Close())
	return m
}

// TestLostSeal zeroes each sector of a seal: the later segments prove that it was synced.
func TestLostSeal(t *testing.T) {
	m := filled(t)
	names := segments(m)
	name := names[len(names)-2]
	raw, err := m.ReadFile(name)
	must(t, err)
	end := len(raw)
	for raw[end-1] == 0 {
		end--
	}
	for at := end - 4096; at < end; at += 512 {
		damaged := slices.Clone(raw)
		clear(damaged[at : at+512])
		must(t, m.WriteFile(name, damaged))
		_, _, err := wal.Open(m, dir, owner(), small())
		var corrupt *wal.CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name || corrupt.Offset != int64(at) {
			t.Errorf("sector at %d: Open = %v, want a CorruptError there", at, err)
		}
	}
}

// TestTruncated cuts the last file at every sector: whatever is lost is noticed.
func TestTruncated(t *testing.T) {
	m := filled(t)
	name := lastSegment(m)
	raw, err := m.ReadFile(name)
	must(t, err)
	refused := 0
	for size := 0; size < len(raw); size += 256 {
		c := m.Clone(vfs.Survival{Percent: 100})
		must(t, c.WriteFile(name, raw[:size]))
		_, found, err := wal.Open(c, dir, owner(), small())
		var corrupt *wal.CorruptError
		if errors.As(err, &corrupt) {
			refused++
			if corrupt.File != name || corrupt.Offset > int64(size) {
				t.Fatalf("size %d: %v", size, err)
			}
			continue
		}
		must(t, err)
		wantEntries(t, append(append(span(1, 9, 1), span(10, 19, 2)...), span(20, 20, 3)...), found.Entries)
	}
	t.Logf("wal: %d of %d truncations refused, the others lost nothing", refused, len(raw)/256)
	if refused == 0 {
		t.Error("no truncation was refused")
	}
}

// TestTruncatedInsideBatch: a batch never reaches the end of its file, so this is no
// crash, although each of its sectors is whole or missing.
func TestTruncatedInsideBatch(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 1}, []*raftpb.Entry{entry(1, 1, strings.Repeat("x", 7000))})
	must(t, l.Close())
	name := lastSegment(m)
	raw, err := m.ReadFile(name)
	must(t, err)
	for size := 2 * 4096; size <= 3*4096; size += 512 {
		must(t, m.WriteFile(name, raw[:size]))
		_, _, err := wal.Open(m, dir, owner(), small())
		var corrupt *wal.CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name || corrupt.Offset != int64(size) {
			t.Errorf("size %d: Open = %v, want a CorruptError there", size, err)
		}
	}
}

// TestSectorsOfAnotherLife puts sectors of another log of the same member, from the same
// place, into a log: each is valid by itself.
func TestSectorsOfAnotherLife(t *testing.T) {
	life := func(text string, tear bool) (*vfs.Mem, []byte) {
		m := newMem(t)
		l, _ := open(t, m, small())
		for i := uint64(1); i <= 4; i++ {
			appendSync(t, l, wal.HardState{Term: 1}, []*raftpb.Entry{entry(i, 1, strings.Repeat(text, 1000))})
		}
		must(t, l.Close())
		raw, err := m.ReadFile(lastSegment(m))
		must(t, err)
		if tear {
			clear(raw[3*4096+512 : 3*4096+1024])
			clear(raw[4*4096:])
		}
		return m, raw
	}
	for name, c := range map[string]struct {
		tear             bool // the third batch, and nothing behind it
		from, to, wantAt int
	}{
		"last batch":           {false, 4 * 4096, 5 * 4096, 4 * 4096},
		"middle batch":         {false, 2 * 4096, 3 * 4096, 2 * 4096},
		"one sector of last":   {false, 4*4096 + 512, 4*4096 + 1024, 4 * 4096},
		"sector behind a torn": {true, 4*4096 + 512, 4*4096 + 1024, 4 * 4096},
		"batch behind a torn":  {true, 4 * 4096, 5 * 4096, 3*4096 + 512},
	} {
		t.Run(name, func(t *testing.T) {
			m, raw := life("abc", c.tear)
			_, other := life("xyz", false)
			copy(raw[c.from:c.to], other[c.from:c.to])
			must(t, m.WriteFile(lastSegment(m), raw))
			_, _, err := wal.Open(m, dir, owner(), small())
			var corrupt *wal.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Offset != int64(c.wantAt) {
				t.Errorf("Open = %v, want a CorruptError at %d", err, c.wantAt)
			}
		})
	}
}

// TestPayloadThatLooksLikeHeader: a client chose a value that, at the beginning of a
// block, reads like the header of a later batch. A crash that tears it is still a crash.
func TestPayloadThatLooksLikeHeader(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	value := make([]byte, 8000)
	const inFront = 428 + 7*508 - 24 - 3 // payload of eight sectors, record header, length
	copy(value[inFront:], "okbt\x00\x00\x00\x00\x63\x00\x00\x00\x00\x00\x00\x00")
	appendSync(t, l, wal.HardState{Term: 1}, []*raftpb.Entry{entry(1, 1, string(value))})
	must(t, l.Close())
	name := lastSegment(m)
	raw, err := m.ReadFile(name)
	must(t, err)
	if got := string(raw[2*4096 : 2*4096+4]); got != "okbt" {
		t.Fatalf("the block begins with %q: the test does not test", got)
	}
	clear(raw[4096 : 4096+1024])
	must(t, m.WriteFile(name, raw))
	_, found := open(t, m, small())
	if found.Cut == nil || found.Cut.Index != 1 {
		t.Errorf("cut %+v, want entry 1", found.Cut)
	}
}

func TestTornBatchIsCutAndRemembered(t *testing.T) {
	m := filled(t)
	tearLast(t, m)
	want := &wal.Cut{KeptIndex: 19, KeptTerm: 2, Known: true, Index: 20, Term: 3}
	for range 3 {
		l, found := open(t, m, small())
		if diff := cmp.Diff(want, found.Cut); diff != "" {
			t.Errorf("cut differs:\n%s", diff)
		}
		wantEntries(t, append(span(1, 9, 1), span(10, 19, 2)...), found.Entries)
		must(t, l.Close())
		m = m.Clone(vfs.Survival{Percent: 0})
	}
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 4}, span(20, 21, 4))
	must(t, l.ClearCut())
	must(t, l.ClearCut())
	must(t, l.Close())
	_, found := open(t, m.Clone(vfs.Survival{Percent: 0}), small())
	if found.Cut != nil {
		t.Errorf("cut %+v after ClearCut", found.Cut)
	}
	wantEntries(t, append(append(span(1, 9, 1), span(10, 19, 2)...), span(20, 21, 4)...), found.Entries)
}

func TestSecondCutJoinsFirst(t *testing.T) {
	m := filled(t)
	tearLast(t, m)
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 4}, span(20, 22, 4))
	appendSync(t, l, wal.HardState{Term: 5}, span(23, 23, 5))
	must(t, l.Close())
	tearLast(t, m)
	_, found := open(t, m, small())
	want := &wal.Cut{KeptIndex: 19, KeptTerm: 2, Known: true, Index: 23, Term: 5}
	if diff := cmp.Diff(want, found.Cut); diff != "" {
		t.Errorf("cut differs:\n%s", diff)
	}
}

// tearLast zeroes a body sector of the last batch, as a crash would leave it.
func tearLast(t *testing.T, m *vfs.Mem) {
	t.Helper()
	name := lastSegment(m)
	raw, err := m.ReadFile(name)
	must(t, err)
	end := len(raw)
	for end > 0 && raw[end-1] == 0 {
		end--
	}
	end = (end + 4095) / 4096 * 4096
	clear(raw[end-1024 : end-512])
	must(t, m.WriteFile(name, raw))
}

func TestDamagedCutFile(t *testing.T) {
	m := filled(t)
	tearLast(t, m)
	l, _ := open(t, m, small())
	must(t, l.Close())
	name := path.Join(dir, "cut")
	for _, damage := range []func() error{
		func() error { return m.FlipBit(name, 300) },
		func() error { return m.WriteFile(name, nil) },
	} {
		must(t, damage())
		_, _, err := wal.Open(m, dir, owner(), small())
		var corrupt *wal.CorruptError
		if !errors.As(err, &corrupt) || corrupt.File != name {
			t.Errorf("Open = %v, want a CorruptError naming %s", err, name)
		}
	}
}

func TestDamageIsNoticedWhileReading(t *testing.T) {
	m := newMem(t)
	l, _ := open(t, m, small())
	appendSync(t, l, wal.HardState{Term: 1}, span(1, 1, 1))
	must(t, m.FlipBit(lastSegment(m), (4096+1000)*8))
	_, err := l.Entries(1, 2, 0)
	var corrupt *wal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Offset != 4096+512 {
		t.Errorf("Entries = %v, want a CorruptError at 4608", err)
	}
}

// TestOnOperatingSystem does a little of everything on real files.
func TestOnOperatingSystem(t *testing.T) {
	folder := path.Join(t.TempDir(), "wal")
	for round := range uint64(3) {
		l, found, err := wal.Open(vfs.OS(), folder, owner(), small())
		must(t, err)
		base := round * 20
		if found.Fresh != (round == 0) || found.Cut != nil || found.HardState.Commit != base {
			t.Fatalf("round %d: %+v", round, found)
		}
		if round > 0 {
			wantEntries(t, span(base-4, base, 1), found.Entries)
		}
		for i := base + 1; i <= base+20; i++ {
			appendSync(t, l, wal.HardState{Term: 1, Commit: i}, span(i, i, 1))
		}
		must(t, l.Mark(wal.Mark{Index: base + 15, Term: 1}))
		must(t, l.Sync())
		must(t, l.Release(base+15))
		must(t, l.Close())
	}
}
