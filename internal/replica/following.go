package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Following is how many members follow a leader, as of its last tick. It says nothing on other members.
type Following struct {
	// Voters and Learners are those that take its entries as they come: they are neither away nor do they need what is old.
	Voters, Learners int
	// Behind are those of both kinds that are heard of and do not.
	Behind int
}

// countFollowing counts the members that follow self, which leads.
func countFollowing(node *raft.RawNode, self uint64) (f Following) {
	node.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		switch {
		case id == self:
		case p.State != tracker.StateReplicate:
			if p.RecentActive {
				f.Behind++
			}
		case typ == raft.ProgressTypeLearner:
			f.Learners++
		default:
			f.Voters++
		}
	})
	return f
}
