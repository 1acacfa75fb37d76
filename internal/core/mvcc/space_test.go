package mvcc

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/arena"
	"github.com/okapi-kv/okapi/internal/invariant"
)

func stringSize(key string, r *string) int64 { return int64(len(key) + len(*r)) }

func newTestSpace() *Space[string] { return NewSpace(Shape[string]{Size: stringSize}, 1) }

// chain prints what is kept of a key, newest first.
func chain(s *Space[string], key string) string {
	if s.Get(key) == nil {
		return "none"
	}
	out := ""
	for v := s.Get(key); v != nil; v = v.Prev() {
		out += fmt.Sprintf("%d@%d", v.Seq(), v.Rev)
		if v.Deleted() {
			out += "x"
		}
		out += " "
	}
	return out
}

// logText prints the log.
func logText(s *Space[string]) string {
	out := ""
	s.ChangesAfter(0, func(v *Version[string]) bool {
		out += fmt.Sprintf("%s%d ", v.Key(), v.Seq())
		return true
	})
	return out
}

func TestReadsAtSequence(t *testing.T) {
	s := newTestSpace()
	s.Write("a", 1, 2, "one")
	s.Write("b", 2, 2, "other")
	s.Write("a", 5, 3, "two")
	s.Delete("a", 6, 4, "gone")
	s.Write("a", 9, 5, "three")
	want := map[uint64]string{0: "", 1: "one", 4: "one", 5: "two", 6: "", 8: "", 9: "three", 100: "three"}
	for seq, text := range want {
		got := ""
		if v := s.Get("a").At(seq); v != nil {
			got = v.Record
		}
		if got != text {
			t.Errorf("a at %d is %q, want %q", seq, got, text)
		}
	}
	if s.Get("c") != nil {
		t.Error("a key that never was has a version")
	}
	for rev, seq := range map[int64]uint64{0: 0, 1: 0, 2: 2, 3: 5, 4: 6, 5: 9, 99: 9} {
		if got := s.SeqAt(rev); got != seq {
			t.Errorf("revision %d ends at %d, want %d", rev, got, seq)
		}
	}
	if v := s.Get("a").Live(); v == nil || v.Record != "three" || !v.Prev().Deleted() || v.Prev().Record != "gone" {
		t.Errorf("the newest version is %+v", v)
	}
}

// TestTombstoneAtFloor: a deletion below the floor is forgotten, one at the floor is kept for the
// watch that starts there.
func TestTombstoneAtFloor(t *testing.T) {
	s := newTestSpace()
	s.Write("a", 1, 2, "v")
	s.Delete("a", 2, 3, "")
	s.Write("b", 3, 4, "v")
	steps := []struct {
		floor int64
		a     string
		log   string
		hist  int64
	}{
		{2, "2@3x 1@2 ", "a1 a2 b3 ", 3},
		{3, "2@3x 1@2 ", "a2 b3 ", 3},
		{4, "none", "b3 ", 0},
	}
	for _, st := range steps {
		s.SetFloor(st.floor)
		if got := s.Sizes().History; got != st.hist {
			t.Errorf("floor %d: history %d before reclaiming, want %d", st.floor, got, st.hist)
		}
		if s.Reclaim(10, 100) {
			t.Errorf("floor %d: more to reclaim", st.floor)
		}
		if got := chain(s, "a"); got != st.a {
			t.Errorf("floor %d: a keeps %q, want %q", st.floor, got, st.a)
		}
		if got := logText(s); got != st.log {
			t.Errorf("floor %d: log %q, want %q", st.floor, got, st.log)
		}
		if got := s.Sizes().History; got != st.hist {
			t.Errorf("floor %d: history %d after reclaiming, want %d", st.floor, got, st.hist)
		}
	}
	if s.Sizes().Keys != 1 || s.Sizes().Live != 2 {
		t.Errorf("%d live keys of %d bytes", s.Sizes().Keys, s.Sizes().Live)
	}
}

