package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// What a member says of itself replaces what it said before, and nothing else.
func TestPublishMember(t *testing.T) {
	s := newStore(t)
	internal := command.Caller{}
	before := s.m.View()
	s.must(OK, internal, &command.PublishMember{ID: 9, Name: "n9", ClientURLs: []string{"http://b:1", "http://a:1"}})
	s.must(OK, internal, &command.PublishMember{ID: 2, Name: "n2"})
	held := Members(s.m.View())
	s.must(OK, internal, &command.PublishMember{ID: 9, Name: "nine", ClientURLs: []string{"http://c:1"}})
	same(t, "members that a reader holds", held, []Member{
		{ID: 2, Name: "n2"}, {ID: 9, Name: "n9", ClientURLs: []string{"http://b:1", "http://a:1"}},
	})
	same(t, "members", Members(s.m.View()), []Member{{ID: 2, Name: "n2"}, {ID: 9, Name: "nine", ClientURLs: []string{"http://c:1"}}})
	if v := s.m.View(); v.Revision() != before.Revision() || v.Zxid() != before.Zxid() {
		t.Errorf("revision %d and zxid %x moved to %d and %x", before.Revision(), before.Zxid(), v.Revision(), v.Zxid())
	}
	n := reload(t, s.m)
	sameState(t, "loaded", n, s.m)
	same(t, "members after a load", Members(n.View()), Members(s.m.View()))
}

// Members that say different things are different states.
func TestDigestOfMembers(t *testing.T) {
	seen := map[uint64]command.PublishMember{}
	for _, c := range []command.PublishMember{
		{ID: 1}, {ID: 2}, {ID: 1, Name: "n"}, {ID: 1, Name: "n", ClientURLs: []string{"http://a:1"}},
		{ID: 1, Name: "n", ClientURLs: []string{"http://a:1", ""}}, {ID: 1, ClientURLs: []string{"n", "http://a:1"}},
	} {
		s := newStore(t)
		s.must(OK, command.Caller{}, &c)
		if other, twice := seen[s.m.Digest()]; twice {
			t.Errorf("%+v and %+v have one digest", c, other)
		}
		seen[s.m.Digest()] = c
	}
}

// A command keeps nothing of the entry that it came in.
func TestPublishedMemberIsItsOwn(t *testing.T) {
	s := newStore(t)
	urls := []string{"http://a:1"}
	s.must(OK, command.Caller{}, &command.PublishMember{ID: 1, ClientURLs: urls})
	urls[0] = "changed"
	same(t, "members", Members(s.m.View()), []Member{{ID: 1, ClientURLs: []string{"http://a:1"}}})
}
