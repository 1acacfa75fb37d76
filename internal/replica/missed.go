package replica

// missed makes a member miss a leader as soon as it is known that its process has ended.
type missed struct {
	// term is the last one whose leader was missed so.
	term uint64
}

// ended spends the time in which m would have to hear of its leader, if that is the member whose process has ended. What is left to wait is what
// chance adds to the election timeout, so that members do not stand for election at once. A leader is missed once in a term:
// one that was started again in time may go on. Should the news be wrong, those who hear of the leader refuse their vote.
func (x *missed) ended(m *Member, id uint64) {
	if m.soft.Lead != id || m.leads() || x.term == m.term() {
		return
	}
	x.term = m.term()
	for range m.opts.ElectionTicks {
		m.raft.Tick()
	}
}
