package state

import (
	"math"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// rangeStore holds, at revision 9:
//
//	a=5 c2 m2 v1    b=3 c3 m8 v2    c=4 c4 m6 v2 l7    d=1 c5 m9 v3
func rangeStore(t testing.TB) *store {
	t.Helper()
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	s.put("a=5", "b=2", "c=3", "d=0")
	s.ok(&command.Put{Key: "c", Value: []byte("4"), Lease: 7})
	s.put("d=9", "b=3", "d=1")
	return s
}

func TestRange(t *testing.T) {
	type R = command.Range
	const (
		asc, desc = command.SortAscending, command.SortDescending
		from, to  = "a", "z"
	)
	a, b, c, d := "a=5 c2 m2 v1", "b=3 c3 m8 v2", "c=4 c4 m6 v2 l7", "d=1 c5 m9 v3"
	tests := []struct {
		name  string
		r     R
		want  []string
		count int64
		more  bool
	}{
		{"one key", R{Key: "b"}, []string{b}, 1, false},
		{"missing key", R{Key: "bb"}, nil, 0, false},
		{"range", R{Key: "b", End: "d"}, []string{b, c}, 2, false},
		{"from key", R{Key: "c", End: "\x00"}, []string{c, d}, 2, false},
		{"all", R{Key: "\x00", End: "\x00"}, []string{a, b, c, d}, 4, false},
		{"end is key", R{Key: "b", End: "b"}, nil, 0, false},
		{"end before key", R{Key: "c", End: "b"}, nil, 0, false},
		{"limit", R{Key: from, End: to, Limit: 2}, []string{a, b}, 4, true},
		{"limit is size", R{Key: from, End: to, Limit: 4}, []string{a, b, c, d}, 4, false},
		{"limit above size", R{Key: from, End: to, Limit: 5}, []string{a, b, c, d}, 4, false},
		{"negative limit", R{Key: from, End: to, Limit: -1}, []string{a, b, c, d}, 4, false},
		{"largest limit", R{Key: from, End: to, Limit: math.MaxInt64}, []string{a, b, c, d}, 4, false},
		{"limit of one key", R{Key: "b", Limit: 1}, []string{b}, 1, false},
		{"ascending", R{Key: from, End: to, SortOrder: asc, Limit: 1}, []string{a}, 4, true},
		{"descending", R{Key: from, End: to, SortOrder: desc}, []string{d, c, b, a}, 4, false},
		{"descending with limit", R{Key: from, End: to, SortOrder: desc, Limit: 2}, []string{d, c}, 4, true},
		{"by version", R{Key: from, End: to, SortTarget: command.SortByVersion, SortOrder: asc}, []string{a, b, c, d}, 4, false},
		{"by version, down, equal ones in key order", R{Key: from, End: to, SortTarget: command.SortByVersion, SortOrder: desc}, []string{d, b, c, a}, 4, false},
		{"by create, down", R{Key: from, End: to, SortTarget: command.SortByCreate, SortOrder: desc, Limit: 1}, []string{d}, 4, true},
		{"by mod", R{Key: from, End: to, SortTarget: command.SortByMod, SortOrder: asc}, []string{a, c, b, d}, 4, false},
		{"by value", R{Key: from, End: to, SortTarget: command.SortByValue, SortOrder: asc}, []string{d, b, c, a}, 4, false},
		{"by value with limit", R{Key: from, End: to, SortTarget: command.SortByValue, SortOrder: asc, Limit: 1}, []string{d}, 4, true},
		// With a target but no order, the first limit+1 keys are taken in key order and sorted then.
		{"target without order", R{Key: from, End: to, SortTarget: command.SortByValue}, []string{d, b, c, a}, 4, false},
		{"target without order, limit 1", R{Key: from, End: to, SortTarget: command.SortByValue, Limit: 1}, []string{b}, 4, true},
		{"target without order, limit 2", R{Key: from, End: to, SortTarget: command.SortByValue, Limit: 2}, []string{b, c}, 4, true},
		{"unknown target", R{Key: from, End: to, SortTarget: 99, SortOrder: asc}, []string{a, b, c, d}, 4, false},
		{"keys only", R{Key: "c", End: "d", KeysOnly: true}, []string{"c= c4 m6 v2"}, 1, false},
		{"keys only, one key", R{Key: "c", KeysOnly: true}, []string{"c= c4 m6 v2"}, 1, false},
		{"keys only keeps the lease if sorted by value", R{Key: "c", End: "d", KeysOnly: true, SortTarget: command.SortByValue}, []string{"c= c4 m6 v2 l7"}, 1, false},
		{"count only", R{Key: from, End: to, CountOnly: true}, nil, 4, false},
		{"count only with limit", R{Key: from, End: to, CountOnly: true, Limit: 1}, nil, 4, false},
		{"min mod", R{Key: from, End: to, MinModRevision: 8}, []string{b, d}, 4, false},
		{"max mod", R{Key: from, End: to, MaxModRevision: 6}, []string{a, c}, 4, false},
		{"min create", R{Key: from, End: to, MinCreateRevision: 4}, []string{c, d}, 4, false},
		{"max create", R{Key: from, End: to, MaxCreateRevision: 3}, []string{a, b}, 4, false},
		{"filters come before the limit", R{Key: from, End: to, MinModRevision: 6, Limit: 2}, []string{b, c}, 4, true},
		{"more is after filters", R{Key: from, End: to, MinModRevision: 8, Limit: 2}, []string{b, d}, 4, false},
		{"filters and sort", R{Key: from, End: to, MinModRevision: 6, SortTarget: command.SortByMod, SortOrder: desc, Limit: 1}, []string{d}, 4, true},
		{"a negative filter filters", R{Key: from, End: to, MaxModRevision: -1}, nil, 4, false},
		{"old revision", R{Key: from, End: to, Revision: 5}, []string{a, "b=2 c3 m3 v1", "c=3 c4 m4 v1", "d=0 c5 m5 v1"}, 4, false},
		{"older revision", R{Key: from, End: to, Revision: 3}, []string{a, "b=2 c3 m3 v1"}, 2, false},
		{"revision of the empty store", R{Key: from, End: to, Revision: 1}, nil, 0, false},
		{"present revision", R{Key: "d", Revision: 9}, []string{d}, 1, false},
		{"negative revision is now", R{Key: "d", Revision: -5}, []string{d}, 1, false},
	}
	s := rangeStore(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, code := s.get(tt.r)
			if code != OK {
				t.Fatalf("code %v", code)
			}
			same(t, "keys", brief(r.KVs), tt.want)
			if r.Count != tt.count || r.More != tt.more {
				t.Errorf("count %d, more %v; want %d, %v", r.Count, r.More, tt.count, tt.more)
			}
		})
	}
	if v := s.m.View(); v.Revision() != 9 {
		t.Errorf("revision %d, want 9", v.Revision())
	}
}