// TestReclaimStopsAtPin: what a pinned view reads stays, though it is below the floor.
func TestReclaimStopsAtPin(t *testing.T) {
	s := newTestSpace()
	for i := range 5 {
		s.Write("a", uint64(i+1), int64(i+2), "v")
	}
	s.SetFloor(6)
	if s.Reclaim(100, 3) {
		t.Error("more to reclaim though a view is pinned")
	}
	if got, want := chain(s, "a"), "5@6 4@5 3@4 "; got != want {
		t.Errorf("a keeps %q, want %q", got, want)
	}
	if v := s.Get("a").At(3); v == nil || v.Seq() != 3 {
		t.Errorf("the pinned view reads %+v", v)
	}
	if !s.Reclaim(0, 5) || s.Reclaim(1, 5) {
		t.Error("after one of one entries there is more, or before it there was none")
	}
	if got, want := chain(s, "a"), "5@6 4@5 "; got != want {
		t.Errorf("without the pin a keeps %q, want %q", got, want)
	}
}

// TestRollbackOverForgottenTombstone: a key comes back after its tombstone left the log, and the
// command that brought it back is refused.
func TestRollbackOverForgottenTombstone(t *testing.T) {
	s := newTestSpace()
	s.Write("a", 1, 2, "v")
	s.Delete("a", 2, 3, "")
	s.Write("b", 3, 4, "v")
	s.SetFloor(4)
	s.Write("a", 4, 5, "w")
	s.Reclaim(10, 10)
	s.Rollback(3)
	if got := chain(s, "a"); got != "none" {
		t.Errorf("a keeps %q", got)
	}
	n := 0
	s.Ascend("", func(*Version[string]) bool { n++; return true })
	if n != 1 || s.Sizes().Keys != 1 || s.Sizes().History != 0 {
		t.Errorf("%d keys kept, %d live keys, %d bytes of history", n, s.Sizes().Keys, s.Sizes().History)
	}
}

// TestRollbackKeepsTombstoneOfLoadedFloor: after a load, a tombstone at the floor is in the log though
// its sequence number is not above that of the floor.
func TestRollbackKeepsTombstoneOfLoadedFloor(t *testing.T) {
	s := newTestSpace()
	s.Load("a", []Loaded[string]{{Seq: 1, Rev: 2, Record: "v"}, {Seq: 2, Rev: 3, Deleted: true}})
	s.LoadDone(3, 2)
	s.Write("a", 3, 4, "w")
	s.Rollback(2)
	if got, want := chain(s, "a"), "2@3x 1@2 "; got != want {
		t.Errorf("a keeps %q, want %q", got, want)
	}
}

func TestChunkEdges(t *testing.T) {
	s := newTestSpace()
	n := uint64(3 * chunkEntries)
	write := func(i uint64) { s.Write("a", i, int64(i), "v") }
	for i := uint64(1); i <= n; i++ {
		write(i)
	}
	for _, cut := range []uint64{chunkEntries - 1, chunkEntries, chunkEntries + 1, 2 * chunkEntries, 2*chunkEntries + 1} {
		s.SetFloor(int64(cut))
		if got, want := s.Sizes().History, int64(2*(n-max(cut, 2)+1)); got != want {
			t.Errorf("floor %d: history %d, want %d", cut, got, want)
		}
		for s.Reclaim(100, n) {
		}
		if got := s.log.first().Seq(); got != cut || s.log.len() != int(n-cut+1) {
			t.Errorf("floor %d: log from %d, %d entries", cut, got, s.log.len())
		}
		s.Rollback(n - chunkEntries/2)
		for i := n - chunkEntries/2 + 1; i <= n; i++ {
			write(i)
		}
	}
	s.SetFloor(int64(n))
	s.Reclaim(int(n), n)
	s.Rollback(n - 1)
	if s.log.len() != 0 || s.SeqAt(int64(n)) != n-1 {
		t.Errorf("%d entries left, floor ends at %d", s.log.len(), s.SeqAt(int64(n)))
	}
	write(n)
	if diff := cmp.Diff("a3072 ", logText(s)); diff != "" {
		t.Error(diff)
	}
}

