// Package cluster knows who belongs to a cluster: how members get their ids, how a new
// cluster is described on the command line, and which member a data directory belongs to.
//
// It is plain logic and one small file. The membership that counts is the one in the
// replicated state; what is here describes it, begins it, and refuses a directory that
// belongs to somebody else before anything in it is touched.
package cluster

import (
	"cmp"
	"fmt"
	"slices"
)

// Member is one member of a cluster.
type Member struct {
	// ID is never 0.
	ID uint64
	// Name is empty as long as a member that was added has not started.
	Name string
	// PeerURLs is where the others reach it, sorted; ClientURLs is where clients do, and what
	// the member itself announces.
	PeerURLs, ClientURLs []string
	// Learner members receive everything and do not vote.
	Learner bool
}

// Membership is all members of a cluster at one moment, by ascending id. It is a value: who
// holds one does not change it, or what its members hold.
type Membership struct {
	// Members has one entry an id.
	Members []Member
}

// NewMembership sorts the members and refuses an id or a peer URL that occurs twice.
func NewMembership(members []Member) (Membership, error) {
	m := Membership{Members: slices.Clone(members)}
	slices.SortFunc(m.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	owner := make(map[string]Member)
	for i, member := range m.Members {
		if !validID(member.ID) {
			return Membership{}, fmt.Errorf("check member %q: %w: %x", member.Name, errReservedID, member.ID)
		}
		if i > 0 && m.Members[i-1].ID == member.ID {
			return Membership{}, fmt.Errorf("check members %q and %q: %w: %x", m.Members[i-1].Name, member.Name, errSameID, member.ID)
		}
		for _, u := range member.PeerURLs {
			if other, taken := owner[u]; taken {
				return Membership{}, fmt.Errorf("%w: %s belongs to %q and to %q", errDuplicateURL, u, other.Name, member.Name)
			}
			owner[u] = member
		}
	}
	return m, nil
}

// ByID finds a member.
func (m Membership) ByID(id uint64) (Member, bool) {
	i, found := slices.BinarySearchFunc(m.Members, id, func(member Member, id uint64) int { return cmp.Compare(member.ID, id) })
	if !found {
		return Member{}, false
	}
	return m.Members[i], true
}

// ByName finds the first member with this name. Names need not be unique: an id is what
// tells members apart.
func (m Membership) ByName(name string) (Member, bool) {
	for _, member := range m.Members {
		if member.Name == name {
			return member, true
		}
	}
	return Member{}, false
}

// Voters lists the ids of those who vote, ascending.
func (m Membership) Voters() []uint64 { return m.ids(false) }

// Learners lists the ids of those who do not vote, ascending.
func (m Membership) Learners() []uint64 { return m.ids(true) }

func (m Membership) ids(learner bool) []uint64 {
	var ids []uint64
	for _, member := range m.Members {
		if member.Learner == learner {
			ids = append(ids, member.ID)
		}
	}
	return ids
}

// Quorum is how many voters must agree; 0 if nobody votes.
func (m Membership) Quorum() int {
	voters := len(m.Voters())
	if voters == 0 {
		return 0
	}
	return voters/2 + 1
}

// Peers gives the peer URLs of everybody but self.
func (m Membership) Peers(self uint64) map[uint64][]string {
	peers := make(map[uint64][]string, len(m.Members))
	for _, member := range m.Members {
		if member.ID != self {
			peers[member.ID] = slices.Clone(member.PeerURLs)
		}
	}
	return peers
}

// With gives the membership with this member added, or put in the place of the one with the
// same id. The checks are those of NewMembership.
func (m Membership) With(member Member) (Membership, error) {
	return NewMembership(append(m.Without(member.ID).Members, member))
}

// Without gives the membership without this id.
func (m Membership) Without(id uint64) Membership {
	return Membership{Members: slices.DeleteFunc(slices.Clone(m.Members), func(member Member) bool { return member.ID == id })}
}

// Feature is the level of what all members of a cluster understand: commands, formats, the
// formula of the digest. A cluster runs at the lowest level among its members, and a new kind
// of command is proposed only from the level that brought it.
type Feature uint32

// The feature levels.
const (
	// Feature1 is the level of the first release.
	Feature1 Feature = 1

	// FeatureOldest and FeatureNewest bound what this binary can run at.
	FeatureOldest = Feature1
	FeatureNewest = Feature1
)

// Supported says whether this binary can run at level f.
func (f Feature) Supported() bool { return f >= FeatureOldest && f <= FeatureNewest }
