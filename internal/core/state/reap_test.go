package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestReapContainer(t *testing.T) {
	w := newWorld(t, zkSettings())
	r := w.want(OK, withFlags("/c", command.FlagContainer))
	reap := &command.Reap{Path: "/c", Czxid: r.Zxid}
	zxid := r.Zxid
	stale := func(why string, c *command.Reap) {
		t.Helper()
		if r := w.must(Stale, command.Caller{}, c); r.Zxid != zxid {
			t.Errorf("%s: used up a zxid", why)
		}
	}
	stale("never used", reap)
	zxid = w.want(OK, newNode("/c/x")).Zxid
	stale("has a child", reap)
	zxid = w.want(OK, &command.Delete{Path: "/c/x", Version: -1}).Zxid
	stale("another node", &command.Reap{Path: "/c", Czxid: r.Zxid + 1})
	stale("no node", &command.Reap{Path: "/d", Czxid: r.Zxid})
	got := w.must(OK, command.Caller{}, reap)
	if got.Zxid != zxid+1 || w.exists("/c") || len(w.out.Events) != 1 || w.out.Events[0].Type != NodeDeleted {
		t.Errorf("zxid %d after %d, events %v", got.Zxid, zxid, w.out.Events)
	}
}

func TestReapTTL(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.plant("/i")
	c := withFlags("/i/t", command.FlagTTL)
	c.TTL = 100
	w.now = 2000
	reap := &command.Reap{Path: "/i/t", Czxid: w.want(OK, c).Zxid}
	w.now = 2100
	w.must(Stale, command.Caller{}, reap) // exactly its TTL is not yet too long
	w.now = 2101
	w.want(OK, newNode("/i/t/x")) // children do not refresh it
	w.must(Stale, command.Caller{}, reap)
	w.want(OK, &command.SetACL{Path: "/i/t", ACL: openList(), Version: -1})
	w.want(OK, &command.Delete{Path: "/i/t/x", Version: -1})
	w.want(OK, &command.SetData{Path: "/i/t", Version: -1}) // this does
	w.now = 2201
	w.must(Stale, command.Caller{}, reap)
	w.now = 2202
	w.must(OK, command.Caller{}, reap)
	if w.exists("/i/t") || w.exists("/i") {
		t.Error("the node or its implicit parent stayed")
	}
}

// TestReapOthers: nothing else is ever reaped.
func TestReapOthers(t *testing.T) {
	w := newWorld(t, zkSettings())
	p := w.want(OK, newNode("/p")).Zxid
	w.make("/p/x")
	w.want(OK, &command.Delete{Path: "/p/x", Version: -1})
	e := w.want(OK, withFlags("/e", command.FlagEphemeral)).Zxid
	w.now = 1 << 40
	w.must(Stale, command.Caller{}, &command.Reap{Path: "/p", Czxid: p})
	w.must(Stale, command.Caller{}, &command.Reap{Path: "/e", Czxid: e})
}

// reapable lists the paths of what may be reaped now.
func (w *world) reapable() string {
	var paths []string
	for _, c := range Reapable(w.m.View(), w.now, 100) {
		paths = append(paths, c.Path)
		if z := w.m.node(c.Path); z.czxid != c.Czxid {
			w.t.Fatalf("%s has czxid %d, the command %d", c.Path, z.czxid, c.Czxid)
		}
	}
	slices.Sort(paths)
	return strings.Join(paths, " ")
}

// TestReapable follows what may be reaped through creates, refused commands, deletes and a snapshot.
func TestReapable(t *testing.T) {
	w := newWorld(t, zkSettings())
	want := func(paths string) {
		t.Helper()
		if got := w.reapable(); got != paths {
			t.Errorf("reapable: %q, want %q", got, paths)
		}
	}
	ttl := withFlags("/t", command.FlagTTL)
	ttl.TTL = 100
	w.now = 1000
	w.want(OK, ttl)
	w.want(OK, withFlags("/c", command.FlagContainer))
	w.want(OK, withFlags("/unused", command.FlagContainer))
	w.want(OK, newNode("/plain"))
	want("")
	w.want(OK, newNode("/c/x"))
	want("")
	w.want(OK, &command.Delete{Path: "/c/x", Version: -1})
	want("/c")
	w.now = 1101
	want("/c /t")
	w.want(NodeExists, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/c", Version: -1}, withFlags("/d", command.FlagContainer), newNode("/plain"),
	}})
	want("/c /t")
	w.want(OK, &command.Multi{Ops: []command.Command{
		&command.Delete{Path: "/t", Version: -1}, &command.Delete{Path: "/c", Version: -1}, newNode("/t"), withFlags("/c", command.FlagContainer),
	}})
	want("")
	w.want(OK, newNode("/c/y"))
	w.want(OK, &command.Delete{Path: "/c/y", Version: -1})
	w.m = reload(t, w.m)
	want("/c")
	if got := len(Reapable(w.m.View(), w.now, 0)); got != 0 {
		t.Errorf("%d commands, want none", got)
	}
	w.want(OK, &command.Delete{Path: "/c", Version: -1})
	w.want(OK, &command.Delete{Path: "/unused", Version: -1})
	want("")
	if w.m.mortals.count != 0 {
		t.Errorf("%d paths are left", w.m.mortals.count)
	}
}
