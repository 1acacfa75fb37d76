package wal_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

// commandBytes is the size of a small command: a key of 16 and a value of 100 bytes.
const commandBytes = 128

// BenchmarkAppend measures what a command costs besides the disk: one iteration is one
// entry of commandBytes, appended and synced in groups on a disk without cost.
func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			benchmarkAppend(b, nullFS{vfs.NewMem(1)}, "wal", group)
		})
	}
}

// BenchmarkAppendOS is the same on the disk of the temporary folder.
func BenchmarkAppendOS(b *testing.B) {
	for _, group := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			benchmarkAppend(b, vfs.OS(), filepath.Join(b.TempDir(), "wal"), group)
		})
	}
}

func benchmarkAppend(b *testing.B, fsys vfs.FS, dir string, group int) {
	l, _, err := wal.Open(fsys, dir, owner(), wal.Options{})
	must(b, err)
	defer l.Close()
	entries := make([]*raftpb.Entry, group)
	for i := range entries {
		entries[i] = entry(0, 1, string(make([]byte, commandBytes)))
	}
	b.ReportAllocs()
	b.SetBytes(commandBytes)
	b.ResetTimer()
	hs := wal.HardState{Term: 1}
	for done := 0; done < b.N; done += group {
		for i := range entries {
			*entries[i].Index = uint64(done + i + 1)
		}
		hs.Commit = uint64(done)
		must(b, l.Append(hs, entries))
		must(b, l.Sync())
	}
}

// BenchmarkReadBack reads entries that a slow follower lacks.
func BenchmarkReadBack(b *testing.B) {
	m := vfs.NewMem(1)
	l, _, err := wal.Open(m, "wal", owner(), wal.Options{})
	must(b, err)
	defer l.Close()
	const total = 1 << 16
	for i := uint64(1); i <= total; i += 256 {
		must(b, l.Append(wal.HardState{Term: 1}, span(i, i+255, 1)))
		must(b, l.Sync())
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += 1024 {
		lo := uint64(done%(total-1024)) + 1
		_, err := l.Entries(lo, lo+1024, 1<<20)
		must(b, err)
	}
}

// nullFS keeps the names of a Mem but the content only of small writes: what the benchmark
// measures is the log, not the simulated disk.
type nullFS struct{ *vfs.Mem }

func (n nullFS) Create(name string) (vfs.File, error) {
	f, err := n.Mem.Create(name)
	return nullFile{f}, err
}

type nullFile struct{ vfs.File }

func (nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
