package mvcc

import (
	"math/bits"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// table finds the newest version of a key.
//
// # Idea
//
// What a read of one key among millions costs is the number of places in memory that it has to wait for, one after the
// other: here two, the slot and the version, which holds the way to everything else. A slot holds the whole hash of its
// key, so that no other key is looked at on the way, and a table that grows need not read its keys again.
//
// The first bits of the hash choose a segment, a small table with linear probing; the last ones the slot where the
// search begins. A segment that becomes full is split by one more bit of the hash, so growing never costs more
// than a few microseconds at a time. This is extendible hashing: several entries of the directory may refer to one
// segment, until it is split.
//
// # Invariants
//
//   - The directory has 1 << (64 - shift) entries, and entry i refers to the segment of the hashes that begin with i.
//   - A segment of depth d has the hashes that share its first d bits, and stands in the directory side by side.
//   - Between the slot where the search for a key begins and the one where it stands, no slot is empty.
//   - Of a key there is at most one slot, and it refers to the newest version.
//
// # Why not simpler
//
// A map from string to pointer was there before. Its slots hold no hash, so the key has to be fetched from elsewhere to
// compare it before anything else is known, and what it finds is one more place away: docs/adr/0005 has the measurement.
type table[R any] struct {
	seed      uint64
	shift     uint8
	directory []*segment[R]
}

const (
	// segmentSlots is the number of slots in a segment, a power of two: 16 KiB of them.
	segmentSlots = 1024
	// segmentFull is how many of them may be taken: with three quarters, a search that finds nothing looks at 8 slots on
	// average, in one or two lines of the cache.
	segmentFull = segmentSlots * 3 / 4
)

type segment[R any] struct {
	depth uint8 // how many bits its hashes share
	keys  int
	slots [segmentSlots]slot[R]
}

// slot is empty if it has no version.
type slot[R any] struct {
	hash   uint64
	newest *Version[R]
}

// newTable makes an empty table. The seed should be unknown to those who choose the keys: see hash.
func newTable[R any](seed uint64) table[R] {
	return table[R]{seed: seed, shift: 64, directory: []*segment[R]{{}}}
}

// get returns the newest version of a key; nil if there is none.
func (t *table[R]) get(key string) *Version[R] {
	h := t.hash(key)
	s := t.directory[h>>t.shift]
	for i := h; ; i++ {
		c := &s.slots[i%segmentSlots]
		if c.newest == nil {
			return nil
		}
		if c.hash == h && c.newest.key == key {
			return c.newest
		}
	}
}

// add puts the first version of a key in that is not there.
func (t *table[R]) add(v *Version[R]) {
	h := t.hash(v.key)
	s := t.directory[h>>t.shift]
	for s.keys == segmentFull {
		t.split(s, h)
		s = t.directory[h>>t.shift]
	}
	s.add(slot[R]{h, v})
}

// replace puts one version of a key in the place of another.
func (t *table[R]) replace(old, v *Version[R]) {
	h := t.hash(old.key)
	s := t.directory[h>>t.shift]
	s.slots[s.find(h, old)].newest = v
}

// remove takes a key out, of which v is the newest version.
func (t *table[R]) remove(v *Version[R]) {
	h := t.hash(v.key)
	s := t.directory[h>>t.shift]
	s.remove(s.find(h, v))
}

// split divides a full segment, to which hash h belongs, by the next bit.
func (t *table[R]) split(s *segment[R], h uint64) {
	invariant.Assert(s.depth < 48, "so many keys have hashes with the same beginning only if somebody knows the seed")
	if s.depth == 64-t.shift {
		t.double()
	}
	low, high := &segment[R]{depth: s.depth + 1}, &segment[R]{depth: s.depth + 1}
	bit := uint64(1) << (63 - s.depth)
	for _, c := range s.slots {
		switch {
		case c.newest == nil:
		case c.hash&bit == 0:
			low.add(c)
		default:
			high.add(c)
		}
	}
	// The segment stands in all entries that begin with its bits: half of them are now low's, the others high's.
	places := 1 << (64 - t.shift - s.depth)
	first := int(h>>t.shift) &^ (places - 1)
	for i := range places / 2 {
		t.directory[first+i], t.directory[first+places/2+i] = low, high
	}
}

// double makes the directory longer by one bit.
func (t *table[R]) double() {
	longer := make([]*segment[R], 2*len(t.directory))
	for i, s := range t.directory {
		longer[2*i], longer[2*i+1] = s, s
	}
	t.directory = longer
	t.shift--
}

// add puts a slot in, for which there is room.
func (s *segment[R]) add(c slot[R]) {
	i := c.hash
	for s.slots[i%segmentSlots].newest != nil {
		i++
	}
	s.slots[i%segmentSlots] = c
	s.keys++
}

// find returns the place of a version that is there.
func (s *segment[R]) find(h uint64, v *Version[R]) uint64 {
	for i := h; ; i++ {
		switch s.slots[i%segmentSlots].newest {
		case v:
			return i % segmentSlots
		case nil:
			invariant.Assert(false, "a version that is replaced or removed is the newest of its key")
		}
	}
}

// remove empties the slot at place i. Those behind it that began their search at or before it move up, so that no
// search ends too early.
func (s *segment[R]) remove(i uint64) {
	s.keys--
	for j := i + 1; ; j++ {
		c := s.slots[j%segmentSlots]
		if c.newest == nil {
			s.slots[i%segmentSlots] = slot[R]{}
			return
		}
		if (j-c.hash)%segmentSlots >= (j-i)%segmentSlots {
			s.slots[i%segmentSlots] = c
			i = j
		}
	}
}

// Odd constants with about half of their bits set, drawn at random once.
const (
	mixA uint64 = 0xa3c59ac2f1d4b60b
	mixB uint64 = 0x6ed19b4c8f35a7e3
)

// hash folds 128-bit products of 8-byte words. Who does not know the seed cannot choose keys that collide, so keys
// made by an adversary do not slow the table down. It is no part of the state: nothing shows in which order
// hashes stand.
func (t *table[R]) hash(key string) uint64 {
	h := t.seed ^ uint64(len(key))
	i := 0
	for ; i+16 < len(key); i += 16 {
		h = mix(word(key[i:i+8])^h, word(key[i+8:i+16])^mixA)
	}
	var a, b uint64
	switch rest := key[i:]; {
	case len(rest) >= 8: // the two words overlap
		a, b = word(rest[:8]), word(rest[len(rest)-8:])
	default:
		for j := range len(rest) {
			a = a<<8 | uint64(rest[j])
		}
	}
	return mix(mix(a^h, b^mixA)^t.seed, mixB)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// word reads eight bytes, lowest first.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
