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
	index
	numbers map[string]keyNumber
	names   []string
}

func newTestIndex() *testIndex {
	x := &testIndex{numbers: map[string]keyNumber{}}
	x.keys = func(n keyNumber) string { return x.names[n] }
	return x
}

func (x *testIndex) toggle(key string) {
	if n, ok := x.numbers[key]; ok {
		x.remove(key, n)
		delete(x.numbers, key)
		return
	}
	n := keyNumber(len(x.names))
	x.names = append(x.names, key)
	x.numbers[key] = n
	x.set(key, n)
}

type fataler interface {
	Fatalf(string, ...any)
}

// check checks the invariants of the index and that it holds the keys and nothing else, and returns what
// it holds, in order.
func (x *testIndex) check(t fataler) (got []string) {
	all := bounds{top: true}
	c := checker{t, x, -1, nil}
	switch {
	case x.root != nil:
		if len(x.root.seps) == 0 {
			t.Fatalf("the root has an only child")
		}
		c.inner(x.root, all, 0)
	case x.leaf != nil:
		c.leaf(x.leaf, all)
	}
	if len(c.got) != len(x.numbers) {
		t.Fatalf("index holds %d keys, want %d", len(c.got), len(x.numbers))
	}
	for i, key := range c.got {
		if i > 0 && c.got[i-1] >= key {
			t.Fatalf("key %d is %q, behind %q", i, key, c.got[i-1])
		}
	}
	return c.got
}

// checker walks an index.
type checker struct {
	t     fataler
	x     *testIndex
	depth int // of the leaves; -1 before the first
	got   []string
}

func (c *checker) inner(n *inner, b bounds, level int) {
	t := c.t
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
			c.inner(n.inners[i], b.child(n.seps, i), level+1)
			continue
		}
		if c.depth >= 0 && c.depth != level || n.leaves[i].n == 0 {
			t.Fatalf("leaf at level %d and %d, %d keys", level, c.depth, n.leaves[i].n)
		}
		c.depth = level
		c.leaf(n.leaves[i], b.child(n.seps, i))
	}
}

func (c *checker) leaf(l *leaf, b bounds) {
	if int(l.skip) > b.common() {
		c.t.Fatalf("leaf skips %d bytes in %v", l.skip, b)
	}
	for i, n := range l.numbers[:l.n] {
		key := c.x.names[n]
		if key < b.low || !b.top && key >= b.high || l.fragments[i] != fragment(key, int(l.skip)) || c.x.numbers[key] != n {
			c.t.Fatalf("key %q, number %d, in %v, fragment %x", key, n, b, l.fragments[i])
		}
		c.got = append(c.got, key)
	}
}

// from lists up to n keys from a key on.
func (x *testIndex) from(key string, n int) (out []string) {
	x.ascend(key, func(number keyNumber) bool {
		out = append(out, x.names[number])
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
	var walk func(n *inner)
	walk = func(n *inner) {
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
					key := shape(from & 0xfff)
					if _, there := x.numbers[key]; there != add {
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
				sorted := x.check(t)
				from := shape(number.Draw(t, "from")) + rapid.SampledFrom([]string{"", "\x00", "/", "\xff"}).Draw(t, "behind")
				want, _ := slices.BinarySearch(sorted, from)
				if got := x.from(from, 100); !slices.Equal(got, sorted[want:min(want+100, len(sorted))]) {
					t.Fatalf("from %q: %q", from, got)
				}
			},
		})
	})
}
