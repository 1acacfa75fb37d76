package sim

import (
	"runtime/debug"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// checks is everything that must hold, one checker for each promise, each in the file that is named for it. They believe nobody: they keep
// their own record of what was applied, acknowledged and synced.
type checks struct {
	world *World

	leaders   oneLeader
	answers   answers
	log       sameLog
	state     sameState
	progress  progress
	acked     acknowledged
	order     realTime
	registers registers
	mortals   mortals
	quorums   quorums
	service   service

	crashes, changed, watched int // for the report
}

func newChecks(w *World) *checks {
	c := &checks{world: w}
	c.leaders = newOneLeader(w)
	c.answers = answers{world: w}
	c.log = newSameLog(w)
	c.state = newSameState(w)
	c.progress = newProgress(w)
	c.acked = newAcknowledged(w)
	c.order = realTime{world: w}
	c.registers = registers{world: w}
	c.mortals = newMortals(w)
	c.quorums = quorums{world: w}
	c.service = newService(w)
	return c
}

// stepped looks at a member after each of its steps.
func (c *checks) stepped(n *node) {
	if c.leaders.stepped(n) {
		c.mortals.inOffice()
	}
	c.progress.stepped(n)
}

// end checks what must hold once the cluster has healed.
func (c *checks) end() {
	w := c.world
	c.service.end()
	if w.failure != nil {
		return
	}
	if w.cfg.Seed%10 == 0 {
		c.registers.linearizable()
	}
	c.acked.end()
	w.current()[0].store.Read(func(v state.View) {
		c.order.readsMatch(v)
		c.mortals.sessionsMatch(v)
		c.mortals.leasesMatch(v)
		c.mortals.leaseKeysGoTogether(v)
		c.watchesMatch(v)
	})
}

func stack() []byte { return debug.Stack() }
