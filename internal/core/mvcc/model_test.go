package mvcc

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// model is the naive space: every version ever written, in order, and a floor.
type model struct {
	versions []modelVersion
	floor    int64
}

type modelVersion struct {
	key     string
	seq     uint64
	rev     int64
	deleted bool
	record  string
}

func (m *model) of(key string) []modelVersion {
	var out []modelVersion
	for _, v := range m.versions {
		if v.key == key {
			out = append(out, v)
		}
	}
	return out
}

// at is the record in force at seq.
func (m *model) at(key string, seq uint64) (record string, ok bool) {
	for _, v := range m.of(key) {
		if v.seq <= seq {
			record, ok = v.record, !v.deleted
		}
	}
	if !ok {
		record = ""
	}
	return record, ok
}

func (m *model) live(key string) bool {
	_, ok := m.at(key, 1<<62)
	return ok
}

func (m *model) keys() []string {
	set := map[string]bool{}
	for _, v := range m.versions {
		set[v.key] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// bytes is what the live keys and the history that the floor leaves take.
func (m *model) bytes() (keys int, live, history int64) {
	for _, k := range m.keys() {
		list := m.of(k)
		first := 0 // the oldest version that can be read
		for i, v := range list {
			if v.rev < m.floor {
				first = i
			}
		}
		if list[first].rev < m.floor && list[first].deleted {
			first++
		}
		for i, v := range list[first:] {
			n := int64(len(v.key) + len(v.record))
			if first+i == len(list)-1 && !v.deleted {
				live += n
				keys++
			} else {
				history += n
			}
		}
	}
	return keys, live, history
}

// machine drives a space and the model by the same random steps.
type machine struct {
	space  *Space[string]
	model  model
	seq    uint64
	rev    int64
	pinned []uint64
}

func (m *machine) write(t *rapid.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "key")
	record := rapid.StringN(0, 4, -1).Draw(t, "record")
	m.seq += rapid.Uint64Range(1, 2).Draw(t, "seq step")
	m.rev += rapid.Int64Range(0, 1).Draw(t, "rev step")
	v := modelVersion{key: key, seq: m.seq, rev: m.rev, record: record}
	if m.model.live(key) && rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
		v.deleted = true
		m.space.Delete(key, v.seq, v.rev, record)
	} else {
		m.space.Write(key, v.seq, v.rev, record)
	}
	m.model.versions = append(m.model.versions, v)
}

// refused is a command that writes and is undone.
func (m *machine) refused(t *rapid.T) {
	seq, rev, kept := m.seq, m.rev, len(m.model.versions)
	for range rapid.IntRange(1, 5).Draw(t, "writes") {
		m.write(t)
	}
	m.space.Rollback(seq)
	m.seq, m.rev, m.model.versions = seq, rev, m.model.versions[:kept]
}

func (m *machine) setFloor(t *rapid.T) {
	rev := rapid.Int64Range(m.model.floor, m.rev).Draw(t, "floor")
	m.space.SetFloor(rev)
	m.model.floor = rev
}

func (m *machine) pin(t *rapid.T) {
	m.pinned = append(m.pinned, rapid.Uint64Range(m.space.SeqAt(m.model.floor), m.seq).Draw(t, "pin"))
}

func (m *machine) unpin(t *rapid.T) {
	if len(m.pinned) > 0 {
		i := rapid.IntRange(0, len(m.pinned)-1).Draw(t, "unpin")
		m.pinned = slices.Delete(m.pinned, i, i+1)
	}
}

func (m *machine) oldestPinned() uint64 {
	return slices.Min(append([]uint64{m.seq}, m.pinned...))
}

func (m *machine) reclaim(t *rapid.T) {
	before := m.space.log.len()
	steps := rapid.IntRange(0, 8).Draw(t, "steps")
	more := m.space.Reclaim(steps, m.oldestPinned())
	if gone := before - m.space.log.len(); gone > steps || more && gone != steps {
		t.Fatalf("%d of at most %d entries reclaimed, more is %v", gone, steps, more)
	}
}

// reload carries the space over into a new one, as a snapshot does.
func (m *machine) reload(t *rapid.T) {
	fresh := newTestSpace()
	limit := "" // a snapshot may hold the keys in any order
	if rapid.Bool().Draw(t, "split") {
		limit = "c"
	}
	load := func(newest *Version[string]) {
		var list []Loaded[string]
		for v := newest; v != nil; v = v.Prev() {
			list = append(list, Loaded[string]{v.Seq(), v.Rev, v.Deleted(), v.Record})
		}
		slices.Reverse(list)
		fresh.Load(newest.Key(), list)
	}
	m.space.Ascend(limit, func(newest *Version[string]) bool { load(newest); return true })
	m.space.Ascend("", func(newest *Version[string]) bool {
		if newest.Key() >= limit {
			return false
		}
		load(newest)
		return true
	})
	fresh.LoadDone(m.space.Floor(), m.space.SeqAt(m.space.Floor()))
	m.space, m.pinned = fresh, nil
}

