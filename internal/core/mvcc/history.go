package mvcc

import (
	"cmp"
	"slices"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// Floor is the lowest revision that can be read.
func (s *Space[R]) Floor() int64 { return s.floor }

// SetFloor makes rev the lowest revision that can be read; a lower one than the present floor
// changes nothing. Memory is freed by Reclaim. Only a reader whose sequence number is pinned may go on
// reading below the floor.
func (s *Space[R]) SetFloor(rev int64) {
	if rev <= s.floor {
		return
	}
	s.floor = rev
	s.sums.freed = s.amountsBefore(s.position(rev))
}

// position is that of the first entry of the log with a Rev of at least rev.
func (s *Space[R]) position(rev int64) int {
	return s.log.search(func(v *Version[R]) bool { return v.Rev >= rev })
}

// amountsBefore is the sum of the amounts of all entries ever logged before position pos.
func (s *Space[R]) amountsBefore(pos int) int64 {
	if pos == s.log.end {
		return s.sums.freeable
	}
	i := pos / chunkEntries
	sum := s.log.chunks[i].before
	for p := max(i*chunkEntries, s.log.start); p < pos; p++ {
		sum += s.sums.amount(s.log.at(p))
	}
	return sum
}

// Reaches says whether a reader at seq finds all that it should, whatever the floor says: nothing that it needs was reclaimed.
func (s *Space[R]) Reaches(seq uint64) bool { return seq >= s.floorSeq }

// SeqAt is the last sequence number at revision rev, which must not be below the floor: the state of
// the key space at rev is that at SeqAt(rev).
func (s *Space[R]) SeqAt(rev int64) uint64 {
	invariant.Assert(rev >= s.floor, "history is read at or above the floor")
	pos := s.position(rev + 1)
	if pos == s.log.start {
		return s.floorSeq
	}
	return s.log.at(pos - 1).Seq()
}

// Changes calls fn for each entry of the log, in order, from the first with a Rev of at least fromRev, which
// must not be below the floor, until fn returns false. fn must not change the space. A reader
// at a view stops at the first version above its sequence number: it may belong to a command that
// is not finished.
func (s *Space[R]) Changes(fromRev int64, fn func(*Version[R]) bool) {
	invariant.Assert(fromRev >= s.floor, "changes are read at or above the floor")
	s.log.walk(s.position(fromRev), fn)
}

// ChangesAfter calls fn as Changes does, from the first entry with a Seq above seq. The caller has made sure that
// the changes it wants are not below the floor.
func (s *Space[R]) ChangesAfter(seq uint64, fn func(*Version[R]) bool) {
	s.log.walk(s.log.search(func(v *Version[R]) bool { return v.Seq() > seq }), fn)
}

// Reclaim frees what neither a reader at or above the floor nor one at a sequence number of at least
// oldestPinned needs. It takes at most steps entries off the log and says whether it could take
// more. Nothing that the methods of the Space tell changes by it, but for keys of which
// nothing is kept any more.
func (s *Space[R]) Reclaim(steps int, oldestPinned uint64) (more bool) {
	for ; s.reclaimable(oldestPinned); steps-- {
		if steps <= 0 {
			return true
		}
		v := s.log.first()
		s.log.shift(s.sums.amount(v))
		s.floorSeq = v.Seq()
		v.prev = nil
		if v.Deleted() && s.keys.newest(v) {
			s.keys.forget(v)
		}
	}
	return false
}

// reclaimable says whether nobody needs the oldest entry of the log.
func (s *Space[R]) reclaimable(oldestPinned uint64) bool {
	if s.log.len() == 0 {
		return false
	}
	v := s.log.first()
	return v.Rev < s.floor && v.Seq() <= oldestPinned
}

// Loaded is a version as a snapshot has it; the fields are those of Version.
type Loaded[R any] struct {
	Seq     uint64
	Rev     int64
	Deleted bool
	Record  R
}

// Load adds a key with its versions, oldest first, to a space that is being read from a snapshot and was
// empty. All is copied; a version whose data are the same memory as those of the one before shares them. Versions of
// different keys may come in any order, keys in byte order come cheapest. Until LoadDone nothing else may be called.
func (s *Space[R]) Load(key string, versions []Loaded[R]) {
	invariant.Assert(s.seq == 0 && s.keys.table.get(key) == nil, "a key is loaded once, into an empty space")
	if len(versions) == 0 {
		return
	}
	var newest *Version[R]
	for i := range versions {
		l := versions[i]
		if i > 0 {
			s.maker.share(&l.Record, &versions[i-1].Record, newest)
		}
		v := s.maker.version(key, newest, l.Record)
		v.stamp, v.Rev = stampOf(l.Seq, l.Deleted), l.Rev
		if i == 0 {
			s.keys.admit(v)
		} else {
			s.keys.succeed(newest, v)
		}
		newest = v
		s.loading = append(s.loading, v)
	}
}

// LoadDone ends loading: it puts the log together and sets the floor. Versions that the floor makes
// unreachable are dropped. floorSeq is what SeqAt(floor) was where the snapshot was taken.
func (s *Space[R]) LoadDone(floor int64, floorSeq uint64) {
	slices.SortFunc(s.loading, func(a, b *Version[R]) int { return cmp.Compare(a.Seq(), b.Seq()) })
	for _, v := range s.loading {
		s.enter(v)
	}
	s.loading = nil
	s.SetFloor(floor)
	s.Reclaim(s.log.len(), s.seq)
	s.floorSeq = max(s.floorSeq, floorSeq)
	s.seq, s.rev = max(s.seq, s.floorSeq), max(s.rev, s.floor)
}
