package replica

// A report may be under way for long: the member is cut off, its frames wait in a connection, one is lost and the next repeats
// it. What counts is when a client was heard of, and the leader must not take that for earlier than it was. Nobody's
// clock need agree with another's. A confirmation says in which tick of its Lessor the leader had the report, and the member
// knows when it had sent it, which was before. So what happened here some time after that sending happened in the
// leader's ticks at most as long after the tick that it named.
//
// Each report names the tick in which it is sent at the latest, its reckoning, and each id its age before that. A member that
// no confirmation of this leader has reached names none, and its ages count back from the arrival.

// paceDivisor is by what part of it a time that one member measures may be longer for another, whose clock is faster: clocks that
// are a twentieth fast and slow differ by a ninth at most.
const paceDivisor = 8

// dated is a session or lease that was heard of, with its age: how many ticks before what its report counts from that was.
type dated struct {
	id  int64
	age uint64
}

// fix is a report that a leader has confirmed: when it was sent by the clocks of this member, and in which tick of its
// Lessor the leader had it.
type fix struct {
	term uint64 // of the leader
	sent Time
	tick int64
}

// latest returns the tick of the leader in which it is now at the latest. The wall clock is asked too, as the
// monotonic one may stand still while the machine sleeps; one that was set forward only makes the tick later.
func (f fix) latest(now Time, tickMS int64) int64 {
	passed := max(0, now.MonotonicMS-f.sent.MonotonicMS, now.WallMS-f.sent.WallMS) + 1 // times are cut to milliseconds
	passed += (passed + paceDivisor - 1) / paceDivisor
	return f.tick + (passed+tickMS-1)/tickMS
}

// reckoning dates what a report holds.
type reckoning struct {
	now    Time // at which the report is sent
	tickMS int64
	fix    fix
	tick   int64 // of the leader, in which the report is sent at the latest; 0: not known
}

// reckon begins a report of the term under way.
func (k *keeper) reckon() reckoning {
	r := reckoning{now: k.m.now, tickMS: k.m.opts.TickMS}
	if k.fix.term == k.m.term() {
		r.fix, r.tick = k.fix, k.fix.latest(r.now, r.tickMS)
	}
	return r
}

// age says, rounded down, how many ticks before what the report counts from something happened here.
func (r *reckoning) age(at Time) uint64 {
	if r.tick == 0 {
		return uint64(r.passed(at))
	}
	return uint64(max(0, r.tick-r.fix.latest(at, r.tickMS)))
}

// passed returns how many ticks have passed at least since something happened here, by anybody's clock.
func (r *reckoning) passed(at Time) int64 {
	passed := max(0, r.now.MonotonicMS-at.MonotonicMS-1) // times are cut to milliseconds
	return (passed - (passed+paceDivisor-1)/paceDivisor) / r.tickMS
}
