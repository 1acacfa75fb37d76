package mvcc

// keyNumber stands for a key of which something is kept. It is that of no other key until all is forgotten.
type keyNumber uint32

// heads leads from the number of a key to its newest version.
//
// # Idea
//
// The ordered index leads to a key's newest version, and must not be touched by an update; so there has to be a place between
// them, and versions have to know it. If they did so by pointers, the garbage collector would follow all of these in each cycle,
// to places all over the memory, for which it has to wait. They hold a number, at which it does not look, and of all
// keys in order it sees nothing but this list.
//
// # Invariants
//
//   - A number that is in use has a version; one that is free has none.
//   - Every number below chunks * headsPerChunk is in use or free.
//
// # Why not simpler
//
// A small object for each key, to which the index and each version referred, was there before: docs/adr/0007 has the
// measurement, and that of a hash table that holds numbers as well.
type heads[R any] struct {
	chunks []*[headsPerChunk]*Version[R]
	free   []keyNumber
}

// headsPerChunk is the number of versions in a chunk: 8 KiB.
const headsPerChunk = 1024

func (h *heads[R]) place(n keyNumber) **Version[R] {
	return &h.chunks[n/headsPerChunk][n%headsPerChunk]
}

// at is the newest version of the key with number n.
func (h *heads[R]) at(n keyNumber) *Version[R] { return *h.place(n) }

// key is the key with number n.
func (h *heads[R]) key(n keyNumber) string { return h.at(n).key }

// set makes v the newest version of its key.
func (h *heads[R]) set(v *Version[R]) { *h.place(v.number) = v }

// admit gives the first version of a key that is not there the number of the key.
func (h *heads[R]) admit(v *Version[R]) {
	if len(h.free) == 0 {
		h.grow()
	}
	last := len(h.free) - 1
	v.number, h.free = h.free[last], h.free[:last]
	h.set(v)
}

// grow makes a chunk of free numbers, of which the lowest is used first.
func (h *heads[R]) grow() {
	first := keyNumber(len(h.chunks) * headsPerChunk)
	h.chunks = append(h.chunks, new([headsPerChunk]*Version[R]))
	for i := range keyNumber(headsPerChunk) {
		h.free = append(h.free, first+headsPerChunk-1-i)
	}
}

// release forgets the key with number n.
func (h *heads[R]) release(n keyNumber) {
	*h.place(n) = nil
	h.free = append(h.free, n)
}
