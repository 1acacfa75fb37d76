package sim

import "github.com/okapi-kv/okapi/internal/wal"

// oneLeader proves that a term has one leader at most: that no two members lead in it, and that no member gives its vote away twice,
// for which it has to remember across crashes what it promised.
type oneLeader struct {
	world *World
	// byTerm are those who have led.
	byTerm map[uint64]uint64
	// elected is when a term first had a leader, the last time, and newest that term.
	elected int64
	newest  uint64
	// promised is what each member has stored last, in which it must not go back.
	promised map[uint64]wal.HardState
}

func newOneLeader(w *World) oneLeader {
	return oneLeader{world: w, byTerm: map[uint64]uint64{}, promised: map[uint64]wal.HardState{}}
}

// stepped checks that no term has two leaders, and tells whether this is a new one.
func (l *oneLeader) stepped(n *node) bool {
	s := n.member.Status()
	if !s.Leads {
		return false
	}
	leader, known := l.byTerm[s.Term]
	if known {
		if leader != n.id {
			l.world.fail("term %d has two leaders: members %d and %d", s.Term, leader, n.id)
		}
		return false
	}
	l.world.note("n%d leads term %d", n.id, s.Term)
	l.elected, l.newest = l.world.now, max(l.newest, s.Term)
	l.byTerm[s.Term] = n.id
	if s.Term == l.newest { // who hears late that it was elected may lack what later leaders have acknowledged since: nobody follows it
		l.world.check.acked.mustHold(n)
	}
	return true
}

// synced notes the term and vote that a member can rely on having stored.
func (l *oneLeader) synced(n *node, hs wal.HardState) {
	l.keeps(n, hs, "stores")
	l.promised[n.id] = hs
}

// recovered checks what a member finds on its disk. It is stored from then on, though it may not have been synced before the crash.
func (l *oneLeader) recovered(n *node, hs wal.HardState) {
	l.keeps(n, hs, "finds on its disk")
	l.promised[n.id] = hs
}

func (l *oneLeader) keeps(n *node, hs wal.HardState, how string) {
	was := l.promised[n.id]
	if hs.Term < was.Term || hs.Term == was.Term && was.Vote != 0 && hs.Vote != was.Vote {
		l.world.fail("member %d %s term %d with its vote for %d, after term %d with its vote for %d", n.id, how, hs.Term, hs.Vote, was.Term, was.Vote)
	}
}
