package watch

import (
	"errors"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// ErrCompacted says that a cursor's next revision is below the floor of the history: changes are lost, and the
// watch ends.
var ErrCompacted = errors.New("watched history was compacted")

// Entry is one change of one key, as a change log has it. V is whatever the log's owner uses to get at
// a version, a pointer as a rule.
type Entry[V any] struct {
	Key string
	// Revision is the revision of the change. Entries of one revision follow one another.
	Revision int64
	// Deleted says that the key was deleted; else Version is what was put.
	Deleted bool
	Version V
	// Live says that the key was there just before the change; then Before is what it was.
	Live   bool
	Before V
}

// Log is the change log of one key space, read at one moment.
type Log[V any] interface {
	// Floor is the lowest revision that can be read.
	Floor() int64
	// Head is the newest revision; it is complete.
	Head() int64
	// Changes calls fn for the changes of keys in order, from the first with at least that revision, which
	// is not below the floor, to the last of the head, until fn returns false.
	Changes(revision int64, fn func(Entry[V]) bool)
}

// Change is what an etcd watch tells of one key at one revision: a PUT, or a DELETE if Deleted.
type Change[V any] struct {
	Key      string
	Revision int64
	Deleted  bool
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
// A command may change a key several times at one revision, through a ZooKeeper multi for example,
// whereas etcd's clients may count on at most one version of a key in each revision. So the net effect is told: of
// several puts the last; a creation that was deleted again, not at all; and a key that was deleted and
// created anew as DELETE followed by PUT, because its version starts at 1 again.
//
// # Invariants
//
//   - Every change below next that the span contains was returned or filtered.
//   - Changes of one revision are returned by one Read, in the order in which the command first touched their keys.
type Cursor[V any] struct {
	span   Span
	filter Filter
	next   int64

	touched map[string]int // index of a key's change in the revision under way; kept to be reused
	net     []netChange[V]
}

// keptScratch is the number of changes in a revision up to which a cursor keeps its scratch space.
const keptScratch = 64

// netChange is what becomes of one key in one revision.
type netChange[V any] struct {
	first, last Entry[V]
	deleted     bool // at some point in the revision, after having been there before it
}

// NewCursor returns a cursor on the keys of the span that starts at revision next, which may be in the
// future. The span's strings are kept.
func NewCursor[V any](s Span, next int64, f Filter) *Cursor[V] {
	return &Cursor[V]{span: s, filter: f, next: next}
}

// Span returns the watched keys.
func (c *Cursor[V]) Span() Span { return c.span }

// Next is the first revision that was not read. All changes below it were returned.
func (c *Cursor[V]) Next() int64 { return c.next }

// Skip moves the cursor forward to revision next without reading. The caller knows that no change of
// the watched keys lies between: because Interest was asked about each of them, or because the watch
// starts with the next revision.
func (c *Cursor[V]) Skip(next int64) { c.next = max(c.next, next) }

// Bounds says when Read stops. It stops only between revisions, so it may exceed both.
type Bounds struct {
	// Changes is the number of changes to return; Entries the number of entries of the log to look at. Both
	// are at least 1.
	Changes, Entries int
}

// Read appends the changes that follow to out, as many whole revisions as the bounds allow, and moves on behind
// them. It has caught up when Next is above the log's Head. A cursor in the future returns nothing and
// stays. The error is ErrCompacted.
func (c *Cursor[V]) Read(log Log[V], b Bounds, out []Change[V]) ([]Change[V], error) {
	invariant.Assert(b.Changes > 0 && b.Entries > 0, "a read may take at least one step")
	floor, head := log.Floor(), log.Head()
	if c.next < floor {
		return out, ErrCompacted
	}
	if c.next > head {
		return out, nil
	}
	start, seen, revision, stopped := len(out), 0, int64(0), false
	log.Changes(c.next, func(e Entry[V]) bool {
		if e.Revision != revision {
			out = c.flush(floor, out)
			if len(out)-start >= b.Changes || seen >= b.Entries {
				c.next, stopped = e.Revision, true
				return false
			}
			revision = e.Revision
		}
		seen++
		if c.span.Contains(e.Key) {
			c.note(e)
		}
		return true
	})
	if !stopped {
		out = c.flush(floor, out)
		c.next = head + 1
	}
	return out, nil
}

// note takes an entry of the revision under way into account.
func (c *Cursor[V]) note(e Entry[V]) {
	if i, ok := c.seenBefore(e.Key); ok {
		n := &c.net[i]
		n.last = e
		n.deleted = n.deleted || e.Deleted && n.first.Live
		return
	}
	c.net = append(c.net, netChange[V]{first: e, last: e, deleted: e.Deleted && e.Live})
}

// seenBefore looks for a key among the changes of the revision under way. Most revisions have one
// change, so the map is filled only from the second on.
func (c *Cursor[V]) seenBefore(key string) (int, bool) {
	if len(c.net) == 0 {
		return 0, false
	}
	if c.touched == nil {
		c.touched = map[string]int{}
	}
	for i := len(c.touched); i < len(c.net); i++ {
		c.touched[c.net[i].first.Key] = i
	}
	i, ok := c.touched[key]
	return i, ok
}

// flush appends the net changes of the revision under way.
func (c *Cursor[V]) flush(floor int64, out []Change[V]) []Change[V] {
	for i := range c.net {
		n := &c.net[i]
		before := n.first.Live && n.first.Revision > floor // else the revision before it is compacted
		if n.deleted && c.filter&NoDelete == 0 {
			change := Change[V]{Key: n.first.Key, Revision: n.first.Revision, Deleted: true, HasBefore: before}
			if before {
				change.Before = n.first.Before
			}
			out = append(out, change)
		}
		if n.last.Deleted || c.filter&NoPut != 0 {
			continue
		}
		change := Change[V]{Key: n.last.Key, Revision: n.last.Revision, Version: n.last.Version}
		if before && !n.deleted {
			change.HasBefore, change.Before = true, n.first.Before
		}
		out = append(out, change)
	}
	if len(c.net) > keptScratch {
		c.net, c.touched = nil, nil
		return out
	}
	clear(c.net) // an idle cursor must not keep versions alive
	c.net = c.net[:0]
	clear(c.touched)
	return out
}
