package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/vfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	return f
}

func write(t *testing.T, f vfs.File, data []byte, offset int64) {
	t.Helper()
	n, err := f.WriteAt(data, offset)
	must(t, err)
	if n != len(data) {
		t.Fatalf("wrote %d of %d bytes", n, len(data))
	}
}

func content(t *testing.T, m *vfs.Mem, name string) []byte {
	t.Helper()
	data, err := m.ReadFile(name)
	must(t, err)
	return data
}

// TestContract runs the same calls on the operating system and in memory.
func TestContract(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"os": vfs.OS(), "mem": vfs.NewMem(1)} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			must(t, fsys.MkdirAll(filepath.Join(root, "d/e")))
			testFiles(t, fsys, filepath.Join(root, "d"))
			testNames(t, fsys, filepath.Join(root, "d"))
			testLock(t, fsys, filepath.Join(root, "d"))
		})
	}
}

func testFiles(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, dir+"/a")
	write(t, f, []byte("hello"), 3)
	must(t, f.Sync())
	must(t, f.Truncate(10))
	if size, err := f.Size(); err != nil || size != 10 {
		t.Errorf("Size = %d, %v; want 10", size, err)
	}
	p := make([]byte, 12)
	if n, err := f.ReadAt(p, 0); n != 10 || err != io.EOF {
		t.Errorf("ReadAt = %d, %v; want 10, EOF", n, err)
	}
	if want := append(append(make([]byte, 3), "hello"...), make([]byte, 4)...); !bytes.Equal(p, want) {
		t.Errorf("read %q, want %q", p, want)
	}
	must(t, f.Close())
	if _, err := f.ReadAt(p, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadAt after Close = %v", err)
	}
	g := create(t, fsys, dir+"/a")
	if size, err := g.Size(); err != nil || size != 0 {
		t.Errorf("Size after second Create = %d, %v; want 0", size, err)
	}
	must(t, g.Close())
}

func testNames(t *testing.T, fsys vfs.FS, dir string) {
	if _, err := fsys.Open(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing file = %v", err)
	}
	if _, err := fsys.Create(dir + "/none/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create in a missing folder = %v", err)
	}
	if err := fsys.Rename(dir+"/none", dir+"/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rename of a missing file = %v", err)
	}
	must(t, create(t, fsys, dir+"/b").Close())
	must(t, fsys.Rename(dir+"/b", dir+"/a"))
	must(t, create(t, fsys, dir+"/c").Close())
	names, err := fsys.ReadDir(dir)
	must(t, err)
	if diff := cmp.Diff([]string{"a", "c", "e"}, names); diff != "" {
		t.Error(diff)
	}
	info, err := fsys.Stat(dir + "/e")
	must(t, err)
	if !info.IsDir() || info.Name() != "e" {
		t.Errorf("Stat of a folder = %v", info)
	}
	must(t, fsys.Remove(dir+"/e"))
	must(t, fsys.Remove(dir+"/c"))
	if _, err := fsys.Stat(dir + "/c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a removed file = %v", err)
	}
	if err := fsys.Remove(dir); err == nil {
		t.Error("Remove of a full folder succeeded")
	}
	must(t, fsys.SyncDir(dir))
}

func testLock(t *testing.T, fsys vfs.FS, dir string) {
	held, err := fsys.Lock(dir + "/lock")
	must(t, err)
	if _, err := fsys.Lock(dir + "/lock"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second Lock = %v, want ErrLocked", err)
	}
	must(t, held.Close())
	again, err := fsys.Lock(dir + "/lock")
	must(t, err)
	must(t, again.Close())
}

func TestOSModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	must(t, vfs.OS().MkdirAll(dir))
	must(t, create(t, vfs.OS(), dir+"/f").Close())
	for name, want := range map[string]fs.FileMode{dir: 0o700, dir + "/f": 0o600} {
		info, err := vfs.OS().Stat(name)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func TestCrashKeepsSyncedContent(t *testing.T) {
	const sectors = 40
	for seed := uint64(1); seed < 200; seed++ {
		m := vfs.NewMem(seed)
		f := create(t, m, "f")
		write(t, f, fill('a', sectors*vfs.SectorBytes), 0)
		must(t, f.Sync())
		must(t, m.SyncDir("/"))
		write(t, f, fill('b', 20*vfs.SectorBytes), 10*vfs.SectorBytes+100)
		write(t, f, fill('c', 20*vfs.SectorBytes), 10*vfs.SectorBytes+100)
		after := content(t, m.Clone(vfs.Survival{Percent: 50, Seed: seed}), "f")
		if len(after) != sectors*vfs.SectorBytes {
			t.Fatalf("seed %d: size %d", seed, len(after))
		}
		live := content(t, m, "f")
		for s := range sectors {
			got := after[s*vfs.SectorBytes : (s+1)*vfs.SectorBytes]
			if !bytes.Equal(got, fill('a', vfs.SectorBytes)) && !bytes.Equal(got, live[s*vfs.SectorBytes:(s+1)*vfs.SectorBytes]) {
				t.Fatalf("seed %d: sector %d is neither old nor new", seed, s)
			}
		}
	}
}

func TestCrashExtremes(t *testing.T) {
	m := vfs.NewMem(7)
	f := create(t, m, "f")
	write(t, f, fill('a', 1000), 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	write(t, f, fill('b', 2000), 500)
	g := create(t, m, "g")
	write(t, g, fill('g', 10), 0)
	must(t, g.Sync()) // but not its name

	none, all := m.Clone(vfs.Survival{Percent: 0}), m.Clone(vfs.Survival{Percent: 100})
	if got := content(t, none, "f"); !bytes.Equal(got, fill('a', 1000)) {
		t.Errorf("nothing kept, but f holds %d bytes", len(got))
	}
	if diff := cmp.Diff([]string{"f"}, none.Files()); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(content(t, all, "f"), content(t, m, "f")) {
		t.Error("everything kept, but f differs")
	}
	if diff := cmp.Diff([]string{"f", "g"}, all.Files()); diff != "" {
		t.Error(diff)
	}
}

func TestCrashOfTruncate(t *testing.T) {
	sizes := map[int]bool{}
	for seed := uint64(1); seed < 100; seed++ {
		m := vfs.NewMem(seed)
		must(t, m.WriteFile("f", fill('a', 5000)))
		f, err := m.Open("f")
		must(t, err)
		must(t, f.Truncate(1024))
		after := content(t, m.Clone(vfs.Survival{Percent: 50}), "f")
		sizes[len(after)] = true
		if !bytes.Equal(after, fill('a', len(after))) {
			t.Fatalf("seed %d: old bytes changed", seed)
		}
	}
	if !sizes[1024] || !sizes[5000] {
		t.Errorf("sizes seen: %v; want old and new", sizes)
	}
}

// TestCrashOfRename checks that the target is old or new and that no name vanishes.
func TestCrashOfRename(t *testing.T) {
	seen := map[string]bool{}
	for seed := uint64(1); seed < 100; seed++ {
		m := vfs.NewMem(seed)
		must(t, m.WriteFile("target", []byte("old")))
		must(t, m.WriteFile("tmp", []byte("new")))
		must(t, m.Rename("tmp", "target"))
		after := m.Clone(vfs.Survival{Percent: 50})
		got := fmt.Sprintf("%v %s", after.Files(), content(t, after, "target"))
		seen[got] = true
	}
	want := map[string]bool{"[target tmp] old": true, "[target] new": true}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestCrashStopsOriginal(t *testing.T) {
	m := vfs.NewMem(1)
	f := create(t, m, "f")
	after := m.Crash(vfs.Survival{Percent: 100})
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrStopped) {
		t.Errorf("WriteAt on the stopped disk = %v", err)
	}
	if _, err := m.Open("f"); !errors.Is(err, vfs.ErrStopped) {
		t.Errorf("Open on the stopped disk = %v", err)
	}
	if _, err := after.Open("f"); err != nil {
		t.Errorf("Open after the crash: %v", err)
	}
}

func TestSameSeedSameDisk(t *testing.T) {
	run := func() [][]byte {
		m := vfs.NewMem(42)
		var out [][]byte
		for i := range 10 {
			f := create(t, m, fmt.Sprint("f", i))
			write(t, f, fill(byte(i+1), 5000), 0)
		}
		for range 5 {
			after := m.Clone(vfs.Survival{Percent: 60})
			for _, name := range after.Files() {
				out = append(out, []byte(name), content(t, after, name))
			}
		}
		return out
	}
	if diff := cmp.Diff(run(), run()); diff != "" {
		t.Error(diff)
	}
}

func TestFailedWriteIsPartial(t *testing.T) {
	m := vfs.NewMem(1)
	f := create(t, m, "f")
	m.SetFaults(vfs.Faults{FailWrite: 2, PartialBytes: 3})
	write(t, f, []byte("one"), 0)
	if n, err := f.WriteAt([]byte("second"), 3); n != 3 || !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if got := string(content(t, m, "f")); got != "onesec" {
		t.Errorf("content %q", got)
	}
	if diff := cmp.Diff(vfs.Counts{Changes: 2, Writes: 2, WrittenBytes: 9, UsedBytes: 6}, m.Counts()); diff != "" {
		t.Error(diff)
	}
}

// TestFailedSyncDropsWrites checks that a later sync does not cover what a failed one
// dropped, and that writing it again does help.
func TestFailedSyncDropsWrites(t *testing.T) {
	m := vfs.NewMem(1)
	must(t, m.WriteFile("f", fill('a', 1024)))
	f, err := m.Open("f")
	must(t, err)
	m.SetFaults(vfs.Faults{FailSync: 1})
	write(t, f, fill('b', 1024), 0)
	if err := f.Sync(); !errors.Is(err, vfs.ErrInjected) {
		t.Fatalf("Sync = %v", err)
	}
	write(t, f, fill('c', 512), 0)
	must(t, f.Sync())
	want := append(fill('c', 512), fill('a', 512)...)
	if got := content(t, m.Clone(vfs.Survival{Percent: 0}), "f"); !bytes.Equal(got, want) {
		t.Errorf("after the crash: %q…%q", got[:1], got[512:513])
	}
}

func TestStopAt(t *testing.T) {
	m := vfs.NewMem(1)
	must(t, m.WriteFile("f", fill('a', 512)))
	f, err := m.Open("f")
	must(t, err)
	m.SetFaults(vfs.Faults{StopAt: 2})
	write(t, f, fill('b', 512), 0)
	if err := f.Sync(); !errors.Is(err, vfs.ErrStopped) {
		t.Fatalf("Sync = %v", err)
	}
	if got := content(t, m.Clone(vfs.Survival{Percent: 0}), "f"); got[0] != 'a' {
		t.Error("the sync at the stop took place")
	}
	if err := m.SyncDir("/"); !errors.Is(err, vfs.ErrStopped) {
		t.Errorf("SyncDir after the stop = %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	m := vfs.NewMem(1)
	f := create(t, m, "f")
	m.SetFaults(vfs.Faults{LimitBytes: 10})
	write(t, f, fill('a', 8), 0)
	if n, err := f.WriteAt(fill('b', 8), 4); n != 6 || !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("WriteAt = %d, %v; want 6 bytes and ErrNoSpace", n, err)
	}
	write(t, f, fill('c', 10), 0) // in place costs nothing
	must(t, m.Remove("f"))
	write(t, create(t, m, "g"), fill('d', 10), 0)
}

func TestLyingSync(t *testing.T) {
	m := vfs.NewMem(1)
	must(t, m.WriteFile("f", fill('a', 512)))
	f, err := m.Open("f")
	must(t, err)
	m.SetFaults(vfs.Faults{LieAboutSync: true})
	write(t, f, fill('b', 512), 0)
	must(t, f.Sync())
	if got := content(t, m.Clone(vfs.Survival{Percent: 0}), "f"); got[0] != 'a' {
		t.Error("a lying sync was durable")
	}
}

func TestCheckSeesOperations(t *testing.T) {
	m := vfs.NewMem(1)
	var seen []string
	m.SetFaults(vfs.Faults{Check: func(op vfs.Op) error {
		seen = append(seen, op.Kind.String())
		if op.Kind == vfs.OpRename {
			return fs.ErrPermission
		}
		return nil
	}})
	f := create(t, m, "f")
	write(t, f, []byte("x"), 0)
	if err := m.Rename("f", "g"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Rename = %v", err)
	}
	if diff := cmp.Diff([]string{"create", "write", "rename"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestFlipBitAndErase(t *testing.T) {
	m := vfs.NewMem(1)
	must(t, m.MkdirAll("d"))
	must(t, m.WriteFile("d/f", []byte{0, 0}))
	must(t, m.FlipBit("d/f", 11))
	if got := content(t, m, "d/f"); !slices.Equal(got, []byte{0, 8}) {
		t.Errorf("after the flip: %v", got)
	}
	if err := m.FlipBit("d/f", 16); err == nil {
		t.Error("a flip beyond the end succeeded")
	}
	must(t, m.Erase("d"))
	if got := m.Clone(vfs.Survival{Percent: 100}).Files(); len(got) != 0 {
		t.Errorf("files after Erase: %v", got)
	}
}
