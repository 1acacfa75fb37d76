package mvcc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type testIndex struct {
	index[string]
	keys map[string]*item[string]
}

func newTestIndex() *testIndex { return &testIndex{keys: map[string]*item[string]{}} }

func (x *testIndex) toggle(key string) {
	if it := x.keys[key]; it != nil {
		x.remove(it)
		delete(x.keys, key)
		return
	}
	it := &item[string]{&Version[string]{key: key}}
	x.keys[key] = it
	x.set(it)
}

type fataler interface {
	Fatalf(string, ...any)
}

// check checks the invariants of the index and that it holds the keys and nothing else, and returns what
// it holds, in order.
func (x *testIndex) check(t fataler) (got []*item[string]) {
	all := bounds{top: true}
	switch {
	case x.root != nil:
		depth := -1
		if len(x.root.seps) == 0 {
			t.Fatalf("the root has an only child")
		}
		checkInner(t, x.root, all, 0, &depth, &got)
	case x.leaf != nil:
		checkLeaf(t, x.leaf, all, &got)
	}
	if len(got) != len(x.keys) {
		t.Fatalf("index holds %d items, want %d", len(got), len(x.keys))
	}
	for i, it := range got {
		if x.keys[it.head.key] != it || i > 0 && got[i-1].head.key >= it.head.key {
			t.Fatalf("item %d is %q, in the index %v", i, it.head.key, x.keys[it.head.key] == it)
		}
	}
	return got
}

func checkInner(t fataler, n *inner[string], b bounds, level int, depth *int, got *[]*item[string]) {
	if len(n.seps) != len(n.fragments) || len(n.leaves)+len(n.inners) != len(n.seps)+1 || len(n.seps) >= fanout || len(n.seps) == 0 {
		t.Fatalf("%d separators, %d fragments, %d leaves, %d inner nodes", len(n.seps), len(n.fragments), len(n.leaves), len(n.inners))
	}
	if !strings.HasPrefix(n.seps[0], n.prefix) || !strings.HasPrefix(n.seps[len(n.seps)-1], n.prefix) {
		t.Fatalf("inner node with prefix %q has separators %q", n.prefix, n.seps)
	}
	for i, s := range n.seps {
		if s < b.low || !b.top && s >= b.high || i > 0 && n.seps[i-1] >= s || n.fragments[i] != wideFragment(s, len(n.prefix)) {
			t.Fatalf("separator %q in %v, fragment %x", s, b, n.fragments[i])
		}
	}
	for i := range len(n.seps) + 1 {
		if n.leaves == nil {
			checkInner(t, n.inners[i], b.child(n.seps, i), level+1, depth, got)
			continue
		}
		if *depth >= 0 && *depth != level || n.leaves[i].n == 0 {
			t.Fatalf("leaf at level %d and %d, %d items", level, *depth, n.leaves[i].n)
		}
		*depth = level
		checkLeaf(t, n.leaves[i], b.child(n.seps, i), got)
	}
}

func checkLeaf(t fataler, l *leaf[string], b bounds, got *[]*item[string]) {
	if int(l.skip) > b.common() {
		t.Fatalf("leaf skips %d bytes in %v", l.skip, b)
	}
	for i, it := range l.items {
		if i >= int(l.n) {
			if it != nil {
				t.Fatalf("a leaf of %d items keeps one at %d", l.n, i)
			}
			continue
		}
		if it.head.key < b.low || !b.top && it.head.key >= b.high || l.fragments[i] != fragment(it.head.key, int(l.skip)) {
			t.Fatalf("key %q in %v, fragment %x", it.head.key, b, l.fragments[i])
		}
		*got = append(*got, it)
	}
}

// from lists up to n keys from a key on.
func (x *testIndex) from(key string, n int) (out []string) {
	x.ascend(key, func(it *item[string]) bool {
		out = append(out, it.head.key)
		return len(out) < n
	})
	return out
}

