package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
)

// What etcd clients do with leases, and what must hold of them.

// inquiries are the questions about leases that clients of one member have asked.
type inquiries struct {
	node *node
	last uint64
	open map[uint64]func(replica.Answer, error)
}

// ask asks the leader about one lease.
func (q *inquiries) ask(id int64, renew bool, done func(replica.Answer, error)) {
	n := q.node
	if n.world.cfg.Bug == LocalKeepAlive && renew {
		n.later(0, func() { done(replica.Answer{Known: true}, nil) })
		return
	}
	q.last++
	number := q.last
	q.open[number] = done
	n.later(patience, func() {
		if q.open[number] != nil {
			delete(q.open, number)
			n.step(replica.GiveUp{Number: number})
			done(replica.Answer{}, replica.ErrTimeout)
		}
	})
	if renew {
		n.world.check.mortals.alive(id)
	}
	n.step(replica.Ask{Number: number, IDs: []int64{id}, Renew: renew})
}

// answered hands answers to the clients who wait for them.
func (q *inquiries) answered(answers []replica.Answer) {
	for _, a := range answers {
		if done := q.open[a.Number]; done != nil {
			delete(q.open, a.Number)
			done(a, nil)
		}
	}
}

// fail ends all questions.
func (q *inquiries) fail(err error) {
	open := q.open
	q.open = make(map[uint64]func(replica.Answer, error))
	for _, number := range sortedKeys(open) {
		open[number](replica.Answer{}, err)
	}
}

// leaseKeys is under how many keys a client puts with its lease. Nobody deletes them.
const leaseKeys = 3

// leaseOp is one of the things that clients do with leases one after the other.
func (c *client) leaseOp(op int, n *node) {
	w := c.world
	switch {
	case c.lease == 0 || w.chance(0.3):
		c.grant(op, n)
	case w.chance(0.1):
		w.check.mortals.sessions[c.lease].closing = true
		c.write(op, n, &command.LeaseRevoke{ID: c.lease}, "", "")
		c.lease = 0
	default:
		key := fmt.Sprintf("l%d.%d", c.name, w.rng.IntN(leaseKeys))
		c.write(op, n, &command.Put{Key: key, Value: c.value(), Lease: c.lease}, "", "")
	}
}

// grant makes a lease that the client keeps alive until it makes another, or tires of it.
func (c *client) grant(op int, n *node) {
	w := c.world
	id, ttl := int64(w.rng.Uint64()>>1), 1+w.rng.Int64N(4)
	s := &sessionCheck{timeoutMS: ttl * 1000, heardAt: w.now, lease: true}
	w.check.mortals.sessions[id] = s
	n.propose(command.Caller{Protocol: command.Etcd}, &command.LeaseGrant{ID: id, TTL: ttl}, func(r state.Result, err error) {
		if err == nil && r.Code == state.OK {
			s.granted, c.lease = true, id
			wait := w.between(0, ttl*second/2)
			if w.chance(0.5) {
				wait = 0 // the leader may not yet have applied what this member has
			}
			w.after(wait, func() { c.keepAlive(id) })
		}
		c.answered(op)
	})
}

// keepAlive keeps a lease alive, through whatever member is there, as long as the client has it.
func (c *client) keepAlive(id int64) {
	w := c.world
	s := w.check.mortals.sessions[id]
	if c.dead || c.lease != id || w.now > w.cfg.FaultTime+w.cfg.HealTime-17*second || w.chance(0.02) {
		return
	}
	w.after(s.timeoutMS*millisecond/3, func() { c.keepAlive(id) })
	n := c.somebody()
	if n == nil {
		return
	}
	asked := w.now
	if w.chance(0.2) {
		n.inquiries.ask(id, false, func(a replica.Answer, err error) { w.check.mortals.looked(id, asked, a, err) })
		return
	}
	if w.chance(0.05) {
		unknown := int64(w.rng.Uint64() >> 1)
		n.inquiries.ask(unknown, true, func(a replica.Answer, err error) {
			if err == nil && a.Known {
				w.fail("lease %x was never granted, but is kept alive", unknown)
			}
		})
	}
	n.inquiries.ask(id, true, func(a replica.Answer, err error) { w.check.mortals.renewed(id, asked, a, err) })
}

// renewed notes the answer to a keep-alive, which was asked for at a time.
func (m *mortals) renewed(id, asked int64, a replica.Answer, err error) {
	s := m.sessions[id]
	switch {
	case err != nil:
	case !a.Known:
		m.mustHaveEnded(id, s)
	default:
		s.heardAt = max(s.heardAt, asked)
		m.endedInTime(id, s)
	}
}

// looked notes the answer to the question how much time a lease has.
func (m *mortals) looked(id, asked int64, a replica.Answer, err error) {
	s := m.sessions[id]
	switch {
	case err != nil:
	case !a.Known:
		m.mustHaveEnded(id, s)
	case a.LeftMS < 0 || a.LeftMS > s.timeoutMS+electionTicks*tickMS:
		m.world.fail("lease %x with TTL %d ms is said to have %d ms left", id, s.timeoutMS, a.LeftMS)
	default:
		s.left, s.leftAt = a.LeftMS, asked
		m.endedInTime(id, s)
	}
}

// mustHaveEnded checks that a lease of which a client was told that it is not there has indeed ended.
func (m *mortals) mustHaveEnded(id int64, s *sessionCheck) {
	if s.granted && s.endedAt == 0 {
		m.world.fail("a client is told that lease %x is gone, but nothing has ended it", id)
	}
}

// endedInTime checks that a lease, unless it was revoked, did not end before what its client was told: it had its whole
// TTL when the last keep-alive that was confirmed was asked for, and so much left when that was asked. Clocks differ by
// at most a twentieth.
func (m *mortals) endedInTime(id int64, s *sessionCheck) {
	if s.endedAt == 0 || s.closing {
		return
	}
	if s.endedAt-s.heardAt < s.timeoutMS*millisecond*94/100 {
		m.world.fail("lease %x with TTL %d ms ends %s after the keep-alive that was confirmed was asked for", id, s.timeoutMS, stamp(s.endedAt-s.heardAt))
	}
	if s.endedAt-s.leftAt < s.left*millisecond*94/100 {
		m.world.fail("lease %x ends %s after it was said to have %d ms left", id, stamp(s.endedAt-s.leftAt), s.left)
	}
}

// leaseKeysGoTogether checks in the history that all keys of a lease which ends vanish at one revision.
func (m *mortals) leaseKeysGoTogether(v state.View) {
	leaseOf := map[string]int64{}
	ending := map[int64]string{} // leases whose keys go at the revision under way, with one of the keys
	at := int64(0)
	settle := func() {
		for _, key := range slices.Sorted(maps.Keys(leaseOf)) {
			if first, ends := ending[leaseOf[key]]; ends {
				m.world.fail("key %q of lease %x goes at revision %d, but key %q stays", first, leaseOf[key], at, key)
			}
		}
		clear(ending)
	}
	v.Log(false).Each(1, func(change *state.Change) bool {
		if change.Revision != at {
			settle()
			at = change.Revision
		}
		switch {
		case change.Key[0] != 'l':
		case change.Deleted:
			ending[leaseOf[change.Key]] = change.Key
			delete(leaseOf, change.Key)
		default:
			leaseOf[change.Key] = change.KeyValue().Lease
		}
		return true
	})
	settle()
}
