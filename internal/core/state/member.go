package state

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Member is one member of the cluster.
type Member struct {
	ID uint64
	// Name is what people call it; empty as long as a member that was added has not started.
	Name string
	// PeerURLs is where the other members reach it, sorted.
	PeerURLs []string
	// ClientURLs is where clients reach it, in the order in which the member itself gave them.
	ClientURLs []string
	Role       command.Role
}

// Membership is who belongs to the cluster. It is a value that is replaced and never changed: neither it nor what it holds
// may be changed by who gets one.
//
// It is the one truth on the matter. Raft's configuration follows it: the entry that changes one changes the other, and both
// take the same decision, which is Change.
type Membership struct {
	// Members are sorted by id.
	Members []Member
	// Removed are the ids of members that were removed, sorted. They never come back: a member that does would have
	// forgotten what it promised.
	Removed []uint64
}

// NewMembership returns the membership of a new cluster. The slice is not kept.
func NewMembership(members []Member) Membership {
	list := slices.Clone(members)
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return Membership{Members: list}
}

// find returns where a member is or belongs, and whether it is there.
func (ms Membership) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(ms.Members, id, func(m Member, id uint64) int { return cmp.Compare(m.ID, id) })
}

// ByID finds a member.
func (ms Membership) ByID(id uint64) (Member, bool) {
	i, known := ms.find(id)
	if !known {
		return Member{}, false
	}
	return ms.Members[i], true
}

// Voters lists the ids of those who vote, ascending.
func (ms Membership) Voters() []uint64 { return ms.ids(true) }

// Learners lists the ids of those who do not vote, ascending: learners and observers.
func (ms Membership) Learners() []uint64 { return ms.ids(false) }

func (ms Membership) ids(voters bool) []uint64 {
	var ids []uint64
	for i := range ms.Members {
		if (ms.Members[i].Role == command.Voter) == voters {
			ids = append(ids, ms.Members[i].ID)
		}
	}
	return ids
}

// WasRemoved tells whether a member of that id was once removed.
func (ms Membership) WasRemoved(id uint64) bool {
	_, gone := slices.BinarySearch(ms.Removed, id)
	return gone
}

// with puts m in the place of the member with its id, or adds it.
func (ms Membership) with(m Member) Membership {
	i, known := ms.find(m.ID)
	ms.Members = slices.Clone(ms.Members)
	if known {
		ms.Members[i] = m
	} else {
		ms.Members = slices.Insert(ms.Members, i, m)
	}
	return ms
}

// without removes a member for good.
func (ms Membership) without(id uint64) Membership {
	i, _ := ms.find(id)
	ms.Members = slices.Delete(slices.Clone(ms.Members), i, i+1)
	at, _ := slices.BinarySearch(ms.Removed, id)
	ms.Removed = slices.Insert(slices.Clone(ms.Removed), at, id)
	return ms
}

// Change returns the membership after a change, all of it or nothing. The code says why it is not possible; what only the
// leader can know is not looked at. A code other than OK comes with the membership as it was.
func (ms Membership) Change(c *command.ChangeMembers) (Membership, Code) {
	next := ms
	for i := range c.Changes {
		var code Code
		if next, code = next.changeOne(&c.Changes[i]); code != OK {
			return ms, code
		}
	}
	if len(next.Voters()) == 0 || len(c.Changes) == 0 {
		return ms, BadMemberChange
	}
	return next, OK
}

// changeOne is Change for one of the changes.
func (ms Membership) changeOne(c *command.MemberChange) (Membership, Code) {
	m, known := ms.ByID(c.ID)
	switch {
	case c.Role > command.Observer:
		return ms, BadMemberChange
	case c.Action == command.AddMember:
		return ms.add(c)
	case ms.WasRemoved(c.ID), !known:
		return ms, MemberNotFound
	}
	switch c.Action {
	case command.RemoveMember:
		return ms.without(c.ID), OK
	case command.SetRole:
		if m.Role == c.Role || c.Role == command.Learner {
			return ms, BadMemberChange
		}
		m.Role = c.Role
		return ms.with(m), OK
	case command.SetPeerURLs:
		if code := ms.freeURLs(c); code != OK {
			return ms, code
		}
		m.PeerURLs = ownTexts(c.PeerURLs)
		return ms.with(m), OK
	default:
		return ms, BadMemberChange
	}
}