// keyShapes make keys that are hard on fragments: long common beginnings, short keys, zero bytes.
var keyShapes = map[string]func(i int) string{
	"digits":    func(i int) string { return fmt.Sprintf("key-%06d", i) },
	"paths":     func(i int) string { return fmt.Sprintf("/registry/pods/ns-%d/%s", i%7, fmt.Sprint(i*i)) },
	"deep":      func(i int) string { return fmt.Sprintf("/%0*d/leaf", 3+i%40, i/40) },
	"zeros":     func(i int) string { return string(make([]byte, i%300)) + string(byte(i/300)) },
	"two bytes": func(i int) string { return string([]byte{byte(i >> 8), byte(i)}) },
	"nested":    func(i int) string { return fmt.Sprint("aaaa", string(make([]byte, i%9)), "bbbb", i/9) },
}

// TestIndexGrowsAndShrinks fills an index with each shape in several orders, empties it in several
// orders, and checks it on the way.
func TestIndexGrowsAndShrinks(t *testing.T) {
	const n = 5000
	up := func(i, n int) int { return i }
	down := func(i, n int) int { return n - 1 - i }
	orders := map[string]func(i, n int) int{"up": up, "down": down, "scattered": func(i, n int) int { return i * 7919 % n }}
	for shape, key := range keyShapes {
		distinct := map[string]bool{}
		for i := range n {
			distinct[key(i)] = true
		}
		keys := make([]string, 0, n)
		for k := range distinct {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for in, first := range orders {
			for out, second := range orders {
				t.Run(fmt.Sprint(shape, " ", in, " ", out), func(t *testing.T) {
					x := newTestIndex()
					for i := range keys {
						x.toggle(keys[first(i, len(keys))])
						if i%997 == 0 {
							x.check(t)
						}
					}
					x.check(t)
					for i := range keys {
						x.toggle(keys[second(i, len(keys))])
						if i%997 == 0 {
							x.check(t)
						}
					}
					x.check(t)
				})
			}
		}
	}
}

// TestIndexFill checks how full leaves are: keys in order leave them full, wherever they go.
func TestIndexFill(t *testing.T) {
	x := newTestIndex()
	for i := range 500 {
		x.toggle(fmt.Sprintf("a%04d", i*7919%500))
		x.toggle(fmt.Sprintf("z%04d", i*7919%500))
	}
	for i := range 20000 {
		x.toggle(fmt.Sprintf("m%06d", i))
	}
	leaves := 0
	var walk func(n *inner[string])
	walk = func(n *inner[string]) {
		leaves += len(n.leaves)
		for _, c := range n.inners {
			walk(c)
		}
	}
	walk(x.root)
	if most := 21000 / fanout * 11 / 10; leaves > most {
		t.Errorf("%d leaves for 21000 keys, want at most %d", leaves, most)
	}
}

// TestIndexModel adds and removes runs and single keys, and compares ranges with a sorted list.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newTestIndex()
		shape := keyShapes[rapid.SampledFrom([]string{"digits", "paths", "deep", "zeros", "two bytes", "nested"}).Draw(t, "shape")]
		number := rapid.IntRange(0, 4000)
		t.Repeat(map[string]func(*rapid.T){
			"one": func(t *rapid.T) { x.toggle(shape(number.Draw(t, "n"))) },
			"run": func(t *rapid.T) {
				from, step := number.Draw(t, "from"), rapid.SampledFrom([]int{1, -1, 3}).Draw(t, "step")
				add := rapid.Bool().Draw(t, "add")
				for range rapid.IntRange(1, 500).Draw(t, "length") {
					if key := shape(from & 0xfff); (x.keys[key] == nil) == add {
						x.toggle(key)
					}
					from += step
				}
			},
			"scattered": func(t *rapid.T) {
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				for range 250 {
					x.toggle(shape(rng.IntN(4000)))
				}
			},
			"": func(t *rapid.T) {
				sorted := []string{}
				for _, it := range x.check(t) {
					sorted = append(sorted, it.head.key)
				}
				from := shape(number.Draw(t, "from")) + rapid.SampledFrom([]string{"", "\x00", "/", "\xff"}).Draw(t, "behind")
				want, _ := slices.BinarySearch(sorted, from)
				if got := x.from(from, 100); !slices.Equal(got, sorted[want:min(want+100, len(sorted))]) {
					t.Fatalf("from %q: %q", from, got)
				}
			},
		})
	})
}
