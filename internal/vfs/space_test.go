package vfs_test

import (
	"errors"
	"io/fs"
	"math"
	"testing"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// What is free shrinks with every byte that is written and comes back with every file that is removed.
func TestFree(t *testing.T) {
	m := vfs.NewMem(1)
	free := func() int64 {
		t.Helper()
		bytes, err := vfs.Free(m, "/")
		if err != nil {
			t.Fatal(err)
		}
		return bytes
	}
	if got := free(); got != math.MaxInt64 {
		t.Errorf("free without a bound: %d", got)
	}
	m.SetFaults(vfs.Faults{LimitBytes: 1000})
	must(t, m.WriteFile("a", make([]byte, 600)))
	if got := free(); got != 400 || m.Counts().UsedBytes != 600 {
		t.Errorf("free %d, used %d, want 400 and 600", got, m.Counts().UsedBytes)
	}
	m.SetFaults(vfs.Faults{LimitBytes: 500})
	if got := free(); got != 0 {
		t.Errorf("free below what is used: %d, want 0", got)
	}
	must(t, m.Remove("a"))
	if got := free(); got != 500 {
		t.Errorf("free after the file is gone: %d, want 500", got)
	}
	for _, fsys := range []vfs.FS{m, vfs.OS()} {
		if _, err := vfs.Free(fsys, "/does/not/exist"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("free of a folder that is not there: %v", err)
		}
	}
	if bytes, err := vfs.Free(vfs.OS(), t.TempDir()); err != nil || bytes < 0 {
		t.Errorf("free of the system: %d, %v", bytes, err)
	}
}

// Who is modest is refused what would leave too little for others, who are not.
func TestLeaveFree(t *testing.T) {
	m := vfs.NewMem(1)
	m.SetFaults(vfs.Faults{LimitBytes: 1000})
	modest := vfs.LeaveFree(m, 300)
	f, err := modest.Create("a")
	must(t, err)
	if n, err := f.WriteAt(make([]byte, 700), 0); n != 700 || err != nil {
		t.Errorf("write of all but what is to be left: %d, %v", n, err)
	}
	if n, err := f.WriteAt([]byte{1}, 700); n != 0 || !vfs.IsNoSpace(err) {
		t.Errorf("write of one byte more: %d, %v", n, err)
	}
	reopened, err := modest.Open("a")
	must(t, err)
	if _, err := reopened.WriteAt([]byte{1}, 700); !vfs.IsNoSpace(err) {
		t.Errorf("write after open: %v", err)
	}
	must(t, m.WriteFile("b", make([]byte, 300)))
}
