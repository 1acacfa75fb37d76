package etcd

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// hub tells watches that there is something for them to read.
//
// # Idea
//
// The replica wakes the hub when something was applied. The hub then walks the change logs from where it stood,
// asks whom each changed key concerns, and marks these watches with the revision. It keeps no events: a mark is a
// range of revisions, which the stream of the watch reads from the log when it comes to it. So what a watch
// catches up with and what happens now are read the same way, and a client that does not read costs nothing but
// the mark of each of its watches.
//
// A compaction may come right behind a change, before anybody has read it. etcd would have put the change into the
// channel of the watch by then. So the hub keeps a pin some way behind itself: the last versions can be read by
// those who were marked in time, although they lie below the floor.
//
// # Invariants
//
//   - Who joins is marked for every change of its keys above the revision that the hub had reached: it reads by
//     itself what is not above that.
//   - done is set after the marks for everything up to it: who is not marked then has nothing to read up to done.
//   - Locks are taken in this order: hub, stream, the store behind Replica.Read. Nothing is sent under any.
type hub struct {
	replica Replica
	signal  chan struct{} // has room for one

	// done is the revision up to which everybody has been marked.
	done atomic.Int64
	// kept is the moment after which all changes can still be read; nil while nobody watches.
	kept atomic.Pointer[moment]

	mu       sync.Mutex
	interest [2]*watch.Interest[*watcher] // by log
	at       [2]place                     // by log: where the hub stands
	history  state.History                // that it stands in
	feed     Feed                         // nil while nobody watches
	last     moment                       // that may be kept next
	awaiting []*watchStream               // to be woken when done is as new as the store

	found []touch // runHub's
}

// The change logs, as indexes.
const (
	logPlain = 0
	logTree  = 1
)

// logOf is the index of a log.
func logOf(tree bool) int {
	if tree {
		return logTree
	}
	return logPlain
}

// place is where the hub stands in a log: behind the change seq. reached is the highest revision of which it has
// looked at some change, and next the lowest of which it may not have looked at all.
type place struct {
	seq           uint64
	reached, next int64
}

// behind is the place behind everything at a moment.
func behind(m moment) place { return place{m.seq, m.revision, m.revision + 1} }

// forward is the place that is further on; both are of one log.
func forward(a, b place) place {
	return place{max(a.seq, b.seq), max(a.reached, b.reached), max(a.next, b.next)}
}

// moment is a view, by its numbers.
type moment struct {
	history  state.History
	seq      uint64
	revision int64
}

func momentOf(v state.View) moment {
	return moment{v.Log(false).History(), v.Seq(), v.Revision()}
}

// touch is a changed key.
type touch struct {
	key      string
	revision int64
	log      int
}

const (
	// stepEntries is how many changes are looked at in one go, under the lock of the store.
	stepEntries = 256
	// keptVersions is how many of the last versions are kept at least for those who have been marked; at most it is
	// twice as many and what comes with one step.
	keptVersions = 512
)

func newHub(r Replica) *hub {
	return &hub{
		replica: r, signal: make(chan struct{}, 1),
		interest: [2]*watch.Interest[*watcher]{watch.NewInterest[*watcher](), watch.NewInterest[*watcher]()},
	}
}

// wake says that there may be changes. It does not block.
func (h *hub) wake() {
	select {
	case h.signal <- struct{}{}:
	default: // it is awake, and has yet to look
	}
}

// runHub marks watches until ctx is done.
func (h *hub) runHub(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.signal:
		}
		for h.step() && ctx.Err() == nil {
		}
	}
}

// join adds a watch and has its stream admit it, at once.
func (h *hub) join(w *watcher, admit func(reached int64)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := w.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if h.feed == nil {
		h.open()
	}
	log := logOf(w.tree)
	h.interest[log].Add(w, w.cursor.Span())
	admit(h.at[log].reached)
}

// open begins to follow the replica at its newest view.
func (h *hub) open() {
	h.feed = h.replica.Subscribe(h.wake)
	h.replica.Read(func(v state.View) { h.last = momentOf(v) })
	now := h.last
	h.history, h.at = now.history, [2]place{behind(now), behind(now)}
	h.kept.Store(&now)
	h.done.Store(now.revision)
}

// leave removes a watch, if it is there.
func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interest[logOf(w.tree)].Remove(w)
	if h.feed != nil && h.interest[logPlain].Len()+h.interest[logTree].Len() == 0 {
		h.feed.Cancel()
		h.feed = nil
		h.kept.Store(nil)
	}
}

