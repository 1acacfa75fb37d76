package watch

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/mvcc"
)

// version is what the tests keep of a key.
type version struct {
	Value   string
	Count   int // etcd's version
	Revised int64
}

// fakeLog is a change log as a list.
type fakeLog struct {
	floor, head int64
	entries     []Entry[version]
}

func (l *fakeLog) Floor() int64 { return l.floor }
func (l *fakeLog) Head() int64  { return l.head }

func (l *fakeLog) Changes(revision int64, after uint64, fn func(*Entry[version]) bool) {
	for _, e := range l.entries {
		if e.Revision < revision || e.Revision > l.head || e.Seq <= after {
			continue
		}
		e.HasBefore = e.Live && e.Revision > l.floor
		if !fn(&e) {
			return
		}
	}
}

// readAll reads once, without bounds.
func readAll(c Cursor, l Log[version]) ([]Change[version], Cursor, error) {
	var r Reader[version]
	out, err := r.Read(&c, l, unbounded, nil)
	return out, c, err
}

// last is the state of a key: its newest version, if it lives.
func (l *fakeLog) last(key string) (version, bool) {
	for _, e := range slices.Backward(l.entries) {
		if e.Key == key {
			return e.Version, !e.Deleted
		}
	}
	return version{}, false
}

// op is a put or, with an empty value, a deletion.
type op struct{ key, value string }

// commit makes one revision.
func (l *fakeLog) commit(ops ...op) {
	l.head++
	for _, o := range ops {
		before, live := l.last(o.key)
		e := Entry[version]{Key: o.key, Revision: l.head, Seq: uint64(len(l.entries) + 1), Deleted: o.value == "", Live: live}
		if live {
			e.Before = before
		}
		if !e.Deleted {
			e.Version = version{o.value, 1, l.head}
			if live {
				e.Version.Count = before.Count + 1
			}
		}
		l.entries = append(l.entries, e)
	}
}

func text(c Change[version]) string {
	s := fmt.Sprintf("%d PUT %s=%s v%d", c.Revision, c.Key, c.Version.Value, c.Version.Count)
	if c.Deleted {
		s = fmt.Sprintf("%d DELETE %s", c.Revision, c.Key)
	}
	if c.HasBefore {
		s += " was " + c.Before.Value
	}
	return s
}

func texts(list []Change[version]) (out []string) {
	for _, c := range list {
		out = append(out, text(c))
	}
	return out
}

var (
	everything = Span{"\x00", "\x00"}
	unbounded  = Bounds{Changes: 1 << 30, Entries: 1 << 30}
)

