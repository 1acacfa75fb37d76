package watch

import (
	"errors"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// ErrCompacted says that a cursor's next revision is below the floor of the history: changes are lost, and the
// watch ends.
var ErrCompacted = errors.New("watched history was compacted")

// Entry is one change of one key, as a change log has it. V is whatever the log's owner uses to get at
// a version.
type Entry[V any] struct {
	Key string
	// Revision is the revision of the change. Entries of one revision follow one another.
	Revision int64
	// Seq is the sequence number of the change: every entry's is above that of the one before. It is not 0.
	Seq uint64
	// Hidden says that the reader may not learn of the change, or does not want to: it only counts as one
	// that was looked at, and what follows may be left out.
	Hidden bool
	// Deleted says that the key was deleted; else Version is what was put.
	Deleted bool
	Version V
	// Live says that the key was there just before the change. HasBefore says that what it was then can
	// still be read; then Before is that.
	Live, HasBefore bool
	Before          V
}

// Log is the change log of one key space, read at one moment.
type Log[V any] interface {
	// Floor is the lowest revision whose changes can be read.
	Floor() int64
	// Head is the newest revision to read; it is complete.
	Head() int64
	// Changes calls fn for the changes of keys in order, from the first with at least that revision, which
	// is not below the floor, and with a sequence number above after, to the last of the head, until fn
	// returns false. The Entry is used again for the next call.
	Changes(revision int64, after uint64, fn func(*Entry[V]) bool)
}

// Change is what an etcd watch tells of one key at one revision: a PUT, or a DELETE if Deleted.
type Change[V any] struct {
	Key      string
	Revision int64
	// Seq and Deleted name the change among all of its key space: of a put it is the sequence number of the
	// last one in the revision, of a deletion that of the first change of the key in it.
	Seq     uint64
	Deleted bool
	// Version is what was put; the zero value for a deletion.
	Version V
	// HasBefore says that the key was there before the revision and that the state before it can still be
	// read; then Before is that state, etcd's prev_kv.
	HasBefore bool
	Before    V
}

// Filter drops kinds of changes (rpc.proto, WatchCreateRequest.FilterType).
type Filter uint8

// The filters; they can be added up.
const (
	NoPut    Filter = 1
	NoDelete Filter = 2
)

// Cursor is an etcd watch: a set of keys and the next revision to read.
//
// # Idea
//
// A watch needs no queue of its own. The log has every change above the floor, in order, so the watch is the
// number of the next revision, and reading is walking the log from there. What a slow reader costs is
// history kept for nobody; and if the floor passes it, it is told so, never silently given less.
//
// # Invariant
//
// Every change below next that the span contains was returned by Reader.Read or filtered.
type Cursor struct {
	span   Span
	filter Filter
	next   int64
}

// NewCursor returns a cursor on the keys of the span that starts at revision next, which may be in the
// future. The span's strings are kept.
func NewCursor(s Span, next int64, f Filter) Cursor {
	return Cursor{span: s, filter: f, next: next}
}

// Span returns the watched keys.
func (c *Cursor) Span() Span { return c.span }

// Next is the first revision that was not read. All changes below it were returned.
func (c *Cursor) Next() int64 { return c.next }

// Skip moves the cursor forward to revision next without reading. The caller knows that no change of
// the watched keys lies between: because Interest was asked about each of them, or because the watch
// starts with the next revision.
func (c *Cursor) Skip(next int64) { c.next = max(c.next, next) }

// Bounds says when Read stops.
type Bounds struct {
	// Changes is the number of changes to return: Read returns no more once it has as many, but it returns
	// whole revisions. Entries is the number of entries of the log to look at. Both are at least 1.
	Changes, Entries int
}

// Reader reads changes for cursors, one after the other. It is apart from the Cursor because it has the scratch space:
// there are many cursors, and few who read.
//
// A command may change a key several times at one revision, through a ZooKeeper multi for example,
// whereas etcd's clients may count on at most one version of a key in each revision. So the net effect is told: of
// several puts the last; a creation that was deleted again, not at all; and a key that was deleted and
// created anew as DELETE followed by PUT, because its version starts at 1 again.
//
// # Invariant
//
// Changes of one revision are returned by one Read, in the order in which the command first touched their keys. A
// revision may be larger than one Read may look at; then the Reader is midway, and the next Read goes on in it.
type Reader[V any] struct {
	revision int64 // under way; 0: none
	after    uint64
	touched  map[string]int // index of a key's change in the revision under way; kept to be reused
	net      []netChange[V]
}

// keptScratch is the number of changes in a revision up to which a reader keeps its scratch space.
const keptScratch = 1024

// netChange is what becomes of one key in one revision.
type netChange[V any] struct {
	key             string
	first, last     uint64 // sequence numbers
	live, hasBefore bool   // before the revision
	deleted         bool   // at some point in the revision, after having been there before it
	gone            bool   // at the end of the revision
	before, version V
}

// Midway says that the last Read ended within a revision: the next one must be for the same cursor and log, or
// follow Reset.
func (r *Reader[V]) Midway() bool { return r.revision != 0 }

// Reset forgets a revision that was begun.
func (r *Reader[V]) Reset() {
	r.revision, r.after = 0, 0
	if len(r.net) > keptScratch {
		r.net, r.touched = nil, nil
		return
	}
	clear(r.net) // an idle reader must not keep versions alive
	r.net = r.net[:0]
	clear(r.touched)
}

// Read appends the changes that follow for c, as many whole revisions as the bounds allow, and moves c on behind
// them. It has caught up when Next is above the log's Head. A cursor in the future returns nothing and
// stays. The error is ErrCompacted.
func (r *Reader[V]) Read(c *Cursor, log Log[V], b Bounds, out []Change[V]) ([]Change[V], error) {
	invariant.Assert(b.Changes > 0 && b.Entries > 0, "a read may take at least one step")
	if c.next < log.Floor() {
		r.Reset()
		return out, ErrCompacted
	}
	head := log.Head()
	if c.next > head {
		return out, nil
	}
	full, seen, stopped := len(out)+b.Changes, 0, false
	log.Changes(c.next, r.after, func(e *Entry[V]) bool {
		if e.Revision != r.revision {
			out = r.flush(c, out)
			c.next = e.Revision
			if seen >= b.Entries || len(out) >= full {
				stopped = true
				return false
			}
			r.revision = e.Revision
		}
		if seen == b.Entries {
			stopped = true
			return false
		}
		seen++
		r.after = e.Seq
		if !e.Hidden && c.span.Contains(e.Key) {
			r.note(e)
		}
		return true
	})
	if !stopped {
		out = r.flush(c, out)
		c.next = head + 1
	}
	return out, nil
}

// note takes an entry of the revision under way into account.
func (r *Reader[V]) note(e *Entry[V]) {
	i, ok := r.seenBefore(e.Key)
	if !ok {
		i = len(r.net)
		n := netChange[V]{key: e.Key, first: e.Seq, live: e.Live, hasBefore: e.HasBefore}
		if e.HasBefore {
			n.before = e.Before
		}
		r.net = append(r.net, n)
	}
	n := &r.net[i]
	n.last, n.gone, n.version = e.Seq, e.Deleted, e.Version
	n.deleted = n.deleted || e.Deleted && n.live
}

// seenBefore looks for a key among the changes of the revision under way. Most revisions have one
// change, so the map is filled only from the second on.
func (r *Reader[V]) seenBefore(key string) (int, bool) {
	if len(r.net) == 0 {
		return 0, false
	}
	if r.touched == nil {
		r.touched = map[string]int{}
	}
	for i := len(r.touched); i < len(r.net); i++ {
		r.touched[r.net[i].key] = i
	}
	i, ok := r.touched[key]
	return i, ok
}

// flush appends the net changes of the revision under way, which is whole.
func (r *Reader[V]) flush(c *Cursor, out []Change[V]) []Change[V] {
	for i := range r.net {
		n := &r.net[i]
		if n.deleted && c.filter&NoDelete == 0 {
			change := Change[V]{Key: n.key, Revision: r.revision, Seq: n.first, Deleted: true, HasBefore: n.hasBefore}
			change.Before = n.before
			out = append(out, change)
		}
		if n.gone || c.filter&NoPut != 0 {
			continue
		}
		change := Change[V]{Key: n.key, Revision: r.revision, Seq: n.last, Version: n.version}
		if n.hasBefore && !n.deleted {
			change.HasBefore, change.Before = true, n.before
		}
		out = append(out, change)
	}
	r.Reset()
	return out
}
