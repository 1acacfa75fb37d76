package server

import (
	"context"
	"time"

	"github.com/okapi-kv/okapi/internal/admin"
	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
)

// clusterAdmin is the member as those who run the cluster want it; it is admin.Cluster.
type clusterAdmin struct {
	etcdReplica
	clock clock.Clock
}

func (m *member) clusterAdmin() clusterAdmin {
	return clusterAdmin{etcdReplica{m.replica, m.identity.ClusterID, m.identity.MemberID, &m.freeing}, m.clock}
}

// Describe implements admin.Cluster. The members are those of the state and not of the replica's status, which comes to know of a change
// only after who has made it.
func (c clusterAdmin) Describe() admin.Members {
	s := c.Replica.Status()
	out := admin.Members{Cluster: admin.ID(c.cluster), AnsweredBy: admin.ID(c.member), Leader: admin.ID(s.Leader)}
	var members state.Membership
	c.Store().Read(func(v state.View) { members, out.Level = state.Members(v), state.Level(v) })
	for _, m := range members.Members {
		one := admin.Member{ID: admin.ID(m.ID), Name: m.Name, Role: m.Role.String(), PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs}
		for _, p := range s.Following.Members {
			if p.ID == m.ID {
				one.Missing, one.Present = new(p.Missing), new(p.Present)
			}
		}
		out.Members = append(out.Members, one)
	}
	return out
}

// Change implements admin.Cluster. A change that was not done because the leader changed, be it to hand its office on because of
// the change itself, is sent again.
func (c clusterAdmin) Change(ctx context.Context, changes []command.MemberChange) (state.Result, error) {
	for i := range changes {
		if changes[i].Action == command.AddMember && changes[i].ID == 0 {
			changes[i].ID = cluster.AddedMemberID(cluster.Token(c.cluster), changes[i].PeerURLs, c.clock.Now())
		}
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		result, err := c.Propose(ctx, command.Caller{}, &command.ChangeMembers{Changes: changes})
		if err != replica.ErrNotDone {
			return result, err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return result, err
		}
	}
}
