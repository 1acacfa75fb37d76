package command

import "encoding/binary"

// Role is what a member is in its cluster.
type Role uint8

const (
	// Voter members elect leaders and make entries durable.
	Voter Role = 0
	// Learner members receive everything and do not vote; they are on their way to become voters.
	Learner Role = 1
	// Observer members receive everything, serve clients and never vote: ZooKeeper's observers.
	Observer Role = 2
)

// String names the role.
func (r Role) String() string {
	switch r {
	case Voter:
		return "voter"
	case Learner:
		return "learner"
	case Observer:
		return "observer"
	default:
		return "unknown role"
	}
}

// MemberAction is what a MemberChange does.
type MemberAction uint8

const (
	// AddMember adds a member under an id that was never used before, with Role and PeerURLs.
	AddMember MemberAction = 0
	// RemoveMember removes a member; its id never comes back.
	RemoveMember MemberAction = 1
	// SetRole gives a member another Role: a learner or observer becomes a voter, a voter an observer.
	SetRole MemberAction = 2
	// SetPeerURLs says where the others reach a member from now on.
	SetPeerURLs MemberAction = 3
)

// MemberChange is one change of one member.
type MemberChange struct {
	Action MemberAction
	ID     uint64
	// Role is for AddMember and SetRole.
	Role Role
	// PeerURLs are for AddMember and SetPeerURLs.
	PeerURLs []string
}

// Verdict is what the leader found when it ordered a ChangeMembers.
type Verdict uint8

const (
	// NotJudged: no leader has looked at it. Such a change is never carried out.
	NotJudged Verdict = 0
	// Proceed: the change is carried out, unless the state forbids it.
	Proceed Verdict = 1
	// QuorumAtRisk: too few of the voters that there would be are heard of.
	QuorumAtRisk Verdict = 2
	// NotCaughtUp: a member that is to vote lacks Behind entries of the log, or is not heard of.
	NotCaughtUp Verdict = 3
)

// ChangeMembers changes who belongs to the cluster, all changes at once. It is an entry of its own, and while one is under
// way no other is begun.
//
// What only the leader can know, how far members are and whether they are heard of, it writes into the command as
// it stamps entries with the time, so that all members decide alike.
type ChangeMembers struct {
	Changes []MemberChange
	Verdict Verdict
	// Behind is how many entries a member lacks that is to vote, for NotCaughtUp.
	Behind uint64
}

// SetLevel raises the feature level of the cluster. The leader proposes it when all members understand that level; apply
// never lowers it.
type SetLevel struct {
	Level uint64
}

// Kind implements Command.
func (*ChangeMembers) Kind() Kind { return KindChangeMembers }

// Kind implements Command.
func (*SetLevel) Kind() Kind { return KindSetLevel }

func (c *ChangeMembers) appendBody(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c.Changes)))
	for i := range c.Changes {
		change := &c.Changes[i]
		b = appendID(append(b, byte(change.Action), byte(change.Role)), change.ID)
		b = appendTexts(b, change.PeerURLs)
	}
	return binary.AppendUvarint(append(b, byte(c.Verdict)), c.Behind)
}

func (c *ChangeMembers) maxSize() int {
	n := maxVarint32 + 1 + maxVarint
	for i := range c.Changes {
		n += 2 + idSize + textsMaxSize(c.Changes[i].PeerURLs)
	}
	return n
}

// minMemberChange is the least size of an encoded MemberChange.
const minMemberChange = 3 + idSize

// changeMembers reads what appendBody wrote.
func changeMembers(d *decoder) Command {
	c := &ChangeMembers{}
	if n := d.count("changes", minMemberChange); n > 0 {
		c.Changes = make([]MemberChange, n)
		for i := 0; i < n && d.err == nil; i++ {
			c.Changes[i] = MemberChange{
				Action: MemberAction(d.byte("action")), Role: Role(d.byte("role")), ID: d.id("member"), PeerURLs: texts(d, "peer urls"),
			}
		}
	}
	c.Verdict, c.Behind = Verdict(d.byte("verdict")), d.uvarint("behind")
	return c
}

func (c *SetLevel) appendBody(b []byte) []byte { return binary.AppendUvarint(b, c.Level) }

func (c *SetLevel) maxSize() int { return maxVarint }

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func textsMaxSize(list []string) int {
	n := maxVarint32
	for _, s := range list {
		n += stringMaxSize(s)
	}
	return n
}
