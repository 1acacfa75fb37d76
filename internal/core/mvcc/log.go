package mvcc

import "sort"

// chunkEntries is the number of entries in a chunk: 8 KiB, small enough for a space with little in
// it, large enough that the list of chunks is short.
const chunkEntries = 1024

type chunk[R any] struct {
	// before is the sum of the amounts of all entries before the first one kept in this chunk.
	before  int64
	entries [chunkEntries]*Version[R]
}

// changeLog is a queue of entries that loses old ones at the front and undone ones at the back. Positions count
// from the start of the oldest chunk, so dropping a chunk shifts them.
type changeLog[R any] struct {
	chunks []*chunk[R]
	start  int // position of the oldest entry, always in the oldest chunk
	end    int // position behind the newest entry
}

func (l *changeLog[R]) len() int { return l.end - l.start }

func (l *changeLog[R]) at(pos int) *Version[R] { return *l.place(pos) }

func (l *changeLog[R]) place(pos int) **Version[R] {
	return &l.chunks[pos/chunkEntries].entries[pos%chunkEntries]
}

func (l *changeLog[R]) first() *Version[R] { return l.at(l.start) }

func (l *changeLog[R]) last() *Version[R] { return l.at(l.end - 1) }

// push adds the newest entry. before is the sum of the amounts of all entries before it.
func (l *changeLog[R]) push(v *Version[R], before int64) {
	if l.end == len(l.chunks)*chunkEntries {
		l.chunks = append(l.chunks, &chunk[R]{before: before})
	}
	*l.place(l.end) = v
	l.end++
}

// pop takes the newest entry off.
func (l *changeLog[R]) pop() {
	l.end--
	*l.place(l.end) = nil
	if l.end == (len(l.chunks)-1)*chunkEntries && len(l.chunks) > 1 {
		l.chunks[len(l.chunks)-1] = nil
		l.chunks = l.chunks[:len(l.chunks)-1]
	}
}

// shift takes the oldest entry off; amount is that entry's.
func (l *changeLog[R]) shift(amount int64) {
	*l.place(l.start) = nil
	l.chunks[0].before += amount
	l.start++
	if l.start < chunkEntries {
		return
	}
	l.start, l.end = 0, l.end-chunkEntries
	l.chunks[0] = nil
	l.chunks = l.chunks[1:]
}

// search is the position of the first entry for which is holds, if it holds for all entries after
// that one; the end if there is none.
func (l *changeLog[R]) search(is func(*Version[R]) bool) int {
	return l.start + sort.Search(l.len(), func(i int) bool { return is(l.at(l.start + i)) })
}

// walk calls fn for each entry from position pos on, until it returns false.
func (l *changeLog[R]) walk(pos int, fn func(*Version[R]) bool) {
	for ; pos < l.end; pos++ {
		if !fn(l.at(pos)) {
			return
		}
	}
}

// holds says whether the entry of v, which was logged once and not undone, is still there.
func (l *changeLog[R]) holds(v *Version[R]) bool {
	return l.len() > 0 && l.first().Seq() <= v.Seq()
}
