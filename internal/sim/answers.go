package sim

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/replica"
)

// answers proves that a member answers the others only when it has stored what the answer promises: a vote that it gives, an entry that
// it says to have. A crash right behind the answer would show it too, but seldom comes just then.
type answers struct{ world *World }

const (
	// raftFrame is the first byte of a frame that holds a message of raft.
	raftFrame = 1
	// answerBytesMax is more than any answer has, which is a few numbers: what is longer holds entries.
	answerBytesMax = 256
)

// sent looks at what a member sends.
func (a *answers) sent(n *node, frames []replica.Outgoing) {
	for _, out := range frames {
		if len(out.Data) == 0 || out.Data[0] != raftFrame || len(out.Data) > answerBytesMax {
			continue
		}
		m, err := raftMessage(out.Data)
		if err != nil {
			a.world.fail("member %d sends what is no message of raft: %v", n.id, err)
			return
		}
		if m.GetReject() {
			continue
		}
		switch m.GetType() {
		case raftpb.MsgVoteResp:
			a.vote(n, m.GetTerm(), out.To)
		case raftpb.MsgAppResp:
			a.entry(n, m.GetIndex())
		}
	}
}

// vote checks that the vote of a member is stored, or a newer term is.
func (a *answers) vote(n *node, term, vote uint64) {
	hs := a.world.check.leaders.promised[n.id]
	if hs.Term < term || hs.Term == term && hs.Vote != vote {
		a.world.fail("member %d votes for %d in term %d, but has stored term %d with its vote for %d", n.id, vote, term, hs.Term, hs.Vote)
	}
}

// entry checks that a member has stored an entry.
func (a *answers) entry(n *node, index uint64) {
	if _, has := n.log.durable[index]; !has && index > n.log.floor {
		a.world.fail("member %d says that it has entry %d, but has not stored it", n.id, index)
	}
}
