package replica

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

func makeEntry(index, term uint64, size int) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Data: make([]byte, size)}
}

// fakeDisk is a log on disk: what was appended, from first on.
type fakeDisk struct {
	first   uint64
	entries []*raftpb.Entry // from first on
	err     error
	newest  *uint64 // entries from here on may already be others on disk: nobody asks for them
}

func (d *fakeDisk) append(entries []*raftpb.Entry) {
	if len(entries) > 0 {
		d.entries = append(slices.Clip(d.entries[:entries[0].GetIndex()-d.first]), entries...)
	}
}

// Entries implements LogReader.
func (d *fakeDisk) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	switch {
	case d.err != nil:
		return nil, d.err
	case d.newest != nil && hi > *d.newest:
		return nil, errors.New("asked the disk for what is in memory")
	case lo < d.first:
		return nil, raft.ErrCompacted
	case hi > d.first+uint64(len(d.entries)):
		return nil, raft.ErrUnavailable
	}
	return limitBytes(d.entries[lo-d.first:hi-d.first], maxBytes), nil
}

// show renders entries in short.
func show(entries []*raftpb.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%d/%d:%d", e.GetIndex(), e.GetTerm(), len(e.GetData())))
	}
	return out
}

// storageWorld is a storage beside raft's own MemoryStorage, which keeps everything in memory.
type storageWorld struct {
	disk  *fakeDisk
	ours  *storage
	model *raft.MemoryStorage
	first uint64 // of ours; the model is compacted to the same
	term  uint64
}

func newStorageWorld(t *rapid.T) *storageWorld {
	start := rapid.Uint64Range(1, 5).Draw(t, "start")
	w := &storageWorld{term: 3, first: start + 1, disk: &fakeDisk{first: start + 1}, model: raft.NewMemoryStorage()}
	var entries []*raftpb.Entry
	for i := range rapid.Uint64Range(0, 4).Draw(t, "entries") {
		entries = append(entries, makeEntry(start+1+i, 3, 10))
	}
	w.disk.append(entries)
	w.ours = newStorage(snapshotMark{start, 2}, &raftpb.ConfState{Voters: []uint64{1}}, entries, w.disk, 400)
	w.disk.newest = &w.ours.tailFirst
	w.apply(w.model.ApplySnapshot(snapshotAt(start, 2)))
	w.apply(w.model.Append(entries))
	return w
}

func snapshotAt(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1}},
	}}
}

func (w *storageWorld) apply(err error) {
	if err != nil {
		panic(err) // the model refuses what the test does
	}
}

// check compares everything that raft can ask.
func (w *storageWorld) check(t *rapid.T) {
	first, _ := w.ours.FirstIndex()
	last, _ := w.ours.LastIndex()
	modelFirst, _ := w.model.FirstIndex()
	modelLast, _ := w.model.LastIndex()
	if first != modelFirst || last != modelLast {
		t.Fatalf("holds %d to %d, want %d to %d", first, last, modelFirst, modelLast)
	}
	for i := first - min(first, 2); i <= last+2; i++ {
		got, err := w.ours.Term(i)
		want, modelErr := w.model.Term(i)
		if i == w.ours.snap.index && i+1 < first {
			continue // we know it, the model does not
		}
		if got != want || err != modelErr {
			t.Fatalf("Term(%d) = %d, %v; want %d, %v", i, got, err, want, modelErr)
		}
	}
	lo := rapid.Uint64Range(first-1, last+1).Draw(t, "lo")
	hi := rapid.Uint64Range(lo+1, last+2).Draw(t, "hi")
	maxSize := rapid.SampledFrom([]uint64{0, 150, 1 << 40}).Draw(t, "max")
	w.checkEntries(t, lo, hi, maxSize)
	var bytes uint64
	for _, e := range w.ours.tail {
		bytes += entryBytes(e)
	}
	if bytes != w.ours.tailBytes || bytes > w.ours.tailLimit && len(w.ours.tail) > 1 {
		t.Fatalf("the tail has %d bytes in %d entries, counted are %d", bytes, len(w.ours.tail), w.ours.tailBytes)
	}
}