func (ms Membership) add(c *command.MemberChange) (Membership, Code) {
	if _, known := ms.find(c.ID); known || ms.WasRemoved(c.ID) || c.ID == 0 {
		return ms, MemberExists
	}
	if code := ms.freeURLs(c); code != OK {
		return ms, code
	}
	return ms.with(Member{ID: c.ID, PeerURLs: ownTexts(c.PeerURLs), Role: c.Role}), OK
}

// freeURLs tells whether the peer URLs of a change may be those of its member: there are some, and no other member has one.
func (ms Membership) freeURLs(c *command.MemberChange) Code {
	if len(c.PeerURLs) == 0 {
		return BadMemberChange
	}
	for i := range ms.Members {
		other := &ms.Members[i]
		if other.ID != c.ID && slices.ContainsFunc(c.PeerURLs, func(u string) bool { return slices.Contains(other.PeerURLs, u) }) {
			return PeerURLTaken
		}
	}
	return OK
}

// ownTexts copies strings that belong to an entry.
func ownTexts(list []string) []string {
	var own []string
	for _, s := range list {
		own = append(own, strings.Clone(s))
	}
	return own
}

// changeMembers carries out a change that the leader has judged.
func changeMembers(m *Machine, c *command.ChangeMembers) (Code, any) {
	switch c.Verdict {
	case command.Proceed:
		next, code := m.members.Change(c)
		m.members = next
		return code, nil
	case command.QuorumAtRisk:
		return QuorumAtRisk, nil
	case command.NotCaughtUp:
		m.do.detail = strconv.FormatUint(c.Behind, 10)
		return NotCaughtUp, nil
	default:
		return BadMemberChange, nil
	}
}

// publishMember keeps what a member says of itself.
func publishMember(m *Machine, c *command.PublishMember) (Code, any) {
	member, known := m.members.ByID(c.ID)
	if !known {
		return MemberNotFound, nil
	}
	member.Name, member.ClientURLs = strings.Clone(c.Name), ownTexts(c.ClientURLs)
	m.members = m.members.with(member)
	return OK, nil
}

// setLevel raises the feature level.
func setLevel(m *Machine, c *command.SetLevel) (Code, any) {
	m.level = max(m.level, c.Level)
	return OK, nil
}

// WouldChange tells whether the machine would carry out a change of members if it were the next command.
func WouldChange(v View, c *command.ChangeMembers) bool {
	_, code := v.m.members.Change(c)
	return v.m.bootstrapped && c.Verdict == command.Proceed && code == OK
}

// Members returns who belongs to the cluster.
func Members(v View) Membership { return v.m.members }

// Level returns the feature level: all members understand what it brought.
func Level(v View) uint64 { return v.m.level }

// digestMembers hashes who belongs to the cluster.
func digestMembers(ms Membership) uint64 {
	s := newSum(sumMember).pair(uint64(len(ms.Members)), uint64(len(ms.Removed)))
	for _, id := range ms.Removed {
		s = s.pair(id, 0)
	}
	for i := range ms.Members {
		m := &ms.Members[i]
		s = fold(s.pair(m.ID, uint64(m.Role)).pair(uint64(len(m.PeerURLs)), uint64(len(m.ClientURLs))), m.Name)
		for _, u := range slices.Concat(m.PeerURLs, m.ClientURLs) {
			s = fold(s, u)
		}
	}
	return uint64(s)
}

func (e *encoder) members(ms Membership) {
	e.uint(uint64(len(ms.Members)))
	for i := range ms.Members {
		m := &ms.Members[i]
		e.uint(m.ID)
		e.byte(byte(m.Role))
		e.string(m.Name)
		e.texts(m.PeerURLs)
		e.texts(m.ClientURLs)
	}
	e.uint(uint64(len(ms.Removed)))
	for _, id := range ms.Removed {
		e.uint(id)
	}
}

func (e *encoder) texts(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

func (d *decoder) members() (ms Membership) {
	for range d.count() {
		m := Member{ID: d.uint(), Role: command.Role(d.byte()), Name: d.string(), PeerURLs: d.texts(), ClientURLs: d.texts()}
		if n := len(ms.Members); n > 0 && m.ID <= ms.Members[n-1].ID {
			d.fail()
		}
		ms.Members = append(ms.Members, m)
	}
	for range d.count() {
		id := d.uint()
		if n := len(ms.Removed); n > 0 && id <= ms.Removed[n-1] {
			d.fail()
		}
		ms.Removed = append(ms.Removed, id)
	}
	return ms
}

func (d *decoder) texts() (list []string) {
	for range d.count() {
		list = append(list, d.string())
	}
	return list
}
