package model

import (
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// cast is who belongs to the cluster.
type cast struct {
	members map[uint64]state.Member
	removed map[uint64]bool
	level   uint64
}

// newCast is that of a new cluster.
func newCast(founders []state.Member) cast {
	c := cast{members: map[uint64]state.Member{}, removed: map[uint64]bool{}, level: 1}
	for _, m := range founders {
		c.members[m.ID] = m
	}
	return c
}

// Members returns who belongs to the cluster, and its feature level.
func (m *Model) Members() (ms state.Membership, level uint64) {
	for _, id := range slices.Sorted(maps.Keys(m.cast.members)) {
		ms.Members = append(ms.Members, m.cast.members[id])
	}
	ms.Removed = slices.Sorted(maps.Keys(m.cast.removed))
	return ms, m.cast.level
}

// publishMember takes what a member says of itself.
func (m *Model) publishMember(c *command.PublishMember) state.Code {
	member, known := m.cast.members[c.ID]
	if !known {
		return state.MemberNotFound
	}
	member.Name, member.ClientURLs = c.Name, c.ClientURLs
	m.do.atEnd = append(m.do.atEnd, func() { m.cast.members[c.ID] = member })
	return state.OK
}

// changeMembers makes all changes on a copy, which counts if every one of them is possible.
func (m *Model) changeMembers(c *command.ChangeMembers) state.Code {
	switch c.Verdict {
	case command.QuorumAtRisk:
		return state.QuorumAtRisk
	case command.NotCaughtUp:
		return state.NotCaughtUp
	case command.Proceed:
	default:
		return state.BadMemberChange
	}
	next := cast{maps.Clone(m.cast.members), maps.Clone(m.cast.removed), m.cast.level}
	for _, change := range c.Changes {
		if code := next.change(change); code != state.OK {
			return code
		}
	}
	voters := 0
	for _, member := range next.members {
		if member.Role == command.Voter {
			voters++
		}
	}
	if voters == 0 || len(c.Changes) == 0 {
		return state.BadMemberChange
	}
	m.do.atEnd = append(m.do.atEnd, func() { m.cast = next })
	return state.OK
}

func (c *cast) change(change command.MemberChange) state.Code {
	member, known := c.members[change.ID]
	adds := change.Action == command.AddMember
	if change.Role > command.Observer {
		return state.BadMemberChange
	}
	if adds && (known || c.removed[change.ID] || change.ID == 0) {
		return state.MemberExists
	}
	if !adds && !known {
		return state.MemberNotFound
	}
	if adds || change.Action == command.SetPeerURLs {
		if len(change.PeerURLs) == 0 {
			return state.BadMemberChange
		}
		if c.taken(change) {
			return state.PeerURLTaken
		}
		member.ID, member.PeerURLs = change.ID, change.PeerURLs
	}
	switch change.Action {
	case command.AddMember:
		member.Role = change.Role
	case command.SetRole:
		if change.Role == member.Role || change.Role == command.Learner {
			return state.BadMemberChange
		}
		member.Role = change.Role
	case command.RemoveMember:
		delete(c.members, change.ID)
		c.removed[change.ID] = true
		return state.OK
	case command.SetPeerURLs:
	default:
		return state.BadMemberChange
	}
	c.members[change.ID] = member
	return state.OK
}

// taken tells whether another member has one of the URLs.
func (c *cast) taken(change command.MemberChange) bool {
	for id, other := range c.members {
		for _, u := range other.PeerURLs {
			if id != change.ID && slices.Contains(change.PeerURLs, u) {
				return true
			}
		}
	}
	return false
}
