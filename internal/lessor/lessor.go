// Package lessor counts down the sessions and leases of a cluster on its leader.
//
// Nothing here is durable or replicated: what a session or lease is, the state machine knows; when
// it was last heard of, only the leader's Lessor does. It never ends one itself. It says whose time is
// up, and the leader, once it has proven that it still leads, proposes the expiry, which the state
// machine checks again.
//
// # Idea
//
// Time is a count of ticks. Every id has a deadline and stands in one bucket of a wheel; a keep-alive
// only stores a new deadline, and when the bucket comes up, an id whose deadline has moved goes into
// a later bucket. So a touch costs one map look-up, however many ids there are. A member that does not lead
// keeps deadlines but no wheel.
//
// An id that is forgotten, or must come up sooner, leaves its old place in the wheel behind. Such places are
// passed over when their bucket comes up, and all of them are removed as soon as they outnumber the others: a
// lease of a hundred years that is granted and revoked again and again must not fill the memory.
//
// # Invariants
//
// An id is never due before its whole TTL has passed since the last touch, because deadlines are rounded up
// and a tick never counts for more than one. A touch counts from the tick in which it happened at the latest, which may lie back:
// the news of it may be old. It never takes time away. A process that was paused advances by one tick when it
// wakes, not by the time that it missed, so it does not expire a world that it merely did not hear. An id
// that was handed out as due is frozen: it is not handed out again, and touches do not revive it, until
// the state machine has said what became of it.
package lessor

import "slices"

// Due is a session or lease whose time is up.
type Due struct {
	ID         int64
	Generation uint64
}

// entry is one session or lease.
type entry struct {
	ttl        int64 // ticks
	deadline   int64 // tick
	bucket     int64 // the tick in whose bucket the id stands; 0: in none
	generation uint64
	frozen     bool
}

// Lessor holds the deadlines. It is not safe for concurrent use.
type Lessor struct {
	tickMS  int64
	now     int64 // ticks since the start
	leading bool
	ids     map[int64]*entry
	// wheel holds ids by tick; only while leading. It has places for standing ids with a bucket and stale ones.
	wheel           map[int64][]int64
	standing, stale int
}

// New makes an empty Lessor whose ticks are tickMS milliseconds apart.
func New(tickMS int64) *Lessor {
	return &Lessor{tickMS: tickMS, ids: make(map[int64]*entry), wheel: make(map[int64][]int64)}
}

// Set adds a session or lease or changes it: it has its whole TTL from now on and is not frozen.
func (l *Lessor) Set(id, ttlMS int64, generation uint64) {
	e := l.ids[id]
	if e == nil {
		e = &entry{}
		l.ids[id] = e
	}
	e.generation, e.frozen = generation, false
	e.ttl = (ttlMS+l.tickMS-1)/l.tickMS + 1 // the tick under way is already partly over
	l.arm(id, e, l.now+e.ttl)
	l.sweep()
}

// Forget drops an id that has ended.
func (l *Lessor) Forget(id int64) {
	if e := l.ids[id]; e != nil {
		l.leave(e)
		delete(l.ids, id)
		l.sweep()
	}
}

// Reset drops everything; the holder fills it again from the state machine.
func (l *Lessor) Reset() {
	clear(l.ids)
	l.clearWheel()
}

// Now returns the tick under way, counted from the start of the Lessor.
func (l *Lessor) Now() int64 { return l.now }

// Touch gives id its whole TTL from the tick at on, or from the one under way if that is sooner. It passes over an id that is
// unknown or frozen.
func (l *Lessor) Touch(id, at int64) {
	if e := l.ids[id]; e != nil && !e.frozen {
		e.deadline = max(e.deadline, min(at, l.now)+e.ttl) // never sooner than a new leader promised
	}
}

// Over tells whether the TTL of an id is known and shorter than so many ticks: a touch that lies so far back gives it nothing.
func (l *Lessor) Over(id, ticks int64) bool {
	e := l.ids[id]
	return e != nil && ticks > e.ttl
}

// Promote starts the countdown on a new leader: everyone has the whole TTL and graceMS more, because
// keep-alives of the change of leaders may be lost.
func (l *Lessor) Promote(graceMS int64) {
	l.leading = true
	l.clearWheel()
	grace := (graceMS + l.tickMS - 1) / l.tickMS
	for id, e := range l.ids { // buckets are sorted when they come up
		e.frozen = false
		l.arm(id, e, l.now+e.ttl+grace)
	}
}

// Demote stops the countdown on a member that no longer leads.
func (l *Lessor) Demote() {
	l.leading = false
	l.clearWheel()
}

// Tick advances time by one tick and returns, in order of id, whose time is up. They are frozen.
func (l *Lessor) Tick() []Due {
	l.now++
	if !l.leading {
		return nil
	}
	ids := l.wheel[l.now]
	delete(l.wheel, l.now)
	slices.Sort(ids)
	var due []Due
	for _, id := range ids {
		e := l.ids[id]
		if e == nil || e.bucket != l.now {
			l.stale--
			continue
		}
		e.bucket = 0
		l.standing--
		if e.deadline > l.now {
			l.arm(id, e, e.deadline)
			continue
		}
		e.frozen = true
		due = append(due, Due{ID: id, Generation: e.generation})
	}
	return due
}

// Remaining returns how many milliseconds of its TTL id has left at least, and false if it is unknown. The tick from which
// its last touch counts and the one under way count as over, as nobody knows how much of them is: a whole TTL is
// left to nobody, and an id does not expire sooner than this says.
func (l *Lessor) Remaining(id int64) (ms int64, ok bool) {
	e := l.ids[id]
	if e == nil {
		return 0, false
	}
	return max(0, e.deadline-l.now-2) * l.tickMS, true
}

// Frozen tells whether id was handed out as due and its outcome is open.
func (l *Lessor) Frozen(id int64) bool {
	e := l.ids[id]
	return e != nil && e.frozen
}

// arm sets the deadline and sees that the id stands in a bucket no later than it. An earlier bucket is good
// enough: when it comes up, the id moves on.
func (l *Lessor) arm(id int64, e *entry, deadline int64) {
	e.deadline = deadline
	if !l.leading || e.bucket != 0 && e.bucket <= deadline {
		return
	}
	l.leave(e)
	e.bucket = max(deadline, l.now+1)
	l.wheel[e.bucket] = append(l.wheel[e.bucket], id)
	l.standing++
}

// leave takes an id out of its bucket; its place stays behind.
func (l *Lessor) leave(e *entry) {
	if e.bucket != 0 {
		e.bucket = 0
		l.standing--
		l.stale++
	}
}

// staleKept is how many stale places are not worth the work of removing them.
const staleKept = 1024

// sweep builds the wheel anew when most of it is stale, so each stale place is paid for once. It must not run
// while a bucket is being emptied.
func (l *Lessor) sweep() {
	if l.stale <= staleKept || l.stale <= l.standing {
		return
	}
	clear(l.wheel)
	l.stale = 0
	for id, e := range l.ids { // buckets are sorted when they come up
		if e.bucket != 0 {
			l.wheel[e.bucket] = append(l.wheel[e.bucket], id)
		}
	}
}

func (l *Lessor) clearWheel() {
	clear(l.wheel)
	l.standing, l.stale = 0, 0
	for _, e := range l.ids { // each by itself
		e.bucket = 0
	}
}
