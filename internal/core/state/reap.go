package state

import "github.com/okapi-kv/okapi/internal/core/command"

// reap deletes a container or TTL node that has served its time. Whoever proposed it saw an older state,
// so everything is checked again (org.apache.zookeeper.server.ContainerManager): it is the same node,
// it has no children, and
//   - a container had a child once: a new one is not reaped before its first use;
//   - a TTL node was not set for longer than its TTL. Children that come and go do not count.
func (m *Machine) reap(c *command.Reap) (Code, any) {
	z := m.node(c.Path)
	if z == nil || z.czxid != c.Czxid || z.children > 0 {
		return Stale, nil
	}
	used := z.kind == container && z.creates > 0
	expired := z.kind == ttlNode && m.time-z.mtime > z.ttl
	if !used && !expired {
		return Stale, nil
	}
	m.removeZnode(c.Path)
	return OK, nil
}
