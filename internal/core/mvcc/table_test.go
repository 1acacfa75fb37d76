package mvcc

import (
	"fmt"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// checkTable checks the invariants of a table and returns how many keys it holds.
func checkTable(t fataler, x *table[string]) (keys int) {
	if len(x.directory) != 1<<(64-x.shift) {
		t.Fatalf("directory of %d, shift %d", len(x.directory), x.shift)
	}
	for i := 0; i < len(x.directory); {
		s := x.directory[i]
		places := 1 << (64 - x.shift - s.depth)
		for j := range places {
			if x.directory[i+j] != s {
				t.Fatalf("segment of depth %d at %d is not at %d", s.depth, i, i+j)
			}
		}
		keys += checkSegment(t, x, s, uint64(i)>>(64-x.shift-s.depth))
		i += places
	}
	return keys
}

// checkSegment checks a segment of the hashes that begin with prefix.
func checkSegment(t fataler, x *table[string], s *segment[string], prefix uint64) int {
	n := 0
	for i, c := range s.slots {
		if c.newest == nil {
			continue
		}
		n++
		if c.hash != x.hash(c.newest.key) || c.hash>>(64-s.depth) != prefix && s.depth > 0 {
			t.Fatalf("%q with hash %x stands in the segment of depth %d of %x", c.newest.key, c.hash, s.depth, prefix)
		}
		for j := c.hash; j%segmentSlots != uint64(i); j++ {
			if s.slots[j%segmentSlots].newest == nil {
				t.Fatalf("the search for %q ends at %d, it stands at %d", c.newest.key, j%segmentSlots, i)
			}
		}
	}
	if n != s.keys || n > segmentFull {
		t.Fatalf("segment counts %d keys, has %d", s.keys, n)
	}
	return n
}

// TestTableModel adds, replaces and removes runs of keys and compares with a map.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newTable[string](rapid.Uint64().Draw(t, "seed"))
		model := map[string]*Version[string]{}
		shape := keyShapes[rapid.SampledFrom([]string{"digits", "paths", "deep", "zeros", "two bytes", "nested"}).Draw(t, "shape")]
		number := rapid.IntRange(0, 9000)
		each := func(t *rapid.T, fn func(key string)) {
			from, step := number.Draw(t, "from"), rapid.SampledFrom([]int{1, 7}).Draw(t, "step")
			for i := range rapid.IntRange(1, 3000).Draw(t, "length") {
				fn(shape(from + i*step))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				each(t, func(key string) {
					v := &Version[string]{key: key}
					if old := x.get(key); old != nil {
						x.replace(old, v)
					} else {
						x.add(v)
					}
					model[key] = v
				})
			},
			"remove": func(t *rapid.T) {
				each(t, func(key string) {
					if v := x.get(key); v != nil {
						x.remove(v)
						delete(model, key)
					}
				})
			},
			"": func(t *rapid.T) {
				if n := checkTable(t, &x); n != len(model) {
					t.Fatalf("%d keys, want %d", n, len(model))
				}
				for key, v := range model {
					if x.get(key) != v || x.get(key+"\x00") != model[key+"\x00"] {
						t.Fatalf("%q is %p, want %p", key, x.get(key), v)
					}
				}
			},
		})
	})
}

// TestHashSpreads: keys that differ in one byte, anywhere, or in their length, have hashes that differ in half of their
// bits, and so do hashes of one key under two seeds.
func TestHashSpreads(t *testing.T) {
	for length := range 70 {
		key := make([]byte, length)
		for i := range key {
			key[i] = byte('a' + i%26)
		}
		one, two := newTable[string](1), newTable[string](2)
		pairs := [][2]uint64{
			{one.hash(string(key)), two.hash(string(key))},
			{one.hash(string(key)), one.hash(string(key) + "\x00")},
			{one.hash(string(key)), one.hash("\x00" + string(key))},
		}
		for i := range key {
			other := []byte(string(key))
			other[i] ^= 1
			pairs = append(pairs, [2]uint64{one.hash(string(key)), one.hash(string(other))})
		}
		for i, p := range pairs {
			if n := bits.OnesCount64(p[0] ^ p[1]); n < 10 || n > 54 {
				t.Errorf("length %d, pair %d: %d bits differ", length, i, n)
			}
		}
	}
}

// TestHashIsEven: keys in a sequence fill segments evenly, so a table of them is not larger than one of random keys.
func TestHashIsEven(t *testing.T) {
	x := newTable[string](7)
	const n = 300_000
	for i := range n {
		x.add(&Version[string]{key: fmt.Sprintf("/registry/pods/%08d", i)})
	}
	segments := map[*segment[string]]bool{}
	for _, s := range x.directory {
		segments[s] = true
	}
	if fill := float64(n) / float64(len(segments)*segmentSlots); fill < 0.55 {
		t.Errorf("%d segments for %d keys are %.2f full", len(segments), n, fill)
	}
}
