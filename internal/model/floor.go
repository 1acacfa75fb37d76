package model

// moment is the revision of the store after an entry, and the entry's time.
type moment struct {
	revision, timeMS int64
}

// momentMS is how far moments are apart at least, in milliseconds: the floor moves in steps. How long the
// steps are is no promise to clients, but all members must agree on them.
const momentMS = 1000

// moveTreeFloor drops the history of the tree that is older than the settings ask for: what was still
// the present TreeHistory ago, or later, stays readable. That it goes earlier when it takes very much memory
// is not modelled.
func (m *Model) moveTreeFloor() {
	if !m.booted || m.settings.TreePrefix == "" {
		return
	}
	last := moment{revision: -1, timeMS: -momentMS}
	if len(m.moments) > 0 {
		last = m.moments[len(m.moments)-1]
	}
	if m.revision > last.revision && m.timeMS-last.timeMS >= momentMS {
		m.moments = append(m.moments, moment{m.revision, m.timeMS})
	}
	floor := m.treeFloor
	for len(m.moments) > 0 && m.moments[0].timeMS <= m.timeMS-m.settings.TreeHistory {
		floor = m.moments[0].revision
		m.moments = m.moments[1:]
	}
	if floor > m.treeFloor {
		m.treeFloor = floor
		m.nodes.forget(floor)
	}
}
