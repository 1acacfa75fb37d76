package state

// history is the memory of the tree's past: how many bytes it holds, and up to where it is forgotten.
//
// The tree is not compacted on request. Its floor follows the logged time: what was superseded longer ago
// than the settings say is forgotten, and earlier where history takes too much memory. So the floor only
// ever moves to a point whose time is known: a mark. A mark also holds the running total of superseded
// bytes, so that the size of what lies above the floor is a subtraction, whatever members have really
// freed by then. (The spaces count history too, but they would count the data of a node again for each
// child that it got.)
type history struct {
	total      int64 // bytes ever superseded
	floor      int64 // lowest revision that can be read; in a tree without keys, lowest sequence number
	floorTotal int64 // total when the floor's mark was made
	marks      []mark
}

// mark is a moment to which the floor can move.
type mark struct {
	time  int64 // of the entry after which it was made, ms since the epoch
	rev   int64 // newest revision then; in a tree without keys, newest sequence number
	total int64
}

const (
	// markMS is the least time between two marks, markBytes the history after which one is made
	// anyway. They bound the number of marks to about a thousand.
	markMS    = 1000
	markBytes = 1 << 20

	// historyBytes is what history may take however little lives.
	historyBytes = 64 << 20
)

// bytes returns the size of the history above the floor.
func (h *history) bytes() int64 { return h.total - h.floorTotal }

// note makes a mark if one is due.
func (h *history) note(time, rev int64) {
	if n := len(h.marks); n > 0 {
		last := &h.marks[n-1]
		if rev == last.rev || time < last.time+markMS && h.total < last.total+markBytes {
			return
		}
	}
	h.marks = append(h.marks, mark{time: time, rev: rev, total: h.total})
}

// forget moves the floor to the newest mark that is at or before the time until, and on while more than
// limit bytes lie above it.
func (h *history) forget(until, limit int64) {
	n := 0
	for n < len(h.marks) && (h.marks[n].time <= until || h.bytes() > limit) {
		h.floor, h.floorTotal = h.marks[n].rev, h.marks[n].total
		n++
	}
	h.marks = h.marks[n:]
}

// moveTreeFloor runs at the end of each entry.
func (m *Machine) moveTreeFloor() {
	if !m.bootstrapped {
		return
	}
	rev := m.revision
	if m.settings.TreePrefix == "" {
		rev = int64(m.seq)
	}
	h := &m.treeHistory
	h.note(m.time, rev)
	h.forget(m.time-m.settings.TreeHistory, max(historyBytes, m.tree.Sizes().Live/4))
	m.tree.SetFloor(h.floor)
}
