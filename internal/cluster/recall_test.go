package cluster

import (
	"errors"
	"testing"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// made is a directory on a simulated disk with a member in it.
func made(t *testing.T) (Directory, *vfs.Mem) {
	t.Helper()
	disk := vfs.NewMem(1)
	d := Directory{FS: disk, Path: "/data"}
	if err := d.Create(Identity{ClusterID: 7, MemberID: 1, Directory: 5, Name: "n1", MadeBy: "0.1.0"}); err != nil {
		t.Fatal(err)
	}
	return d, disk
}

func TestRecall(t *testing.T) {
	d, disk := made(t)
	r, err := d.OpenRecall()
	if err != nil {
		t.Fatal(err)
	}
	start := func(number, draw uint64) uint64 { return number<<drawBits | draw }
	for i, c := range []struct {
		member, directory, starts uint64
		want                      error
	}{
		{2, 10, 5, nil}, // as it was counted before there were draws
		{2, 10, 4, ErrForgetful},
		{2, 10, 500, nil},
		{2, 10, start(1, 8), nil},
		{2, 10, start(1, 8), nil},
		{2, 10, start(1, 9), nil}, // the first release was put back
		{2, 10, start(3, 500), nil},
		{2, 11, start(4, 9), ErrForgetful},   // an empty directory
		{2, 10, start(2, 9), ErrForgetful},   // an old copy
		{2, 10, start(3, 499), ErrForgetful}, // one of just before the last start, in either order of the draws
		{2, 10, start(3, 601), ErrForgetful},
		{2, 10, start(3, 500), nil},
		{3, 11, start(9, 1), nil},
	} {
		if err := r.Recognize(c.member, c.directory, c.starts); !errors.Is(err, c.want) {
			t.Errorf("case %d: %v, want %v", i, err, c.want)
		}
	}
	// A crash that takes all that was not synced does not make it forget.
	d.FS = disk.Crash(vfs.Survival{})
	if r, err = d.OpenRecall(); err != nil {
		t.Fatal(err)
	}
	if err := r.Recognize(2, 10, start(2, 7)); !errors.Is(err, ErrForgetful) {
		t.Errorf("after a crash: %v", err)
	}
	if err := r.Forget(func(id uint64) bool { return id == 3 }); err != nil {
		t.Fatal(err)
	}
	if r, err = d.OpenRecall(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Recognize(2, 99, 1), r.Recognize(3, 11, start(9, 1))); err != nil {
		t.Errorf("after it was removed: %v", err)
	}
}

func TestCountStart(t *testing.T) {
	d, _ := made(t)
	for want := uint64(1); want <= 3; want++ {
		if got, err := d.CountStart(want + 1<<40); got != want<<drawBits|want || err != nil {
			t.Errorf("start %d is counted as %d (%v)", want, got, err)
		}
	}
}

// A damaged file is reported with its name.
func TestRecallDamaged(t *testing.T) {
	for _, text := range []string{"", "okapi peers\n", "okapi peers\ncrc32c 00000000\n"} {
		d, _ := made(t)
		if err := d.write("/data/"+recallFile, text); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if _, err := d.OpenRecall(); !errors.As(err, &corrupt) || corrupt.Path != "/data/"+recallFile {
			t.Errorf("%q: %v", text, err)
		}
	}
	d, _ := made(t)
	if err := d.writeLines(recallFile, recallTitle, []string{"member x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenRecall(); err == nil {
		t.Error("a line of nonsense is accepted")
	}
}
