package sim

import (
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// mortals proves that sessions and leases live as long as they should and no longer, and what they own with them. The rules
// of leases stand in lease.go, those of lateness in lateness.go.
type mortals struct {
	world    *World
	sessions map[int64]*sessionCheck
}

func newMortals(w *World) mortals { return mortals{world: w, sessions: map[int64]*sessionCheck{}} }

// sessionCheck is what we know of a session from its client's side.
type sessionCheck struct {
	timeoutMS int64
	heardAt   int64 // when the client was last vouched for
	closing   bool  // the client asked for its end
	lease     bool  // it is an etcd lease
	granted   bool  // the lease was there
	// leftAt is when the client asked how much time its lease has left, and left what it was told, in ms.
	left, leftAt int64
	endedAt      int64 // when it was first seen to end; 0: lives
	exists       bool  // it was made
	waited       int64 // ticks of leaders that count against its time; negative: extra time that a new leader gave
}

// leases checks that no session ends while its client has been vouched for, and no lease before its time. counts says that the one who
// has applied them is the first, or the leader, who gives those that he learns of their time from then on.
func (m *mortals) leases(changes []state.LeaseChange, counts bool) {
	for _, l := range changes {
		s := m.sessions[l.ID]
		if s == nil || s.endedAt != 0 {
			continue
		}
		if !l.Gone {
			if counts {
				s.exists, s.waited = true, min(s.waited, 0)
			}
			continue
		}
		m.world.note("session or lease %x ends", l.ID)
		s.endedAt = m.world.now
		if s.lease {
			m.endedInTime(l.ID, s)
			continue
		}
		// A member vouches for as long as a third after a report that the leader confirmed, and that
		// holds the pings up to it, four of which fit a timeout; clocks differ by at most a twentieth
		// each, and ticks are rounded.
		if !s.closing && m.world.now-s.heardAt < s.timeoutMS*millisecond*35/100 {
			m.world.fail("session %x with timeout %d ms ends %s after its client was vouched for",
				l.ID, s.timeoutMS, stamp(m.world.now-s.heardAt))
		}
	}
}

// sessionsMatch checks that sessions of living clients live, and those of dead ones are gone with all they
// owned.
func (m *mortals) sessionsMatch(v state.View) {
	for _, p := range m.world.people {
		if p.session == 0 {
			continue
		}
		s := m.sessions[p.session]
		_, lives := v.Session(p.session)
		owned := v.Ephemerals(p.session)
		switch {
		case p.dead && lives && m.world.now-s.heardAt > 3*s.timeoutMS*millisecond:
			m.world.fail("session %x of a client that is gone still lives after %s", p.session, stamp(m.world.now-s.heardAt))
		case !lives && len(owned) > 0:
			m.world.fail("nodes %v outlive their session %x", owned, p.session)
		case lives && s.endedAt != 0:
			m.world.fail("session %x lives again", p.session)
		case !lives && s.endedAt == 0:
			m.world.fail("session %x is gone, but nothing ended it", p.session)
		}
	}
}

// leasesMatch checks that leases which nobody kept are gone, and no key outlives its lease.
func (m *mortals) leasesMatch(v state.View) {
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[id]
		_, lives := v.Lease(id)
		if s.lease && lives && m.world.now-s.heardAt > 15*second {
			m.world.fail("lease %x with TTL %d ms lives %s after it was last heard of", id, s.timeoutMS, stamp(m.world.now-s.heardAt))
		}
	}
	var res state.RangeResult
	v.Range(&command.Caller{Protocol: command.Internal}, &command.Range{Key: "\x00", End: "\x00"}, &res)
	for _, kv := range res.KVs {
		if _, ok := v.Lease(kv.Lease); kv.Lease != 0 && !ok {
			m.world.fail("key %q outlives its lease %x", kv.Key, kv.Lease)
		}
	}
}