// TestNetEffect lists what several changes of a key at one revision amount to.
func TestNetEffect(t *testing.T) {
	tests := []struct {
		name string
		live bool // is a there before, as "old"
		ops  []op
		want []string
	}{
		{"create", false, []op{{"a", "1"}}, []string{"3 PUT a=1 v1"}},
		{"put", true, []op{{"a", "1"}}, []string{"3 PUT a=1 v2 was old"}},
		{"delete", true, []op{{"a", ""}}, []string{"3 DELETE a was old"}},
		{"three puts", true, []op{{"a", "1"}, {"a", "2"}, {"a", "3"}}, []string{"3 PUT a=3 v4 was old"}},
		{"create and put", false, []op{{"a", "1"}, {"a", "2"}}, []string{"3 PUT a=2 v2"}},
		{"create and delete", false, []op{{"a", "1"}, {"a", ""}}, nil},
		{"create, delete, create", false, []op{{"a", "1"}, {"a", ""}, {"a", "2"}}, []string{"3 PUT a=2 v1"}},
		{"delete and create", true, []op{{"a", ""}, {"a", "1"}}, []string{"3 DELETE a was old", "3 PUT a=1 v1"}},
		{"put and delete", true, []op{{"a", "1"}, {"a", ""}}, []string{"3 DELETE a was old"}},
		{"put, delete, create", true, []op{{"a", "1"}, {"a", ""}, {"a", "2"}}, []string{"3 DELETE a was old", "3 PUT a=2 v1"}},
		{"delete, create, delete", true, []op{{"a", ""}, {"a", "1"}, {"a", ""}}, []string{"3 DELETE a was old"}},
		{"order of first touch", true, []op{{"c", "1"}, {"a", ""}, {"b", "2"}, {"a", "3"}, {"c", "4"}},
			[]string{"3 PUT c=4 v2", "3 DELETE a was old", "3 PUT a=3 v1", "3 PUT b=2 v1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &fakeLog{head: 1}
			if tt.live {
				l.commit(op{"a", "old"})
			} else {
				l.commit(op{"z", "other"})
			}
			l.commit(tt.ops...)
			got, _, err := readAll(NewCursor(everything, 3, 0), l)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilters(t *testing.T) {
	l := &fakeLog{head: 1}
	l.commit(op{"a", "1"})
	l.commit(op{"a", ""}, op{"a", "2"})
	for filter, want := range map[Filter][]string{
		0:                {"3 DELETE a was 1", "3 PUT a=2 v1"},
		NoPut:            {"3 DELETE a was 1"},
		NoDelete:         {"3 PUT a=2 v1"},
		NoPut | NoDelete: nil,
	} {
		got, c, err := readAll(NewCursor(everything, 3, filter), l)
		if diff := cmp.Diff(want, texts(got)); diff != "" || err != nil {
			t.Errorf("filter %d (error %v, -want +got):\n%s", filter, err, diff)
		}
		if c.Next() != 4 {
			t.Errorf("filter %d: next is %d", filter, c.Next())
		}
	}
}

// TestFloor: a watch may start at the floor, where the state before is not told any more, but not below.
func TestFloor(t *testing.T) {
	l := &fakeLog{head: 1}
	l.commit(op{"a", "1"})
	l.commit(op{"a", "2"})
	l.commit(op{"a", "3"})
	l.floor = 3
	if got, c, err := readAll(NewCursor(everything, 2, 0), l); !errors.Is(err, ErrCompacted) || got != nil || c.Next() != 2 {
		t.Errorf("below the floor: %v, error %v, next %d", got, err, c.Next())
	}
	got, _, err := readAll(NewCursor(everything, 3, 0), l)
	if diff := cmp.Diff([]string{"3 PUT a=2 v2", "4 PUT a=3 v3 was 2"}, texts(got)); diff != "" || err != nil {
		t.Errorf("at the floor (error %v, -want +got):\n%s", err, diff)
	}
}

// TestFuture: a watch of the future waits and then gets that revision, whole.
func TestFuture(t *testing.T) {
	l := &fakeLog{head: 1}
	c := NewCursor(everything, 3, 0)
	for head := int64(2); head <= 3; head++ {
		l.commit(op{"a", "1"}, op{"b", "1"})
		var got []Change[version]
		var err error
		got, c, err = readAll(c, l)
		if err != nil || head == 2 && (len(got) != 0 || c.Next() != 3) || head == 3 && (len(got) != 2 || c.Next() != 4) {
			t.Errorf("head %d: %q, next %d, error %v", head, texts(got), c.Next(), err)
		}
	}
	c.Skip(2)
	if c.Next() != 4 {
		t.Errorf("skipping back leads to %d", c.Next())
	}
	c.Skip(9)
	if c.Next() != 9 {
		t.Errorf("skipping leads to %d", c.Next())
	}
}

// TestBounds: a read stops between revisions for the changes it has, and within one for what it looked at.
func TestBounds(t *testing.T) {
	l := &fakeLog{head: 1}
	for range 4 {
		l.commit(op{"a", "1"}, op{"b", "1"}, op{"x", "1"})
	}
	tests := []struct {
		bounds Bounds
		want   []int // changes of each read
	}{
		{Bounds{1, 100}, []int{2, 2, 2, 2}},
		{Bounds{3, 100}, []int{4, 4}},
		{Bounds{100, 1}, []int{0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 2}},
		{Bounds{100, 2}, []int{0, 2, 2, 0, 2, 2}},
		{Bounds{100, 4}, []int{2, 2, 4}},
		{unbounded, []int{8}},
	}
	for _, tt := range tests {
		var r Reader[version]
		c := NewCursor(Span{"a", "c"}, 2, 0)
		var got []int
		for c.Next() <= l.head {
			list, err := r.Read(&c, l, tt.bounds, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, len(list))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || r.Midway() {
			t.Errorf("%+v (midway %v, -want +got):\n%s", tt.bounds, r.Midway(), diff)
		}
	}
}

// TestCompactedMidway: a floor that passes a revision under way ends it, and nothing of it is left for others.
func TestCompactedMidway(t *testing.T) {
	l := &fakeLog{head: 1}
	l.commit(op{"a", "1"}, op{"b", "1"})
	l.commit(op{"a", "2"})
	var r Reader[version]
	c := NewCursor(everything, 2, 0)
	if list, err := r.Read(&c, l, Bounds{9, 1}, nil); err != nil || len(list) != 0 || !r.Midway() || c.Next() != 2 {
		t.Fatalf("%v, error %v, midway %v, next %d", texts(list), err, r.Midway(), c.Next())
	}
	l.floor = 3
	if list, err := r.Read(&c, l, Bounds{9, 1}, nil); !errors.Is(err, ErrCompacted) || len(list) != 0 || r.Midway() {
		t.Errorf("%v, error %v, midway %v", texts(list), err, r.Midway())
	}
	c = NewCursor(everything, 3, 0)
	list, err := r.Read(&c, l, unbounded, nil)
	if diff := cmp.Diff([]string{"3 PUT a=2 v2"}, texts(list)); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}

// TestHidden: what the reader may not learn of counts as looked at, and is told to nobody.
func TestHidden(t *testing.T) {
	l := &fakeLog{head: 1}
	l.commit(op{"a", "1"}, op{"b", "1"})
	l.entries[0].Hidden = true
	got, c, err := readAll(NewCursor(everything, 2, 0), l)
	if diff := cmp.Diff([]string{"2 PUT b=1 v1"}, texts(got)); diff != "" || err != nil || c.Next() != 3 {
		t.Errorf("next %d, error %v (-want +got):\n%s", c.Next(), err, diff)
	}
}

// TestBigRevision goes beyond the scratch space that a reader keeps.
func TestBigRevision(t *testing.T) {
	l := &fakeLog{head: 1}
	var ops []op
	for i := range 2 * keptScratch {
		ops = append(ops, op{fmt.Sprintf("%04d", i), "1"}, op{fmt.Sprintf("%04d", i), "2"})
	}
	l.commit(ops...)
	var r Reader[version]
	c := NewCursor(everything, 2, 0)
	got, err := r.Read(&c, l, unbounded, nil)
	if err != nil || len(got) != 2*keptScratch || r.net != nil || r.touched != nil {
		t.Errorf("%d changes, error %v, scratch of %d", len(got), err, cap(r.net))
	}
}

// spaceLog is a space of package mvcc as a log.
type spaceLog struct {
	space *mvcc.Space[version]
	head  int64
}

func (l spaceLog) Floor() int64 { return l.space.Floor() }
func (l spaceLog) Head() int64  { return l.head }

func (l spaceLog) Changes(revision int64, after uint64, fn func(*Entry[version]) bool) {
	l.space.Changes(revision, func(v *mvcc.Version[version]) bool {
		if v.Seq() <= after {
			return true
		}
		e := Entry[version]{Key: v.Key(), Revision: v.Rev, Seq: v.Seq(), Deleted: v.Deleted(), Version: v.Record}
		if p := v.Prev().Live(); p != nil {
			e.Live, e.HasBefore, e.Before = true, v.Rev > l.space.Floor(), p.Record
		}
		return fn(&e)
	})
}

// state is all keys at one revision, the naive way to find out what a revision did.
type state map[string]version

// naiveChanges tells what happened to the touched keys between two states. deleted are the keys that were deleted at
// some point in between.
func naiveChanges(before, after state, deleted map[string]bool, touched []string, rev int64) (out []string) {
	for _, k := range touched {
		b, had := before[k]
		if had && deleted[k] {
			out = append(out, text(Change[version]{Key: k, Revision: rev, Deleted: true, HasBefore: true, Before: b}))
			had = false
		}
		if a, has := after[k]; has {
			out = append(out, text(Change[version]{Key: k, Revision: rev, Version: a, HasBefore: had, Before: b}))
		}
	}
	return out
}

// TestCursorModel runs random commands on a real space, with a floor that moves and reclaiming, and compares
// what cursors with random bounds return with the difference of whole states.
func TestCursorModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := mvcc.NewSpace(mvcc.Shape[version]{Size: func(string, *version) int64 { return 1 }}, 1)
		now, seq, rev := state{}, uint64(0), int64(1)
		span := rapid.SampledFrom([]Span{everything, {"a", ""}, {"b", "d"}, {"c", "\x00"}}).Draw(t, "span")
		c := NewCursor(span, 2, 0)
		var r Reader[version]
		var want, got []string // not yet returned; returned since
		read := func(t *rapid.T) {
			b := Bounds{rapid.IntRange(1, 4).Draw(t, "changes"), rapid.IntRange(1, 8).Draw(t, "entries")}
			list, err := r.Read(&c, spaceLog{space, rev}, b, nil)
			if (err != nil) != (c.Next() < space.Floor()) {
				t.Fatalf("next %d, floor %d, error %v", c.Next(), space.Floor(), err)
			}
			if err != nil {
				c, want = NewCursor(span, rev+1, 0), nil
				return
			}
			got = texts(list)
			if len(got) > len(want) {
				t.Fatalf("returned %q, want %q", got, want)
			}
			if !slices.Equal(want[:len(got)], got) {
				t.Fatalf("returned %q, want %q", got, want)
			}
			want = want[len(got):]
			if c.Next() > rev && len(want) > 0 {
				t.Fatalf("caught up, but %q was not returned", want)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"command": func(t *rapid.T) {
				rev++
				before, deleted, touched := state{}, map[string]bool{}, []string{}
				maps.Copy(before, now)
				for range rapid.IntRange(1, 6).Draw(t, "ops") {
					seq++
					k := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
					old, had := now[k]
					if had && rapid.Bool().Draw(t, "delete") {
						space.Delete(k, seq, rev, version{})
						delete(now, k)
						deleted[k] = true
					} else {
						now[k] = version{fmt.Sprint("s", seq), old.Count + 1, rev}
						space.Write(k, seq, rev, now[k])
					}
					if !slices.Contains(touched, k) && span.Contains(k) {
						touched = append(touched, k)
					}
				}
				want = append(want, naiveChanges(before, now, deleted, touched, rev)...)
			},
			"floor": func(t *rapid.T) {
				// Not to where the cursor stands: there it hides the state before, which TestFloor covers.
				if to := rapid.Int64Range(space.Floor(), rev).Draw(t, "floor"); to != c.Next() {
					space.SetFloor(to)
				}
			},
			"reclaim": func(t *rapid.T) { space.Reclaim(rapid.IntRange(1, 5).Draw(t, "steps"), seq) },
			"read":    read,
			"read2":   read,
		})
	})
}
