package watch

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSpanPrefix(t *testing.T) {
	tests := []struct {
		span   Span
		prefix string
		is     bool
	}{
		{Span{"a", "b"}, "a", true},
		{Span{"/registry/", "/registry0"}, "/registry/", true},
		{Span{"a\xff", "b"}, "a\xff", true},
		{Span{"a\xff\xff", "b"}, "a\xff\xff", true},
		{Span{"a\xfe", "a\xff"}, "a\xfe", true},
		{Span{"\x00", "\x00"}, "", true},
		{Span{"", "\x00"}, "", true},
		{Span{"a", "\x00"}, "", false},
		{Span{"\xff", "\x00"}, "", false}, // all keys with 0xff in front, but a range will do
		{Span{"a", "c"}, "", false},
		{Span{"ab", "b"}, "", false},
		{Span{"ab", "bc"}, "", false},
		{Span{"a", "aa"}, "", false},
		{Span{"b", "a"}, "", false},
		{Span{"\xff", "\x00\x00"}, "", false},
		{Span{"a", ""}, "", false},
	}
	for _, tt := range tests {
		if prefix, is := tt.span.prefix(); is != tt.is || is && prefix != tt.prefix {
			t.Errorf("%q is prefix %q (%v), want %q (%v)", tt.span, prefix, is, tt.prefix, tt.is)
		}
	}
}

func TestSpanEmpty(t *testing.T) {
	for span, want := range map[Span]bool{
		{"a", ""}: false, {"a", "\x00"}: false, {"a", "b"}: false, {"a", "a"}: true, {"b", "a"}: true,
	} {
		if span.Empty() != want {
			t.Errorf("%q is empty: %v", span, !want)
		}
	}
}

// checkTree checks order, balance and greatest ends, and returns the height.
func checkTree(t *rapid.T, n *interval[int]) int {
	if n == nil {
		return 0
	}
	l, r := checkTree(t, n.left), checkTree(t, n.right)
	end := n.group.span.End
	if n.left != nil {
		end = slices.MaxFunc([]string{end, n.left.maxEnd}, compareEnds)
		if compareSpans(n.left.group.span, n.group.span) >= 0 {
			t.Fatalf("%q is left of %q", n.left.group.span, n.group.span)
		}
	}
	if n.right != nil {
		end = slices.MaxFunc([]string{end, n.right.maxEnd}, compareEnds)
		if compareSpans(n.right.group.span, n.group.span) <= 0 {
			t.Fatalf("%q is right of %q", n.right.group.span, n.group.span)
		}
	}
	if n.height != 1+max(l, r) || l-r > 1 || r-l > 1 || n.maxEnd != end {
		t.Fatalf("node %q has height %d over %d and %d, greatest end %q, want %q", n.group.span, n.height, l, r, n.maxEnd, end)
	}
	return n.height
}

// TestInterestModel compares with asking each watch.
func TestInterestModel(t *testing.T) {
	keys := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 1, 4), func(b []byte) string { return string(b) })
	ends := rapid.OneOf(keys, rapid.SampledFrom([]string{"", "\x00", "b", "c", "a\xff"}))
	rapid.Check(t, func(t *rapid.T) {
		n := NewInterest[int]()
		watches := map[int]Span{}
		var next int
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				next++
				watches[next] = Span{keys.Draw(t, "key"), ends.Draw(t, "end")}
				n.Add(next, watches[next])
			},
			"remove": func(t *rapid.T) {
				id := rapid.IntRange(1, next+1).Draw(t, "id")
				n.Remove(id)
				delete(watches, id)
			},
			"": func(t *rapid.T) {
				key := keys.Draw(t, "changed")
				var want, got []int
				for id, s := range watches {
					if s.Contains(key) {
						want = append(want, id)
					}
				}
				n.Match(key, func(id int) { got = append(got, id) })
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("key %q wakes (-want +got):\n%s", key, diff)
				}
				checkTree(t, n.ranges.root)
				all := map[int]bool{}
				n.Each(func(id int) { all[id] = true })
				if n.Len() != len(watches) || len(all) != len(watches) {
					t.Fatalf("%d watches, want %d", n.Len(), len(watches))
				}
				if len(watches) == 0 && len(n.keys)+len(n.prefixes)+len(n.lengths) != 0 {
					t.Fatal("something is left without watches")
				}
			},
		})
	})
}
