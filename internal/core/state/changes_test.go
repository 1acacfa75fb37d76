package state

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// told writes the changes of a log from a revision on, as "5 PUT k=v c2 m5 v2, was k=u c2 m2 v1".
func told(v View, tree bool, from int64, c command.Caller) (out []string) {
	v.Log(tree).Each(from, func(ch *Change) bool {
		if !ch.ReadableBy(&c) {
			return true
		}
		kv := ch.KeyValue()
		s := fmt.Sprintf("%d PUT %s", ch.Revision, brief([]KeyValue{kv})[0])
		if ch.Deleted {
			s = fmt.Sprintf("%d DELETE %s", kv.ModRevision, kv.Key)
		}
		if b, ok := ch.Before(); ok {
			s += ", was " + brief([]KeyValue{b})[0]
		}
		out = append(out, s)
		return true
	})
	return out
}

func TestLogOfPlainKeys(t *testing.T) {
	s := newStore(t)
	s.put("a=1", "b=1", "a=2")
	s.make("/n") // revision 5, in the other log
	s.delete("a")
	s.put("a=3")
	v := s.m.View()
	s.put("later=1")
	same(t, "from the beginning", told(v, false, 0, etcdCaller()), []string{
		"2 PUT a=1 c2 m2 v1",
		"3 PUT b=1 c3 m3 v1",
		"4 PUT a=2 c2 m4 v2, was a=1 c2 m2 v1",
		"6 DELETE a, was a=2 c2 m4 v2",
		"7 PUT a=3 c7 m7 v1",
	})
	if l := v.Log(false); l.Floor() != -1 || l.Head() != 7 {
		t.Errorf("floor %d, head %d; want -1, 7", l.Floor(), l.Head())
	}
	s.ok(&command.Compact{Revision: 6})
	s.m.Reclaim(100, v.Seq())
	same(t, "at the floor", told(v, false, 6, etcdCaller())[:1], []string{"6 DELETE a, was a=2 c2 m4 v2"})
	if got := v.Log(false).Floor(); got != 6 {
		t.Errorf("floor %d, want 6", got)
	}
	n := 0
	v.Log(false).Each(6, func(*Change) bool { n++; return false })
	if n != 1 {
		t.Errorf("went on %d times after false", n)
	}
}

// Changes of metadata, of the root and below /zookeeper are none; each write of the data is one.
func TestLogOfTheTree(t *testing.T) {
	s := newStore(t)
	s.make("/a", "/a/b") // 2, 3
	s.want(OK, &command.SetACL{Path: "/a", ACL: openList(), Version: -1})
	s.want(OK, &command.SetData{Path: "/", Data: []byte("x"), Version: -1})
	s.make("/zookeeper/quota/q")
	s.put("plain=1") // 4
	set := &command.SetData{Path: "/a", Data: []byte("x"), Version: -1}
	s.want(OK, &command.Multi{Ops: []command.Command{ // 5
		set, newNode("/a/c"), set, &command.Delete{Path: "/a/b", Version: -1}, newNode("/a/b"),
	}})
	s.put("/zk/d/e=1")  // 6
	s.delete("/zk/d/e") // 7
	c := etcdCaller()
	same(t, "tree", told(s.m.View(), true, 1, c), []string{
		"2 PUT /zk/a= c2 m2 v1",
		"3 PUT /zk/a/b= c3 m3 v1",
		"5 PUT /zk/a=x c2 m5 v2, was /zk/a= c2 m2 v1",
		"5 PUT /zk/a/c= c5 m5 v1",
		"5 PUT /zk/a=x c2 m5 v3, was /zk/a=x c2 m5 v2",
		"5 DELETE /zk/a/b, was /zk/a/b= c3 m3 v1",
		"5 PUT /zk/a/b= c5 m5 v1",
		"6 PUT /zk/d= c6 m6 v1",
		"6 PUT /zk/d/e=1 c6 m6 v1",
		"7 DELETE /zk/d/e, was /zk/d/e=1 c6 m6 v1",
		"7 DELETE /zk/d, was /zk/d= c6 m6 v1",
	})
	same(t, "plain", told(s.m.View(), false, 1, c), []string{"4 PUT plain=1 c4 m4 v1"})
}

// Who may not read a node does not learn of its changes, nor of its past once the list was closed.
func TestLogAndAccessLists(t *testing.T) {
	s := newStore(t)
	s.make("/a", "/b", "/c") // 2, 3, 4
	s.delete("/zk/c")        // 5
	s.want(OK, &command.SetACL{Path: "/a", ACL: []command.ACL{acl(command.PermWrite, "world", "anyone")}, Version: -1})
	s.put("/zk/a=secret")                                // 6
	s.want(OK, &command.Delete{Path: "/a", Version: -1}) // 7
	s.make("/d")                                         // 8
	s.want(OK, &command.SetACL{Path: "/d", ACL: []command.ACL{acl(command.PermWrite, "world", "anyone")}, Version: -1})
	v := s.m.View()
	s.make("/later")
	want := []string{"3 PUT /zk/b= c3 m3 v1", "4 PUT /zk/c= c4 m4 v1", "5 DELETE /zk/c, was /zk/c= c4 m4 v1"}
	same(t, "told", told(v, true, 3, etcdCaller()), want)
	if all := told(v, true, 2, command.Caller{}); len(all) != 7 {
		t.Errorf("okapi itself is told %q", all)
	}
}

func TestLogOf(t *testing.T) {
	s := newStore(t)
	v := s.m.View()
	for _, tt := range []struct {
		key, end string
		tree     bool
	}{{"/zk/a", "", true}, {"a", "", false}, {"/zk", "/zl", true}, {"\x00", "\x00", false}} {
		if got := v.LogOf(tt.key, tt.end); got.tree != tt.tree {
			t.Errorf("[%q, %q): tree %v", tt.key, tt.end, got.tree)
		}
	}
	settings := zkSettings()
	settings.TreePrefix = ""
	s = newStoreWith(t, settings)
	s.make("/a")
	if got := told(s.m.View(), true, 1, etcdCaller()); len(got) > 0 {
		t.Errorf("a tree without keys has changes %q", got)
	}
}