func (m *machine) check(t *rapid.T) {
	s := m.space
	keys, live, history := m.model.bytes()
	if got, want := s.Sizes(), (Sizes{keys, live, history}); got != want {
		t.Fatalf("sizes are %+v, want %+v", got, want)
	}
	if s.Floor() != m.model.floor {
		t.Fatalf("floor is %d, want %d", s.Floor(), m.model.floor)
	}
	for _, pin := range m.pinned {
		m.checkView(t, pin)
	}
	for seq := range m.seq + 1 {
		if s.Reaches(seq) {
			m.checkView(t, seq)
		}
	}
	for rev := m.model.floor; rev <= m.rev+1; rev++ {
		m.checkView(t, s.SeqAt(rev))
		m.checkRevision(t, rev)
	}
	m.checkIndex(t)
}

// checkView compares all keys at one sequence number, by key and in order.
func (m *machine) checkView(t *rapid.T, seq uint64) {
	var want, ordered []string
	for _, k := range m.model.keys() {
		record, ok := m.model.at(k, seq)
		if ok {
			want = append(want, k+"="+record)
		}
		v := m.space.Get(k).At(seq)
		if (v != nil) != ok || ok && v.Record != record {
			t.Fatalf("%s at %d is %+v, want %q (%v)", k, seq, v, record, ok)
		}
	}
	m.space.Ascend("", func(newest *Version[string]) bool {
		if v := newest.At(seq); v != nil {
			ordered = append(ordered, v.Key()+"="+v.Record)
		}
		return true
	})
	if diff := cmp.Diff(want, ordered); diff != "" {
		t.Fatalf("ordered keys at %d (-want +got):\n%s", seq, diff)
	}
}

// checkRevision compares the end of a revision and the changes from it on, predecessors included.
func (m *machine) checkRevision(t *rapid.T, rev int64) {
	var last uint64
	var want, got, after []string
	for _, v := range m.model.versions {
		if v.rev <= rev {
			last = v.seq
		}
		if v.rev >= rev {
			prev, _ := m.model.at(v.key, v.seq-1)
			want = append(want, fmt.Sprint(v.key, v.seq, v.rev, v.deleted, v.record, "<-", prev))
		}
	}
	if seq := m.space.SeqAt(rev); seq != last {
		t.Fatalf("revision %d ends at %d, want %d", rev, seq, last)
	}
	text := func(v *Version[string]) string {
		prev := ""
		if p := v.Prev().Live(); p != nil {
			prev = p.Record
		}
		return fmt.Sprint(v.Key(), v.Seq(), v.Rev, v.Deleted(), v.Record, "<-", prev)
	}
	m.space.Changes(rev, func(v *Version[string]) bool {
		got = append(got, text(v))
		return true
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("changes from revision %d (-want +got):\n%s", rev, diff)
	}
	if len(want) < 2 {
		return
	}
	m.space.ChangesAfter(m.space.log.at(m.space.log.end-2).Seq(), func(v *Version[string]) bool {
		after = append(after, text(v))
		return true
	})
	if diff := cmp.Diff(want[len(want)-1:], after); diff != "" {
		t.Fatalf("changes after the last but one (-want +got):\n%s", diff)
	}
}

// checkIndex checks that table, index and heads hold the same keys, each with a version that somebody needs.
func (m *machine) checkIndex(t *rapid.T) {
	n := 0
	prev := ""
	m.space.Ascend("", func(v *Version[string]) bool {
		n++
		if v.Key() <= prev || m.space.Get(v.Key()) != v {
			t.Fatalf("index holds %q after %q, table %p, index %p", v.Key(), prev, m.space.Get(v.Key()), v)
		}
		if v.Deleted() && !m.space.log.holds(v) {
			t.Fatalf("%q is kept though nobody can see it", v.Key())
		}
		prev = v.Key()
		return true
	})
	if keys := checkTable(t, &m.space.keys.table); n != keys {
		t.Fatalf("index holds %d keys, table %d", n, keys)
	}
	m.checkHeads(t, n)
}

// checkHeads checks that as many numbers are in use as there are keys, that no other leads to a version, and that none is free twice.
func (m *machine) checkHeads(t *rapid.T, keys int) {
	h := m.space.keys.heads
	free := map[keyNumber]bool{}
	for _, n := range h.free {
		if free[n] || h.at(n) != nil {
			t.Fatalf("number %d is free twice, or leads to %p", n, h.at(n))
		}
		free[n] = true
	}
	if used := len(h.chunks)*headsPerChunk - len(free); used != keys {
		t.Fatalf("%d numbers are in use for %d keys", used, keys)
	}
}

// TestModel compares a space with the list of all versions ever written.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{space: newTestSpace(), rev: 1}
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"write":   m.write,
			"write2":  m.write,
			"refused": m.refused,
			"floor":   m.setFloor,
			"pin":     m.pin,
			"unpin":   m.unpin,
			"reclaim": m.reclaim,
			"reload":  m.reload,
		})
	})
}
