package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// founded is a store of a cluster with members 2 and 9.
func founded(t *testing.T) *store {
	s := newStore(t)
	s.m.members = NewMembership([]Member{
		{ID: 9, Name: "n9", PeerURLs: []string{"http://p9:1"}}, {ID: 2, Name: "n2", PeerURLs: []string{"http://p2:1"}},
	})
	return s
}

// What a member says of itself replaces what it said before, and nothing else. Only members have a say.
func TestPublishMember(t *testing.T) {
	s := founded(t)
	internal := command.Caller{}
	before := s.m.View()
	s.must(OK, internal, &command.PublishMember{ID: 9, Name: "n9", ClientURLs: []string{"http://b:1", "http://a:1"}})
	s.must(MemberNotFound, internal, &command.PublishMember{ID: 3, Name: "n3"})
	held := Members(s.m.View())
	urls := []string{"http://c:1"}
	s.must(OK, internal, &command.PublishMember{ID: 9, Name: "nine", ClientURLs: urls})
	urls[0] = "changed: the entry's, not ours"
	n2 := Member{ID: 2, Name: "n2", PeerURLs: []string{"http://p2:1"}}
	same(t, "members that a reader holds", held.Members, []Member{
		n2, {ID: 9, Name: "n9", PeerURLs: []string{"http://p9:1"}, ClientURLs: []string{"http://b:1", "http://a:1"}},
	})
	same(t, "members", Members(s.m.View()).Members, []Member{
		n2, {ID: 9, Name: "nine", PeerURLs: []string{"http://p9:1"}, ClientURLs: []string{"http://c:1"}},
	})
	if v := s.m.View(); v.Revision() != before.Revision() || v.Zxid() != before.Zxid() {
		t.Errorf("revision %d and zxid %x moved to %d and %x", before.Revision(), before.Zxid(), v.Revision(), v.Zxid())
	}
}

// judged is a change that the leader lets through.
func judged(changes ...command.MemberChange) *command.ChangeMembers {
	return &command.ChangeMembers{Changes: changes, Verdict: command.Proceed}
}

func TestChangeMembers(t *testing.T) {
	s := founded(t)
	internal := command.Caller{}
	add := func(id uint64, role command.Role, urls ...string) command.MemberChange {
		return command.MemberChange{Action: command.AddMember, ID: id, Role: role, PeerURLs: urls}
	}
	remove := func(id uint64) command.MemberChange {
		return command.MemberChange{Action: command.RemoveMember, ID: id}
	}
	role := func(id uint64, r command.Role) command.MemberChange {
		return command.MemberChange{Action: command.SetRole, ID: id, Role: r}
	}
	for i, c := range []struct {
		want   Code
		change *command.ChangeMembers
	}{
		{BadMemberChange, &command.ChangeMembers{Changes: []command.MemberChange{remove(2)}}}, // nobody judged it
		{BadMemberChange, judged()},
		{BadMemberChange, judged(remove(2), remove(9))},
		{BadMemberChange, judged(role(2, command.Observer), role(9, command.Observer))},
		{BadMemberChange, judged(add(4, command.Learner))},
		{BadMemberChange, judged(add(4, 7, "http://p4:1"))},
		{BadMemberChange, judged(role(2, command.Voter))},
		{BadMemberChange, judged(command.MemberChange{Action: 9, ID: 2})},
		{BadMemberChange, judged(command.MemberChange{Action: command.SetPeerURLs, ID: 2})},
		{MemberExists, judged(add(2, command.Voter, "http://p4:1"))},
		{MemberExists, judged(add(0, command.Voter, "http://p4:1"))},
		{PeerURLTaken, judged(add(4, command.Voter, "http://p4:1", "http://p9:1"))},
		{PeerURLTaken, judged(command.MemberChange{Action: command.SetPeerURLs, ID: 2, PeerURLs: []string{"http://p9:1"}})},
		{MemberNotFound, judged(remove(4))},
		{QuorumAtRisk, &command.ChangeMembers{Changes: []command.MemberChange{remove(2)}, Verdict: command.QuorumAtRisk}},
		{NotCaughtUp, &command.ChangeMembers{Changes: []command.MemberChange{remove(2)}, Verdict: command.NotCaughtUp, Behind: 7}},
		{OK, judged(add(4, command.Learner, "http://p4:1"))},
		{BadMemberChange, judged(role(4, command.Learner))},
		{OK, judged(role(4, command.Voter))},
		{OK, judged(remove(9), add(5, command.Observer, "http://p9:1"))}, // a replacement may take the address over
		{MemberExists, judged(add(9, command.Voter, "http://p6:1"))},
		{MemberNotFound, judged(remove(9))},
		{OK, judged(command.MemberChange{Action: command.SetPeerURLs, ID: 2, PeerURLs: []string{"http://p2:1", "http://p2:2"}})},
	} {
		before := Members(s.m.View())
		r := s.apply(internal, c.change)
		if r.Code != c.want {
			t.Errorf("change %d: %v, want %v", i, r.Code, c.want)
		}
		if c.want == NotCaughtUp && r.Detail != "7" {
			t.Errorf("change %d: detail %q, want the entries that are missing", i, r.Detail)
		}
		if c.want != OK {
			same(t, "members after a refusal", Members(s.m.View()), before)
		}
	}
	same(t, "members", Members(s.m.View()), Membership{
		Members: []Member{
			{ID: 2, Name: "n2", PeerURLs: []string{"http://p2:1", "http://p2:2"}},
			{ID: 4, PeerURLs: []string{"http://p4:1"}},
			{ID: 5, PeerURLs: []string{"http://p9:1"}, Role: command.Observer},
		},
		Removed: []uint64{9},
	})
	same(t, "voters", Members(s.m.View()).Voters(), []uint64{2, 4})
	same(t, "learners", Members(s.m.View()).Learners(), []uint64{5})
	s.must(OK, internal, &command.SetLevel{Level: 3})
	s.must(OK, internal, &command.SetLevel{Level: 2})
	n := reload(t, s.m)
	sameState(t, "loaded", n, s.m)
	same(t, "members after a load", Members(n.View()), Members(s.m.View()))
	same(t, "level after a load", Level(n.View()), uint64(3))
}

// Clusters of different members are different states.
func TestDigestOfMembers(t *testing.T) {
	seen := map[uint64]Membership{}
	for _, ms := range []Membership{
		NewMembership([]Member{{ID: 1}}), NewMembership([]Member{{ID: 2}}), NewMembership([]Member{{ID: 1, Name: "n"}}),
		NewMembership([]Member{{ID: 1, Role: command.Learner}}), {Members: []Member{{ID: 1}}, Removed: []uint64{2}},
		NewMembership([]Member{{ID: 1, Name: "n", ClientURLs: []string{"http://a:1"}}}),
		NewMembership([]Member{{ID: 1, Name: "n", PeerURLs: []string{"http://a:1"}}}),
		NewMembership([]Member{{ID: 1, Name: "n", ClientURLs: []string{"http://a:1", ""}}}),
		NewMembership([]Member{{ID: 1, ClientURLs: []string{"n", "http://a:1"}}}),
	} {
		d := digestMembers(ms)
		if other, twice := seen[d]; twice {
			t.Errorf("%+v and %+v have one digest", ms, other)
		}
		seen[d] = ms
	}
}
