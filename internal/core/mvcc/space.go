package mvcc

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// Version is the state of a key from one change of it to the next. It is never changed once written, but
// for the way to its predecessor, which is cut when nobody can ask for that any more.
type Version[R any] struct {
	// Seq is the sequence number of the change.
	Seq uint64
	// Rev is the store's revision when the change was made.
	Rev int64
	// Deleted marks a tombstone: the key was deleted by this change. Its Record is what the deleter
	// wants remembered.
	Deleted bool
	// Record is what the owner of the Space keeps of a key.
	Record R

	prev *Version[R]
}

// Prev is the version before; nil if there is none or if it was reclaimed. It may be a tombstone.
func (v *Version[R]) Prev() *Version[R] { return v.prev }

// Item is one key and its chain of versions. A holder that lets the writer go on in between looks the
// Item up again: it may have been reclaimed and made anew.
type Item[R any] struct {
	key  string
	head *Version[R]
}

// Key is the item's key; it may be kept.
func (it *Item[R]) Key() string { return it.key }

// At is the version in force at seq: the newest whose Seq is not above it; nil if there is none or if it
// is a tombstone. seq must not lie below the floor and below every pinned view.
func (it *Item[R]) At(seq uint64) *Version[R] {
	v := it.head
	for v != nil && v.Seq > seq {
		v = v.prev
	}
	if v == nil || v.Deleted {
		return nil
	}
	return v
}

// Head is the newest version, nil if that is a tombstone.
func (it *Item[R]) Head() *Version[R] {
	if it.head.Deleted {
		return nil
	}
	return it.head
}

// Newest is the newest version, be it a tombstone; with Version.Prev it leads to all that is kept.
func (it *Item[R]) Newest() *Version[R] { return it.head }

// Space is one key space. There is one writer; readers may run beside each other, but not beside a
// method that changes the Space: Write, Delete, Rollback, SetFloor, Reclaim, Load and LoadDone.
// The package comment has the invariants.
type Space[R any] struct {
	size  func(key string, r *R) int64
	items map[string]*Item[R]
	index index[R]
	log   changeLog[R]

	seq uint64 // of the newest version
	rev int64  // of the newest version

	floor    int64
	floorSeq uint64 // of the newest entry that has left the log
	live     int64  // bytes of the newest versions that are no tombstones
	liveKeys int
	freeable int64 // sum of the amounts of all entries ever logged; see amount
	freed    int64 // the part of it that is below the floor

	loading []change[R] // between Load and LoadDone
}

// NewSpace returns an empty space with floor 0. size is the logical size of one version in bytes; it must
// be a function of its arguments alone.
func NewSpace[R any](size func(key string, r *R) int64) *Space[R] {
	return &Space[R]{size: size, items: make(map[string]*Item[R])}
}

// Get returns the item of a key; nil if there is none. The item of a deleted key is there until it
// is reclaimed.
func (s *Space[R]) Get(key string) *Item[R] { return s.items[key] }

// Write puts a new version of a key in front. The key is cloned if it is new; the record becomes the
// space's own and is not changed any more. seq must be above, and rev not below, all before; rev is
// not below the floor.
func (s *Space[R]) Write(key string, seq uint64, rev int64, r R) *Version[R] {
	it := s.items[key]
	if it == nil {
		return s.Insert(key, seq, rev, r).head
	}
	return s.Update(it, seq, rev, r)
}

// Update is Write for a key whose item Get has just returned: it spares the search.
func (s *Space[R]) Update(it *Item[R], seq uint64, rev int64, r R) *Version[R] {
	v := &Version[R]{Seq: seq, Rev: rev, Record: r, prev: it.head}
	s.put(it, v)
	return v
}

// Insert is Write for a key for which Get has just returned nil.
func (s *Space[R]) Insert(key string, seq uint64, rev int64, r R) *Item[R] {
	it := &Item[R]{key: strings.Clone(key)}
	s.items[it.key] = it
	s.index.set(it)
	s.Update(it, seq, rev, r)
	return it
}

