package sim

import (
	"maps"
	"slices"
)

// When a session or lease must have ended. Its time counts anew from whatever says that its client is there: what a member
// hears of him, a keep-alive, and a command that gives it its time, whenever that is applied. So it does when a leader comes into office. How
// long the news of a client was under way to the leader must not matter.
//
// What passes is counted in ticks of the leader, as a leader that is paused ends nothing, and nobody knows better.

// lateTicks is how many ticks of a leader that has its majority an end may take, beside lateTrips trips of frames: for the proof of the
// office, the command, frames that are lost, and clocks that differ.
const (
	lateTicks = 1000 / tickMS
	lateTrips = 6
)

// alive notes that a client was heard of, or that its session or lease was given its time.
func (m *mortals) alive(id int64) {
	if s := m.sessions[id]; s != nil {
		s.waited = min(s.waited, 0)
	}
}

// inOffice notes a new leader: it gives everybody his time and an election timeout.
func (m *mortals) inOffice() {
	for _, s := range m.sessions { // each by itself
		s.waited = -electionTicks
	}
}

// ticked counts a tick of a member against the sessions and leases that live, if it leads. Without a majority it can end none: what is
// late then has the extra time again from when there is one.
func (m *mortals) ticked(n *node) {
	if !n.up || !n.member.Status().Leads || n.member.Status().Term != m.world.check.leaders.newest {
		return
	}
	able := m.world.hasMajority(n)
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[id]
		if !s.exists || s.endedAt != 0 {
			continue
		}
		due := (s.timeoutMS+tickMS-1)/tickMS + 1
		if s.waited++; !able {
			s.waited = min(s.waited, due)
		}
		if s.waited > due+lateTicks+lateTrips*m.world.cfg.DelayHi/(tickMS*millisecond) {
			m.world.fail("session or lease %x with TTL %d ms lives %d ticks of the leader after its client was last heard of", id, s.timeoutMS, s.waited)
			return
		}
	}
}

// hasMajority tells whether a leader that works can speak with a majority of the voters that do.
func (w *World) hasMajority(leader *node) bool {
	works := func(m *node) bool {
		return m != nil && m.up && m.pausedUntil <= w.now && max(m.drive.stalledUntil, m.drive.slowUntil) <= w.now &&
			m.member.Status().Last >= leader.applied // one that needs a snapshot first may never get it
	}
	speaks := func(id uint64) bool {
		return works(w.node(id)) && !w.net.cut[link{leader.id, id}] && !w.net.cut[link{id, leader.id}]
	}
	confs := w.check.quorums.last(2) // the leader may still go by the last but one
	return works(leader) && !slices.ContainsFunc(confs, func(at confAt) bool { return !isQuorum(at.conf, speaks) })
}

// staleTouches is the planted bug StaleTouch: whom a member has heard of, with the time as of which it must be confirmed.
type staleTouches map[int64]int64

// add returns ids and those of which no report was confirmed since.
func (s *staleTouches) add(ids []int64, n *node) []int64 {
	if *s == nil {
		*s = make(staleTouches)
	}
	for _, id := range ids {
		(*s)[id] = n.clock().MonotonicMS
	}
	for id, since := range *s { // the Member sorts
		if n.member.Status().VouchedMS > since {
			delete(*s, id)
		} else if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
