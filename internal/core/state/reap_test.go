package state

import (
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