// Delete puts a tombstone in front of a key that must be live. r is kept with the tombstone. seq
// and rev are as for Write.
func (s *Space[R]) Delete(key string, seq uint64, rev int64, r R) *Version[R] {
	it := s.items[key]
	invariant.Assert(it != nil && !it.head.Deleted, "only a live key is deleted")
	v := &Version[R]{Seq: seq, Rev: rev, Deleted: true, Record: r, prev: it.head}
	s.put(it, v)
	return v
}

// remove drops an item of which nothing is kept.
func (s *Space[R]) remove(it *Item[R]) {
	delete(s.items, it.key)
	s.index.remove(it)
}

// put makes v the newest version of it and logs it.
func (s *Space[R]) put(it *Item[R], v *Version[R]) {
	invariant.Assert(v.Seq > s.seq && v.Rev >= s.rev && v.Rev >= s.floor, "versions are written in order and above the floor")
	s.seq, s.rev = v.Seq, v.Rev
	it.head = v
	s.countLive(it, v, 1)
	s.log.push(change[R]{it, v}, s.freeable)
	s.freeable += s.amount(it, v)
}

// countLive adds (sign 1) or takes back (sign -1) what v, as the newest version of it, changes in the sum of
// live keys.
func (s *Space[R]) countLive(it *Item[R], v *Version[R], sign int) {
	if p := v.prev; p != nil && !p.Deleted {
		s.live -= int64(sign) * s.size(it.key, &p.Record)
		s.liveKeys -= sign
	}
	if !v.Deleted {
		s.live += int64(sign) * s.size(it.key, &v.Record)
		s.liveKeys += sign
	}
}

// amount is the history that goes when v falls below the floor, in bytes: its predecessor, which only readers
// before v needed, and v itself if it is a tombstone.
func (s *Space[R]) amount(it *Item[R], v *Version[R]) int64 {
	var n int64
	if p := v.prev; p != nil && !p.Deleted {
		n = s.size(it.key, &p.Record)
	}
	if v.Deleted {
		n += s.size(it.key, &v.Record)
	}
	return n
}

// Rollback undoes every Write and Delete with a Seq above seq, newest first, as if they had not been. No
// view may have been given out at a sequence number above seq, and nothing above it may have been
// reclaimed.
func (s *Space[R]) Rollback(seq uint64) {
	for s.log.len() > 0 {
		c := *s.log.last()
		if c.version.Seq <= seq {
			break
		}
		invariant.Assert(c.version.Rev >= s.floor, "what is undone is not below the floor")
		s.log.pop()
		s.freeable -= s.amount(c.item, c.version)
		s.countLive(c.item, c.version, -1)
		c.item.head = c.version.prev
		if h := c.item.head; h == nil || h.Deleted && !s.log.holds(h) {
			s.remove(c.item)
		}
	}
	s.seq, s.rev = s.floorSeq, s.floor
	if s.log.len() > 0 {
		v := s.log.last().version
		s.seq, s.rev = v.Seq, v.Rev
	}
}

// Ascend calls fn for each item with a key from from on, in byte order, until fn returns false. Items
// that have no version at the reader's sequence number are among them. fn must not change the space.
func (s *Space[R]) Ascend(from string, fn func(*Item[R]) bool) {
	s.index.ascend(from, fn)
}

// Len is the number of live keys.
func (s *Space[R]) Len() int { return s.liveKeys }

// LiveBytes is the size of the newest versions of the live keys.
func (s *Space[R]) LiveBytes() int64 { return s.live }

// HistoryBytes is the size of all other versions that the floor leaves readable, tombstones included. It
// does not depend on how far Reclaim has come.
func (s *Space[R]) HistoryBytes() int64 { return s.freeable - s.freed }
