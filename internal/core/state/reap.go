package state

import "github.com/okapi-kv/okapi/internal/core/command"

// reap deletes a container or TTL node that has served its time. Whoever proposed it saw an older state,
// so everything is checked again.
func (m *Machine) reap(c *command.Reap) (Code, any) {
	z := m.node(c.Path)
	if z == nil || z.czxid != c.Czxid || !z.mayReap(m.time) {
		return Stale, nil
	}
	m.removeZnode(c.Path)
	return OK, nil
}