// The table of history: what can be read at which revision, before and after compactions.
func TestCompact(t *testing.T) {
	s := rangeStore(t)
	s.delete("b") // revision 10
	read := func(rev int64, want Code) {
		t.Helper()
		if _, code := s.get(command.Range{Key: "a", End: "z", Revision: rev}); code != want {
			t.Errorf("read at %d: %v, want %v", rev, code, want)
		}
	}
	if got := s.m.View().CompactRevision(); got != -1 {
		t.Errorf("compact revision of a fresh store is %d, want -1", got)
	}
	read(11, FutureRevision)
	s.refused(FutureRevision, &command.Compact{Revision: 11})
	s.refused(Compacted, &command.Compact{Revision: -1})
	s.ok(&command.Compact{Revision: 0}) // once, in a store that was never compacted
	s.refused(Compacted, &command.Compact{Revision: 0})
	read(1, OK)
	s.ok(&command.Compact{Revision: 5})
	s.refused(Compacted, &command.Compact{Revision: 5})
	s.refused(Compacted, &command.Compact{Revision: 4})
	read(4, Compacted)
	read(5, OK)
	read(0, OK)
	for s.m.Reclaim(1, s.m.View().Seq()) {
	}
	r, _ := s.get(command.Range{Key: "a", End: "z", Revision: 5})
	same(t, "at the floor", brief(r.KVs), []string{"a=5 c2 m2 v1", "b=2 c3 m3 v1", "c=3 c4 m4 v1", "d=0 c5 m5 v1"})

	s.ok(&command.Compact{Revision: 10}) // the present revision, which deleted b
	s.m.Reclaim(1000, s.m.View().Seq())
	read(9, Compacted)
	read(10, OK)
	var tombstones int
	s.m.plain.Changes(10, func(v *plainVersion) bool {
		if v.Key() == "b" && v.Deleted() {
			tombstones++
		}
		return true
	})
	if tombstones != 1 {
		t.Error("the tombstone at the floor is gone, so a watch from there would miss the deletion")
	}
	if v := s.m.View(); v.Revision() != 10 || v.CompactRevision() != 10 {
		t.Errorf("revision %d, compacted %d; want 10, 10", v.Revision(), v.CompactRevision())
	}
	s.audit()
}

// An old view goes on showing its moment while the machine runs, is compacted and reclaims.
func TestViewIsPinned(t *testing.T) {
	s := rangeStore(t)
	v := s.m.View()
	c := etcdCaller()
	before, _ := rangeAt(v, &c, &command.Range{Key: "\x00", End: "\x00"})
	s.put("a=new", "e=new")
	s.delete("b")
	s.ok(&command.Compact{Revision: 12})
	s.m.Reclaim(1000, v.Seq())
	after, code := rangeAt(v, &c, &command.Range{Key: "\x00", End: "\x00"})
	if code != OK {
		t.Fatal(code)
	}
	same(t, "pinned view", brief(after.KVs), brief(before.KVs))
	if _, code := rangeAt(v, &c, &command.Range{Key: "a", Revision: 5}); code != Compacted {
		t.Errorf("an old revision of a pinned view after a compaction: %v, want compacted", code)
	}
	if _, code := rangeAt(v, &c, &command.Range{Key: "a", Revision: 10}); code != FutureRevision {
		t.Errorf("a revision after the view: %v, want future revision", code)
	}
}

// A long read yields; a compaction that passes the revision it reads at ends it, one that does not touch
// what the view pins does not.
func TestRangeYields(t *testing.T) {
	for _, old := range []bool{false, true} {
		s := newStore(t)
		for i := range 2 * stepKeys {
			s.put(string([]byte{'k', byte(i / 128), byte(i % 128)}) + "=1")
		}
		v := s.m.View()
		yields := 0
		v.Yield = func() {
			yields++
			if yields == 1 {
				s.put("k\x00\x00=2", "zz=1")
				s.delete("k\x03\x7f")
				s.ok(&command.Compact{Revision: s.m.View().Revision()})
				s.m.Reclaim(1<<20, v.Seq())
			}
		}
		c := etcdCaller()
		r := command.Range{Key: "k", End: "\x00"}
		if old {
			r.Revision = v.Revision() - 1
		}
		res, code := rangeAt(v, &c, &r)
		switch {
		case old && code != Compacted:
			t.Errorf("read of history: %v, want compacted", code)
		case !old && (code != OK || res.Count != 2*stepKeys):
			t.Errorf("read of the view: %v %v, want %d keys", code, res, 2*stepKeys)
		}
		if yields == 0 {
			t.Error("never yielded")
		}
	}
}
