package mvcc

import "github.com/okapi-kv/okapi/internal/invariant"

// Space is one key space. There is one writer; readers may run beside each other, but not beside a
// method that changes the Space: Write, Delete, Rollback, SetFloor, Reclaim, Load and LoadDone.
// The package comment has the invariants.
type Space[R any] struct {
	maker maker[R]
	keys  keyset[R]
	log   changeLog[R]
	sums  sums[R]

	seq uint64 // of the newest version
	rev int64  // of the newest version

	floor    int64
	floorSeq uint64 // of the newest entry that has left the log

	loading []*Version[R] // between Load and LoadDone
}

// NewSpace returns an empty space with floor 0. The seed decides where keys stand in the hash table, which shows nowhere; it
// should be unknown to those who choose the keys, or they can slow the table down.
func NewSpace[R any](shape Shape[R], seed uint64) *Space[R] {
	return &Space[R]{maker: maker[R]{shape: shape}, sums: sums[R]{size: shape.Size}, keys: newKeyset[R](seed)}
}

// Get returns the newest version of a key, which may be a tombstone; nil if nothing is kept of it.
func (s *Space[R]) Get(key string) *Version[R] { return s.keys.table.get(key) }

// Write puts a new version of a key in front. The key and what Shape.Data tells of are copied; the rest of the record
// becomes the space's own and is not changed any more. seq must be above, and rev not below, all before; rev is
// not below the floor.
func (s *Space[R]) Write(key string, seq uint64, rev int64, r R) *Version[R] {
	if old := s.keys.table.get(key); old != nil {
		return s.Update(old, seq, rev, r)
	}
	return s.Insert(key, seq, rev, r)
}

// Update is Write for a key of which Get has just returned old: it spares the search.
func (s *Space[R]) Update(old *Version[R], seq uint64, rev int64, r R) *Version[R] {
	v := s.maker.version(old.key, old, r)
	v.stamp, v.Rev = stampOf(seq, false), rev
	s.put(v)
	return v
}

// Insert is Write for a key for which Get has just returned nil.
func (s *Space[R]) Insert(key string, seq uint64, rev int64, r R) *Version[R] {
	v := s.maker.version(key, nil, r)
	v.stamp, v.Rev = stampOf(seq, false), rev
	s.put(v)
	return v
}

// Delete puts a tombstone in front of a key that lives. r is kept with the tombstone. seq
// and rev are as for Write.
func (s *Space[R]) Delete(key string, seq uint64, rev int64, r R) *Version[R] {
	old := s.keys.table.get(key)
	invariant.Assert(old.Live() != nil, "only a live key is deleted")
	v := s.maker.version(old.key, old, r)
	v.stamp, v.Rev = stampOf(seq, true), rev
	s.put(v)
	return v
}

// put makes v the newest version of its key.
func (s *Space[R]) put(v *Version[R]) {
	invariant.Assert(v.Seq() > s.seq && v.Rev >= s.rev && v.Rev >= s.floor, "versions are written in order and above the floor")
	if v.prev == nil {
		s.keys.admit(v)
	} else {
		s.keys.succeed(v.prev, v)
	}
	s.enter(v)
}

// enter enters a version into the log and the sums.
func (s *Space[R]) enter(v *Version[R]) {
	s.seq, s.rev = v.Seq(), v.Rev
	s.log.push(v, s.sums.freeable)
	s.sums.add(v)
}

// Rollback undoes every Write and Delete with a Seq above seq, newest first, as if they had not been. No
// view may have been given out at a sequence number above seq, and nothing above it may have been
// reclaimed.
func (s *Space[R]) Rollback(seq uint64) {
	for s.log.len() > 0 {
		v := s.log.last()
		if v.Seq() <= seq {
			break
		}
		invariant.Assert(v.Rev >= s.floor, "what is undone is not below the floor")
		s.log.pop()
		s.sums.takeBack(v)
		s.undo(v)
	}
	s.seq, s.rev = s.floorSeq, s.floor
	if s.log.len() > 0 {
		v := s.log.last()
		s.seq, s.rev = v.Seq(), v.Rev
	}
}

// undo makes the version before v the newest again, or forgets the key if nobody can see that one.
func (s *Space[R]) undo(v *Version[R]) {
	p := v.prev
	if p == nil || p.Deleted() && !s.log.holds(p) {
		s.keys.forget(v)
		return
	}
	s.keys.succeed(v, p)
}

// Ascend calls fn with the newest version of each key from from on, in byte order, until fn returns false. Keys
// that have no version at the reader's sequence number are among them. fn must not change the space.
func (s *Space[R]) Ascend(from string, fn func(newest *Version[R]) bool) {
	s.keys.ascend(from, fn)
}

// Sizes are the sizes of a space, none of which depends on how far Reclaim has come.
type Sizes struct {
	// Keys is the number of live keys.
	Keys int
	// Live is the size of their newest versions, in the bytes of Shape.Size.
	Live int64
	// History is the size of all other versions that the floor leaves readable, tombstones included.
	History int64
}

// Sizes returns the present sizes.
func (s *Space[R]) Sizes() Sizes {
	return Sizes{Keys: s.sums.liveKeys, Live: s.sums.live, History: s.sums.freeable - s.sums.freed}
}
