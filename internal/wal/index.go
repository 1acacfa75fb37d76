package wal

import (
	"errors"
	"slices"
	"sort"
)

// extent says where a run of entries is on disk: the batch and the record in it.
type extent struct {
	first, last, term uint64
	segment           *segment
	batchOffset       int64
	batchBytes        int64
	payloadOffset     uint32
}

// logIndex is the position of every entry that can be read, and the end of the log.
//
// Invariant: the extents are sorted and without gap, and the last one ends at last; only
// after a reset, or when older segments were released, do they not reach back to the
// beginning.
type logIndex struct {
	extents        []extent
	mark           Mark
	last, lastTerm uint64
}

var errGap = errors.New("entries do not follow the log")

// apply does what a record says. where holds the place of its batch.
func (x *logIndex) apply(c change, where extent) error {
	if c.mark {
		x.applyMark(c)
		return nil
	}
	if c.first > x.last+1 || c.first <= x.mark.Index || c.last < c.first {
		return errGap
	}
	x.truncate(c.first)
	where.first, where.last, where.term = c.first, c.last, c.term
	where.payloadOffset = c.payloadOffset
	x.extents = append(x.extents, where)
	x.last, x.lastTerm = c.last, c.term
	return nil
}

func (x *logIndex) applyMark(c change) {
	x.mark = Mark{Index: c.first, Term: c.term}
	if c.reset {
		x.extents = nil
		x.last, x.lastTerm = c.first, c.term
	}
}

// truncate drops the entries from index on.
func (x *logIndex) truncate(index uint64) {
	n := len(x.extents)
	for n > 0 && x.extents[n-1].first >= index {
		n--
	}
	clear(x.extents[n:]) // so that no segment is kept alive
	x.extents = x.extents[:n]
	if n > 0 && x.extents[n-1].last >= index {
		x.extents[n-1].last = index - 1
	}
}

// first returns the lowest index that can be read, last+1 if there is none.
func (x *logIndex) first() uint64 {
	if len(x.extents) == 0 {
		return x.last + 1
	}
	return x.extents[0].first
}

// find returns the position of the extent that holds index, len(extents) if none does.
func (x *logIndex) find(index uint64) int {
	i := sort.Search(len(x.extents), func(i int) bool { return x.extents[i].last >= index })
	if i < len(x.extents) && x.extents[i].first <= index {
		return i
	}
	return len(x.extents)
}

// term returns the term of an entry or of the mark.
func (x *logIndex) term(index uint64) (uint64, bool) {
	if i := x.find(index); i < len(x.extents) {
		return x.extents[i].term, true
	}
	switch index {
	case x.mark.Index:
		return x.mark.Term, true
	case x.last:
		return x.lastTerm, true
	}
	return 0, false
}

// forget drops the extents of a segment that is released; they are the oldest.
func (x *logIndex) forget(s *segment) {
	n := 0
	for n < len(x.extents) && x.extents[n].segment == s {
		n++
	}
	if n > 0 {
		x.extents = slices.Delete(x.extents, 0, n)
	}
}

// needs tells whether the oldest segment holds an entry above limit.
func (x *logIndex) needs(oldest *segment, limit uint64) bool {
	for i := range x.extents {
		if x.extents[i].segment != oldest {
			break
		}
		if x.extents[i].last > limit {
			return true
		}
	}
	return false
}

// gap returns the first index above the mark that is missing; ok is false if none is.
func (x *logIndex) gap() (index uint64, ok bool) {
	if x.last <= x.mark.Index || x.first() <= x.mark.Index+1 {
		return 0, false
	}
	return x.mark.Index + 1, true
}