func (w *storageWorld) checkEntries(t *rapid.T, lo, hi, maxSize uint64) {
	got, err := w.ours.Entries(lo, hi, maxSize)
	if lo < w.first {
		if err != raft.ErrCompacted {
			t.Fatalf("Entries(%d, %d) = %v, want ErrCompacted", lo, hi, err)
		}
		return
	}
	last, _ := w.ours.LastIndex()
	if hi > last+1 {
		if err != raft.ErrUnavailable {
			t.Fatalf("Entries(%d, %d) = %v, want ErrUnavailable", lo, hi, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Entries(%d, %d) = %v", lo, hi, err)
	}
	want, err := w.model.Entries(lo, hi, 1<<62)
	w.apply(err)
	if len(got) == 0 || len(got) > len(want) {
		t.Fatalf("Entries(%d, %d, %d) gives %d entries", lo, hi, maxSize, len(got))
	}
	if diff := cmp.Diff(show(want[:len(got)]), show(got)); diff != "" {
		t.Fatalf("Entries(%d, %d, %d):\n%s", lo, hi, maxSize, diff)
	}
	var size uint64
	for _, e := range got {
		size += entryBytes(e)
	}
	if size > maxSize && len(got) > 1 {
		t.Fatalf("Entries(%d, %d, %d) gives %d bytes", lo, hi, maxSize, size)
	}
}

// TestStorageAgainstMemory does to storage what a member does, with a tail of a few entries.
func TestStorageAgainstMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newStorageWorld(t)
		var held [][]*raftpb.Entry // what raft was given must never change
		var shown [][]string
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				w.check(t)
				for i := range held {
					if diff := cmp.Diff(shown[i], show(held[i])); diff != "" {
						t.Fatalf("a slice that was handed out changed:\n%s", diff)
					}
				}
			},
			"append": func(t *rapid.T) {
				last, _ := w.model.LastIndex()
				from := last + 1
				if rapid.IntRange(0, 2).Draw(t, "overwrite") == 0 {
					from = rapid.Uint64Range(max(w.first, w.ours.snap.index+1), last+1).Draw(t, "from")
					w.term++
				}
				var entries []*raftpb.Entry
				for i := range rapid.Uint64Range(0, 6).Draw(t, "n") {
					entries = append(entries, makeEntry(from+i, w.term, rapid.IntRange(0, 200).Draw(t, "size")))
				}
				w.disk.append(entries)
				w.apply(w.model.Append(entries))
				w.ours.append(entries)
			},
			"hold": func(*rapid.T) {
				if last, _ := w.ours.LastIndex(); last >= w.ours.tailFirst {
					got, err := w.ours.Entries(w.ours.tailFirst, last+1, 1<<40)
					w.apply(err)
					held, shown = append(held, got), append(shown, show(got))
					_ = append(got, makeEntry(0, 0, 1)) // as raft may, without harm to the storage
					got, err = w.ours.Entries(w.ours.tailFirst, last+1, 0)
					w.apply(err)
					_ = append(got, makeEntry(0, 0, 1))
				}
			},
			"install": func(t *rapid.T) {
				last, _ := w.model.LastIndex()
				index := last + rapid.Uint64Range(1, 5).Draw(t, "ahead")
				w.term++
				w.apply(w.model.ApplySnapshot(snapshotAt(index, w.term)))
				w.ours.install(snapshotMark{index, w.term}, &raftpb.ConfState{Voters: []uint64{1}})
				*w.disk = fakeDisk{first: index + 1, newest: &w.ours.tailFirst}
				w.first = index + 1
			},
			"snapshot": func(t *rapid.T) {
				last, _ := w.model.LastIndex()
				index := rapid.Uint64Range(w.first-1, last).Draw(t, "index")
				if index <= w.ours.snap.index {
					return
				}
				term, err := w.model.Term(index)
				w.apply(err)
				keep := rapid.Uint64Range(1, index+1).Draw(t, "keep")
				w.ours.snapshotTaken(snapshotMark{index, term}, &raftpb.ConfState{Voters: []uint64{1}}, keep)
				if keep > w.first {
					w.apply(w.model.Compact(keep - 1))
					w.first = keep
				}
				if diff := cmp.Diff(index, w.ours.snap.index); diff != "" {
					t.Fatal(diff)
				}
			},
		})
	})
}

// TestStorageErrors: raft compares ErrCompacted itself and must not panic over a log that was released meanwhile; any
// other error of the disk is one.
func TestStorageErrors(t *testing.T) {
	disk := &fakeDisk{first: 2}
	s := newStorage(snapshotMark{1, 1}, &raftpb.ConfState{}, nil, disk, 100)
	for i := uint64(2); i < 9; i++ {
		s.append([]*raftpb.Entry{makeEntry(i, 1, 50)})
	}
	disk.err = raft.ErrCompacted
	if _, err := s.Entries(3, 5, 1000); err != raft.ErrCompacted {
		t.Errorf("Entries = %v, want ErrCompacted itself", err)
	}
	disk.err = fmt.Errorf("read: %w", raft.ErrCompacted)
	if _, err := s.Term(3); err != raft.ErrCompacted {
		t.Errorf("Term = %v, want ErrCompacted itself", err)
	}
	s.snapshotTaken(snapshotMark{8, 1}, &raftpb.ConfState{}, 5)
	if first, _ := s.FirstIndex(); first != 2 || s.snap.index != 1 {
		t.Errorf("a snapshot whose entry before cannot be read moved the storage to %d, %d", first, s.snap.index)
	}
	disk.err = errors.New("bad sector")
	if _, err := s.Term(3); !errors.Is(err, disk.err) {
		t.Errorf("Term = %v", err)
	}
	if _, err := s.Entries(3, 5, 1000); !errors.Is(err, disk.err) {
		t.Errorf("Entries = %v", err)
	}
	if snap, err := s.Snapshot(); err != nil || snap.GetMetadata().GetIndex() != 1 {
		t.Errorf("Snapshot = %v, %v", snap, err)
	}
	if _, err := new(storage).Snapshot(); !errors.Is(err, errNoSnapshot) {
		t.Errorf("Snapshot of nothing = %v", err)
	}
}

func BenchmarkStorageAppend(b *testing.B) {
	s := newStorage(snapshotMark{1, 1}, &raftpb.ConfState{}, nil, &fakeDisk{first: 2}, tailBytes)
	entries := make([]*raftpb.Entry, 1<<16)
	for i := range entries {
		entries[i] = makeEntry(0, 1, 64)
	}
	b.ReportAllocs()
	next := uint64(2)
	for b.Loop() {
		e := entries[next%uint64(len(entries))]
		e.Index = new(next)
		s.append([]*raftpb.Entry{e})
		next++
	}
}
