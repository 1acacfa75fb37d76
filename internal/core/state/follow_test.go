package state

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// follower collects what a walk tells, as "seq revision key", a nil Change as "seq -".
type follower []string

func (f *follower) add(c *Change, seq uint64) bool {
	if c == nil {
		*f = append(*f, fmt.Sprintf("%d -", seq))
		return true
	}
	*f = append(*f, fmt.Sprintf("%d %d %s", seq, c.Revision, c.Key))
	return true
}

// A follower reads on from where it stood, below the floor too while it holds a pin there.
func TestFollowPlainKeys(t *testing.T) {
	s := newStore(t)
	first := s.m.View().Seq()
	s.put("a=1", "b=1", "a=2") // 2, 3, 4
	v := s.m.View()
	s.put("later=1")
	at := func(n uint64, rest string) string { return fmt.Sprintf("%d %s", first+n, rest) }

	var got follower
	v.Log(false).EachAfter(first, got.add)
	same(t, "after the beginning", got, follower{at(1, "2 a"), at(2, "3 b"), at(3, "4 a")})
	got = nil
	v.Log(false).EachFrom(3, got.add)
	same(t, "from 3", got, follower{at(2, "3 b"), at(3, "4 a")})

	s.ok(&command.Compact{Revision: 4})
	s.m.Reclaim(100, first+1)
	got = nil
	v.Log(false).EachAfter(first+1, got.add)
	same(t, "compacted, and pinned", got, follower{at(2, "3 b"), at(3, "4 a")})
	got = nil
	s.m.Reclaim(100, s.m.View().Seq())
	s.m.View().Log(false).EachFrom(4, got.add)
	same(t, "at the floor", got, follower{at(3, "4 a"), at(4, "5 later")})
	n := 0
	v.Log(false).EachAfter(0, func(*Change, uint64) bool { n++; return false })
	if n != 1 {
		t.Errorf("went on %d times after false", n)
	}
}

// What changes no key is told as nothing.
func TestFollowTheTree(t *testing.T) {
	s := newStore(t)
	first := s.m.View().Seq()
	at := func(n uint64, rest string) string { return fmt.Sprintf("%d %s", first+n, rest) }
	s.make("/a") // 2; and the root has a child more
	s.want(OK, &command.SetACL{Path: "/a", ACL: openList(), Version: -1})
	s.put("/zk/a=1") // 3
	v := s.m.View()
	s.make("/later")
	want := follower{at(1, "2 /zk/a"), at(2, "-"), at(3, "-"), at(4, "3 /zk/a")}
	var got follower
	v.Log(true).EachAfter(first, got.add)
	same(t, "tree", got, want)
	got = nil
	v.Log(true).EachFrom(0, got.add)
	same(t, "tree from the beginning", got[len(got)-4:], want)
	got = nil
	v.Log(false).EachAfter(0, got.add)
	same(t, "plain", got, follower(nil))
	if !v.Log(true).Tree() || v.Log(false).Tree() {
		t.Error("the logs are mistaken for each other")
	}

	settings := zkSettings()
	settings.TreePrefix = ""
	other := newStoreWith(t, settings)
	other.make("/a")
	other.m.View().Log(true).EachAfter(0, got.add)
	other.m.View().Log(true).EachFrom(0, got.add)
	same(t, "a tree without keys", got, follower(nil))
	if v.Log(true).History() != s.m.View().Log(false).History() || v.Log(true).History() == other.m.View().Log(true).History() {
		t.Error("histories are mistaken for each other")
	}
	if code := MayWatch(v, &command.Caller{Protocol: command.Etcd}, "a", ""); code != OK {
		t.Errorf("without authentication, a watch is refused: %v", code)
	}
}