// disband removes all watches of a stream, which can have none from then on.
func (h *hub) disband(s *watchStream) {
	s.mu.Lock()
	s.closed = true
	watches := s.watches
	s.watches = nil
	s.mu.Unlock()
	for _, w := range watches { // one by one: there may be many, and others wait for the lock
		h.leave(w)
	}
}

// await has a stream woken once everybody has been marked for all that the store shows now.
func (h *hub) await(s *watchStream) {
	h.mu.Lock()
	h.awaiting = append(h.awaiting, s)
	h.mu.Unlock()
	h.wake()
}

// round is one look at the logs.
type round struct {
	now    moment
	wanted [2]bool // is there anybody to mark?
	to     [2]place
	whole  [2]bool // was everything looked at that the view has?
	lost   [2]bool // are changes gone that nobody has been marked for?
}

// step looks at the next changes and marks whom they concern; it says whether there may be more.
func (h *hub) step() (more bool) {
	h.mu.Lock()
	if h.feed == nil {
		h.nudgeLocked()
		h.mu.Unlock()
		return false
	}
	at, history := h.at, h.history
	var r round
	for log := range h.interest {
		r.wanted[log] = h.interest[log].Len() > 0
	}
	h.mu.Unlock()

	h.found = h.found[:0]
	h.replica.Read(func(v state.View) {
		r.now = momentOf(v)
		for log := range r.to {
			h.look(&r, v.Log(log == logTree), at[log], r.now.history != history)
		}
	})
	for i := range h.found {
		h.mark(&h.found[i])
	}
	clear(h.found) // the keys
	return h.settle(&r)
}

// look collects the changes of one log behind from. In another history, installed from a snapshot, changes that
// nobody has been marked for may be gone.
func (h *hub) look(r *round, l state.ChangeLog, from place, installed bool) {
	log := logOf(l.Tree())
	r.to[log], r.whole[log] = behind(r.now), true
	if !r.wanted[log] {
		return
	}
	if installed && l.Floor() > from.next {
		r.lost[log] = true
		return
	}
	n, to := 0, from
	l.EachAfter(from.seq, func(c *state.Change, seq uint64) bool {
		if n == stepEntries {
			r.to[log], r.whole[log] = to, false
			return false
		}
		n++
		to.seq = seq
		if c != nil {
			to.reached, to.next = c.Revision, c.Revision
			h.found = append(h.found, touch{c.Key, c.Revision, log})
		}
		return true
	})
}

// mark marks whom one change concerns. The lock is not held longer, as there may be many.
func (h *hub) mark(t *touch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[t.log].reached = max(h.at[t.log].reached, t.revision)
	h.interest[t.log].Match(t.key, func(w *watcher) { w.stream.mark(w, t.revision) })
}

// settle moves the hub to where a round has led; it says whether there may be more to look at. Watches may have come
// and gone meanwhile, and the hub may have been opened anew: it never goes back.
func (h *hub) settle(r *round) (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feed == nil {
		h.nudgeLocked()
		return false
	}
	for log, to := range r.to {
		switch {
		case !r.wanted[log] && h.interest[log].Len() > 0:
			more = true // who has come meanwhile was not looked for
			continue
		case r.lost[log]:
			from := h.at[log].next
			h.interest[log].Each(func(w *watcher) { w.stream.markLost(w, from, to.reached) })
		}
		h.at[log] = forward(h.at[log], to)
		more = more || !r.whole[log]
	}
	if more {
		return true
	}
	h.history = r.now.history
	h.done.Store(max(h.done.Load(), r.now.revision))
	h.keep(r.now)
	h.nudgeLocked()
	return false
}

// keep moves the pin on, some way behind now.
func (h *hub) keep(now moment) {
	kept := h.last
	switch {
	case now.history != h.last.history:
		kept = now // what is behind it is another history's
	case now.seq < h.last.seq+keptVersions:
		return
	}
	h.last = now
	h.kept.Store(&kept) // first: nobody may count on what the pin lets go
	h.feed.Keep(kept.seq)
}

// nudgeLocked wakes those who wait for done.
func (h *hub) nudgeLocked() {
	for _, s := range h.awaiting {
		s.wake()
	}
	clear(h.awaiting)
	h.awaiting = h.awaiting[:0]
}