func TestMisuse(t *testing.T) {
	tests := map[string]func(s *Space[string]){
		"sequence number repeated": func(s *Space[string]) { s.Write("a", 5, 5, "") },
		"revision runs back":       func(s *Space[string]) { s.Write("a", 6, 4, "") },
		"delete of an unknown key": func(s *Space[string]) { s.Delete("z", 6, 6, "") },
		"delete of a deleted key":  func(s *Space[string]) { s.Delete("a", 6, 6, ""); s.Delete("a", 7, 7, "") },
		"write below the floor":    func(s *Space[string]) { s.SetFloor(9); s.Write("a", 6, 6, "") },
		"history below the floor":  func(s *Space[string]) { s.SetFloor(5); s.SeqAt(4) },
		"changes below the floor":  func(s *Space[string]) { s.SetFloor(5); s.Changes(4, nil) },
		"rollback below the floor": func(s *Space[string]) { s.SetFloor(6); s.Rollback(1) },
		"load into a used space":   func(s *Space[string]) { s.Load("q", nil) },
		"key loaded a second time": func(*Space[string]) {
			s := newTestSpace()
			v := []Loaded[string]{{Seq: 1}}
			s.Load("q", v)
			s.Load("q", v)
		},
	}
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			s := newTestSpace()
			s.Write("a", 5, 5, "v")
			defer func() {
				if _, ok := recover().(invariant.Violation); !ok {
					t.Error("was accepted")
				}
			}()
			fn(s)
		})
	}
}

func dataOf(v *Version[record]) []byte { return v.Record.data }

// TestData: the space copies data, short or long, unless they are those of the version before; nothing and empty stay what
// they are.
func TestData(t *testing.T) {
	s := NewSpace(Shape[record]{Size: recordSize, Data: func(r *record) *[]byte { return &r.data }}, 1)
	seq := uint64(0)
	write := func(data []byte, version int64) *Version[record] {
		seq++
		return s.Write("key", seq, int64(seq), record{data: data, version: version})
	}
	for _, n := range []int{1, 15, 16, 100, arena.RoomMax, 100_000} {
		mine := bytes.Repeat([]byte{7}, n)
		first := write(mine, 1)
		mine[0] = 8
		if want := bytes.Repeat([]byte{7}, n); !bytes.Equal(dataOf(first), want) || first.Key() != "key" {
			t.Fatalf("%d bytes: key %q, data begin with %x", n, first.Key(), dataOf(first)[:1])
		}
		if next := write(dataOf(first), 2); &dataOf(next)[0] != &dataOf(first)[0] || next.Record.version != 2 {
			t.Errorf("%d bytes: a version with the same data has a copy", n)
		}
		if other := write(bytes.Clone(dataOf(first)), 3); &dataOf(other)[0] == &dataOf(first)[0] {
			t.Errorf("%d bytes: a version with equal data shares them", n)
		}
	}
	if v := write(nil, 1); dataOf(v) != nil {
		t.Errorf("nothing became %x", dataOf(v))
	}
	if v := write([]byte{}, 1); dataOf(v) == nil || len(dataOf(v)) != 0 {
		t.Errorf("empty data became %v", dataOf(v))
	}
}

// TestLoadShares: data that two versions share in a snapshot are shared in memory too.
func TestLoadShares(t *testing.T) {
	s := NewSpace(Shape[record]{Size: recordSize, Data: func(r *record) *[]byte { return &r.data }}, 1)
	data := []byte("data")
	s.Load("k", []Loaded[record]{
		{Seq: 1, Rev: 1, Record: record{data: data}},
		{Seq: 2, Rev: 2, Record: record{data: data, version: 1}},
		{Seq: 3, Rev: 3, Record: record{data: []byte("other")}},
	})
	data[0] = 'x'
	s.LoadDone(1, 0)
	third := s.Get("k")
	second := third.Prev()
	if first := second.Prev(); &dataOf(first)[0] != &dataOf(second)[0] || string(dataOf(first)) != "data" || second.Record.version != 1 {
		t.Errorf("loaded %q and %q", dataOf(first), dataOf(second))
	}
	if string(dataOf(third)) != "other" {
		t.Errorf("the third version has %q", dataOf(third))
	}
}
