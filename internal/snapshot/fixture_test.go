package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

const dir = "data/snap"

// record is one record as it reads back.
type record struct {
	Kind uint8
	Data string
}

// content is all that a snapshot holds.
type content struct {
	Index, Term uint64
	Payload     string
	Records     []record
}

// small is a snapshot of two frames and a few hundred bytes.
func small(index uint64) content {
	return content{Index: index, Term: 3, Payload: "payload", Records: []record{
		{1, "state"}, {2, ""}, {2, fmt.Sprintf("record of %d", index)}, {0, "\x00"}, {7, strings.Repeat("z", 1<<20)}, {255, "last"},
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(fs vfs.FS, c content) error {
	w, err := snapshot.Create(fs, dir, snapshot.Meta{Index: c.Index, Term: c.Term, Payload: []byte(c.Payload)})
	if err != nil {
		return err
	}
	for _, r := range c.Records {
		if err := w.Record(r.Kind, []byte(r.Data)); err != nil {
			w.Abort()
			return err
		}
	}
	if err := w.Commit(); err != nil {
		w.Abort()
		return err
	}
	return nil
}

// read reads a whole file; what it returns with an error is what came before the error.
func read(fs vfs.FS, name string) (c content, err error) {
	r, err := snapshot.Open(fs, name)
	if err != nil {
		return c, err
	}
	defer r.Close()
	c = content{Index: r.Meta().Index, Term: r.Meta().Term, Payload: string(r.Meta().Payload)}
	for {
		kind, data, err := r.Next()
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return c, err
		}
		c.Records = append(c.Records, record{kind, string(data)})
	}
}

func nameOf(c content) string { return fmt.Sprintf("%s/%016x-%016x.snap", dir, c.Index, c.Term) }

// fileOf returns the bytes of a snapshot.
func fileOf(t testing.TB, c content) []byte {
	t.Helper()
	m := vfs.NewMem(1)
	if err := write(m, c); err != nil {
		t.Fatal(err)
	}
	b, err := m.ReadFile(nameOf(c))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// disk returns a disk with durable snapshots.
func disk(t *testing.T, contents ...content) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	must(t, m.MkdirAll(dir))
	must(t, m.SyncDir("/"))
	must(t, m.SyncDir("data"))
	for _, c := range contents {
		must(t, write(m, c))
	}
	return m.Clone(vfs.Survival{Percent: 0})
}

// wantWhole checks that each listed snapshot reads through and is one of those allowed, that no other file is
// left in the folder, and returns the indexes that are there.
func wantWhole(m *vfs.Mem, allowed ...content) ([]uint64, error) {
	all, err := snapshot.List(m, dir)
	if err != nil {
		return nil, err
	}
	byIndex := map[uint64]content{}
	for _, c := range allowed {
		byIndex[c.Index] = c
	}
	var found []uint64
	for _, i := range all {
		got, err := read(m, i.Name)
		if err != nil {
			return nil, err
		}
		if diff := cmp.Diff(byIndex[i.Index], got); diff != "" {
			return nil, fmt.Errorf("%s reads differently (-want +got):\n%s", i.Name, diff)
		}
		found = append(found, i.Index)
	}
	names, err := m.ReadDir(dir)
	if err == nil && len(names) != len(all) {
		err = fmt.Errorf("%d snapshots, but the folder holds %v", len(all), names)
	}
	return found, err
}

// wantCorrupt checks an error: a CorruptError with this file and an offset within it.
func wantCorrupt(err error, name string, size int) error {
	var c *snapshot.CorruptError
	if !errors.As(err, &c) {
		return fmt.Errorf("error %v, want a CorruptError", err)
	}
	if c.File != name || c.Offset < 0 || c.Offset > int64(size) || !strings.Contains(err.Error(), name) {
		return fmt.Errorf("error %v, want file %s and an offset up to %d", err, name, size)
	}
	return nil
}

// step is one thing that is done to a folder that holds snapshots 5 and 9.
type step struct {
	name string
	do   func(vfs.FS) error
	// want are the sets of indexes that may be there afterwards: first as before, last as when it succeeds.
	want [][]uint64
}

func steps(t *testing.T) []step {
	file := fileOf(t, small(12))
	return []step{
		{"write", func(fs vfs.FS) error { return write(fs, small(12)) }, [][]uint64{{5, 9}, {5, 9, 12}}},
		{"receive", func(fs vfs.FS) error {
			return snapshot.Receive(fs, dir, 12, 3, bytes.NewReader(file))
		}, [][]uint64{{5, 9}, {5, 9, 12}}},
		{"receive again", func(fs vfs.FS) error {
			return snapshot.Receive(fs, dir, 9, 3, bytes.NewReader(fileOf(t, small(9))))
		}, [][]uint64{{5, 9}}},
		{"purge", func(fs vfs.FS) error { return snapshot.Purge(fs, dir, 1) }, [][]uint64{{5, 9}, {9}}},
	}
}

// allowed is what the folder of a step may hold.
func allowed() []content { return []content{small(5), small(9), small(12)} }
