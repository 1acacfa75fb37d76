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
	// Members are all of them, by id; nil on other members.
	Members []Progress
}

// Progress is how far a member is, as its leader knows.
type Progress struct {
	ID uint64
	// Missing is how many committed entries it is not known to have stored.
	Missing uint64
	// Present says that it was heard of within an election timeout.
	Present bool
}

// countFollowing counts the members that follow m; none if it does not lead.
func countFollowing(m *Member) (f Following) {
	if !m.leads() {
		return f
	}
	commit := m.raft.BasicStatus().GetCommit()
	m.raft.WithProgress(func(id uint64, typ raft.ProgressType, p tracker.Progress) {
		f.Members = append(f.Members, Progress{ID: id, Missing: commit - min(commit, p.Match), Present: m.changes.present(id)})
		switch {
		case id == m.id:
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
