package state

import "github.com/okapi-kv/okapi/internal/core/command"

// mortals are the paths of all containers and TTL nodes, the nodes that may be reaped. It follows from the tree, so it is
// in no snapshot and no digest. It has parts, so that looking through it can be done in bounded steps.
type mortals struct {
	parts [mortalParts]map[string]struct{}
	count int
}

const mortalParts = 256

// part returns the part that a path belongs to.
func (s *mortals) part(path string) *map[string]struct{} {
	var h uint32
	for i := range len(path) {
		h = h*31 + uint32(path[i])
	}
	return &s.parts[h%mortalParts]
}

// add adds a path.
func (s *mortals) add(path string) {
	p := s.part(path)
	s.count -= len(*p)
	*p = attach(*p, path)
	s.count += len(*p)
}

// remove drops a path that may be there.
func (s *mortals) remove(path string) {
	if s.count == 0 {
		return
	}
	p := s.part(path)
	s.count -= len(*p)
	delete(*p, path)
	s.count += len(*p)
}

// isMortal says whether nodes of a kind may be reaped.
func isMortal(k nodeKind) bool { return k == container || k == ttlNode }

// settle notes the containers and TTL nodes that a command has made and removed.
func (s *mortals) settle(m *Machine) {
	for _, path := range m.do.removed {
		s.remove(path)
	}
	for _, path := range m.do.mortals {
		if z := m.node(path); z != nil && isMortal(z.kind) {
			s.add(path)
		}
	}
}

// mayReap says whether a node has served its time (org.apache.zookeeper.server.ContainerManager): it has no children, and
//   - a container had a child once: a new one is not reaped before its first use;
//   - a TTL node was not set for longer than its TTL. Children that come and go do not count.
func (z *znode) mayReap(now int64) bool {
	switch {
	case z.children > 0:
		return false
	case z.kind == container:
		return z.creates > 0
	default:
		return z.kind == ttlNode && now-z.mtime > z.ttl
	}
}

// Reapable returns commands for nodes that may be reaped at the given time, in milliseconds since the Unix epoch: at most
// most of them, of many any. It calls Yield between steps; the commands are checked again when they are applied.
func Reapable(v View, now int64, most int) []command.Reap {
	var found []command.Reap
	for i := range v.m.mortals.parts {
		for path := range v.m.mortals.parts[i] { // in any order: nothing is decided here
			if len(found) == most {
				return found
			}
			if z := v.m.node(path); z != nil && z.mayReap(now) {
				found = append(found, command.Reap{Path: path, Czxid: z.czxid})
			}
		}
		if v.Yield != nil && len(v.m.mortals.parts[i]) > 0 {
			v.Yield()
		}
	}
	return found
}
