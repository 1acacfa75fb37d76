package mvcc

import "github.com/okapi-kv/okapi/internal/core/arena"

// Version is the state of a key from one change of it to the next. It is never changed once written, but
// for the way to its predecessor, which is cut when nobody can ask for that any more.
//
// Its methods may be called on nil, which is how a key looks that nothing is kept of.
type Version[R any] struct {
	key    string
	prev   *Version[R]
	number keyNumber
	// stamp is the sequence number of the change, shifted by one; the lowest bit says that the change deleted the
	// key. So what the store keeps of a plain key fills one of the allocator's size classes, and a read of it
	// touches as little memory as it can.
	stamp uint64

	// Rev is the store's revision when the change was made.
	Rev int64
	// Record is what the owner of the Space keeps of a key; of a deleted one, what the deleter wants remembered.
	Record R
}

// stampOf packs what Version keeps in one word.
func stampOf(seq uint64, deleted bool) uint64 {
	if deleted {
		return seq<<1 | 1
	}
	return seq << 1
}

// Key is the key; it may be kept.
func (v *Version[R]) Key() string { return v.key }

// Seq is the sequence number of the change.
func (v *Version[R]) Seq() uint64 { return v.stamp >> 1 }

// Deleted says that the version is a tombstone: the key was deleted by this change.
func (v *Version[R]) Deleted() bool { return v.stamp&1 != 0 }

// Prev is the version before; nil if there is none or if it was reclaimed. It may be a tombstone.
func (v *Version[R]) Prev() *Version[R] { return v.prev }

// Live is the version itself, or nil if it is a tombstone.
func (v *Version[R]) Live() *Version[R] {
	if v == nil || v.Deleted() {
		return nil
	}
	return v
}

// At is the version in force at seq: the newest, from this one back, whose Seq is not above it; nil if there is
// none or if it is a tombstone. seq must not lie below the floor and below every pinned view.
func (v *Version[R]) At(seq uint64) *Version[R] {
	for v != nil && v.Seq() > seq {
		v = v.prev
	}
	return v.Live()
}

// Shape is what a Space has to know of the records in it.
type Shape[R any] struct {
	// Size is the logical size of one version in bytes; it must be a function of its arguments alone.
	Size func(key string, r *R) int64
	// Data is where a record refers to bytes of any number. The space copies them, so that they stand beside
	// the version, unless they are those of the version before, which are shared. Nil if records have none.
	Data func(r *R) *[]byte
}

// maker makes versions.
type maker[R any] struct {
	shape Shape[R]
	next  R // the record of the version that is being made; a field, so that Shape.Data costs no allocation
}

// version makes a version in front of prev, which may be nil, with its key and data beside it.
func (m *maker[R]) version(key string, prev *Version[R], r R) *Version[R] {
	m.next = r
	data := m.fresh(prev)
	v, room := arena.New[Version[R]](len(key) + len(data))
	v.prev, v.Record = prev, r
	if prev != nil {
		v.number = prev.number
	}
	copy(room, key)
	v.key = arena.String(room[:len(key)])
	if data != nil {
		*m.shape.Data(&v.Record) = append(room[len(key):len(key):len(room)], data...)
	}
	var none R
	m.next = none
	return v
}

// fresh returns the data of m.next if a version in front of prev has to copy them; nil if there are none or prev, which may
// be nil, has them.
func (m *maker[R]) fresh(prev *Version[R]) []byte {
	if m.shape.Data == nil {
		return nil
	}
	data := *m.shape.Data(&m.next)
	if prev != nil && same(data, *m.shape.Data(&prev.Record)) {
		return nil
	}
	return data
}

// share makes r refer to the data of prev if its own are those of before, from which prev was made.
func (m *maker[R]) share(r, before *R, prev *Version[R]) {
	if m.shape.Data == nil {
		return
	}
	if data := m.shape.Data(r); same(*data, *m.shape.Data(before)) {
		*data = *m.shape.Data(&prev.Record)
	}
}

// same says whether a and b are the same memory.
func same(a, b []byte) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }
