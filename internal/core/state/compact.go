package state

import "github.com/okapi-kv/okapi/internal/core/command"

// compact makes the history of plain keys below a revision unreadable. Reads and watches at the revision
// itself go on. Memory is freed later, by Reclaim.
func (m *Machine) compact(c *command.Compact) (Code, any) {
	if c.Revision <= m.compacted {
		return Compacted, nil
	}
	if c.Revision > m.revision {
		return FutureRevision, nil
	}
	m.compacted = c.Revision
	m.plain.SetFloor(c.Revision)
	return OK, nil
}

// Reclaim frees up to steps versions in each space that nobody can read any more, and says whether there
// is more to free. oldestPinned is the lowest sequence number of a View still in use, or that of
// the present View. It changes nothing that a command or a reader could tell, so each member does it
// when it likes. While a snapshot is being written it does nothing: the snapshot holds the history above
// the floors of its own moment.
func (m *Machine) Reclaim(steps int, oldestPinned uint64) (more bool) {
	if m.exports > 0 {
		return false
	}
	plain := m.plain.Reclaim(steps, oldestPinned)
	tree := m.tree.Reclaim(steps, oldestPinned)
	return plain || tree
}
