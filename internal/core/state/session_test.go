package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestOpenSession(t *testing.T) {
	w := newWorld(t, zkSettings())
	zxid := w.m.View().Zxid()
	open := &command.OpenSession{ID: 7, Password: passwordOf(7), Timeout: 4000}
	r := w.must(OK, command.Caller{Protocol: command.ZooKeeper}, open)
	want := &SessionResult{ID: 7, Password: passwordOf(7), TimeoutMS: 4000, Generation: 1}
	if diff := cmp.Diff(want, r.Body); diff != "" || r.Zxid != zxid+1 {
		t.Errorf("zxid %d after %d; %s", r.Zxid, zxid, diff)
	}
	w.must(SessionExists, command.Caller{}, open)
	w.must(OK, command.Caller{}, &command.LeaseGrant{ID: 8, TTL: 60})
	w.must(SessionExists, command.Caller{}, &command.OpenSession{ID: 8, Timeout: 4000})
	w.must(BadArguments, command.Caller{}, &command.OpenSession{Timeout: 4000})
	if _, ok := w.m.View().Session(8); ok {
		t.Error("a lease is shown as a session")
	}
	got, ok := w.m.View().Session(7)
	if diff := cmp.Diff(Session{ID: 7, Password: passwordOf(7), TimeoutMS: 4000, Generation: 1}, got); diff != "" || !ok {
		t.Errorf("%v %s", ok, diff)
	}
}

func TestAttachSession(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/a", "/b")
	before := w.m.View()
	attach := &command.AttachSession{ID: 1, Password: passwordOf(1), Timeout: 9000}
	r := w.must(OK, command.Caller{Protocol: command.ZooKeeper}, attach)
	want := &SessionResult{ID: 1, Password: passwordOf(1), TimeoutMS: 9000, Generation: 2}
	if diff := cmp.Diff(want, r.Body); diff != "" {
		t.Error(diff)
	}
	if r.Zxid != before.Zxid() {
		t.Errorf("attaching used up a zxid: %d after %d", r.Zxid, before.Zxid())
	}
	if s, _ := w.m.View().Session(1); s.Sequence != 0 || s.Generation != 2 || s.TimeoutMS != 9000 {
		t.Errorf("%+v", s)
	}
	w.want(SessionMoved, newNode("/c")) // still under way from the old connection
	w.gen[1], w.nextSeq[1] = 2, 0
	w.want(OK, newNode("/c"))
	attach.Password[3]++
	w.must(SessionExpired, command.Caller{}, attach)
	w.must(SessionExpired, command.Caller{}, &command.AttachSession{ID: 99, Timeout: 9000})
	w.must(OK, command.Caller{}, &command.LeaseGrant{ID: 8, TTL: 60})
	w.must(SessionExpired, command.Caller{}, &command.AttachSession{ID: 8, Timeout: 9000})
	if s, _ := w.m.View().Session(1); s.Generation != 2 {
		t.Errorf("a refused attach moved the session: %+v", s)
	}
}

// TestSessionRefusals: a gap, a repeat, an old generation and an unknown session change nothing, not even
// the zxid. A command that fails has used up its place.
func TestSessionRefusals(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.make("/n")
	w.want(NodeExists, newNode("/n"))
	before := w.m.View()
	for _, tt := range []struct {
		want Code
		edit func(*command.Caller)
	}{
		{SequenceGap, func(c *command.Caller) { c.Sequence++ }},
		{SequenceGap, func(c *command.Caller) { c.Sequence-- }},
		{SessionMoved, func(c *command.Caller) { c.Generation++ }},
		{SessionMoved, func(c *command.Caller) { c.Generation = 0 }},
		{SessionExpired, func(c *command.Caller) { c.Session = 5 }},
	} {
		c := w.caller(1)
		w.nextSeq[1]--
		tt.edit(&c)
		r := w.must(tt.want, c, newNode("/m"))
		if r.Zxid != before.Zxid() || r.Seq != before.Seq() {
			t.Errorf("%v moved the counters", tt.want)
		}
	}
	w.want(OK, newNode("/m"))
}

// TestCloseSession: the ephemerals go at one zxid, in the order of paths, and the session with them.
func TestCloseSession(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.open(2)
	w.make("/p")
	for _, path := range []string{"/p/c", "/p/a", "/e", "/p/b"} {
		w.want(OK, withFlags(path, command.FlagEphemeral))
	}
	w.must(OK, w.caller(2), withFlags("/p/other", command.FlagEphemeral))
	w.must(OK, w.caller(2), &command.Delete{Path: "/p/b", Version: -1}) // by somebody else
	if diff := cmp.Diff([]string{"/e", "/p/a", "/p/c"}, w.m.View().Ephemerals(1)); diff != "" {
		t.Error(diff)
	}
	zxid := w.m.View().Zxid()
	r := w.want(OK, &command.CloseSession{})
	if diff := cmp.Diff([]string{"deleted /e", "deleted /p/a", "deleted /p/c"}, w.events()); diff != "" {
		t.Error(diff)
	}
	for _, e := range w.out.Events {
		if e.Zxid != r.Zxid || r.Zxid != zxid+1 {
			t.Errorf("%+v at zxid %d", e, r.Zxid)
		}
	}
	if s := w.stat("/p"); s.NumChildren != 1 || s.Cversion != 7 || s.Pzxid != r.Zxid {
		t.Errorf("parent %+v", s)
	}
	if _, ok := w.m.View().Session(1); ok || len(w.m.View().Ephemerals(1)) != 0 {
		t.Error("the session stayed")
	}
	w.want(SessionExpired, newNode("/x"))
	w.must(SessionExpired, command.Caller{}, &command.CloseSession{})
}

// TestCloseSessionSweeps: an ephemeral may be the last child of an implicit node.
func TestCloseSessionSweeps(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.plant("/i")
	w.want(OK, withFlags("/i/a", command.FlagEphemeral))
	w.want(OK, withFlags("/i/b", command.FlagEphemeral))
	w.want(OK, &command.CloseSession{})
	if diff := cmp.Diff([]string{"deleted /i/a", "deleted /i/b", "deleted /i"}, w.events()); diff != "" {
		t.Error(diff)
	}
}

// TestEphemeralNeedsSession: only a session can own a node that a ZooKeeper command makes.
func TestEphemeralNeedsSession(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.must(SessionExpired, command.Caller{}, withFlags("/e", command.FlagEphemeral))
	w.must(OK, command.Caller{}, &command.LeaseGrant{ID: 8, TTL: 60})
	w.must(SessionExpired, command.Caller{Session: 8}, withFlags("/e", command.FlagEphemeral))
}

// TestEphemeralsOfOldView: a view goes on seeing what a session owned, even while the session is
// being closed and after it is gone.
func TestEphemeralsOfOldView(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.open(2)
	w.must(OK, w.caller(2), withFlags("/other", command.FlagEphemeral))
	w.make("/p")
	for i := range 300 {
		w.want(OK, withFlags("/p/e"+sequenceName(int32(i)), command.FlagEphemeral))
	}
	old := w.m.View()
	w.want(OK, withFlags("/late", command.FlagEphemeral))
	w.want(OK, &command.Delete{Path: "/p/e" + sequenceName(0), Version: -1})
	w.want(OK, &command.Delete{Path: "/other", Version: -1})
	yields := 0
	w.index++
	c := w.caller(1)
	w.m.Apply(&Entry{Index: w.index, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{
		{Caller: c, Command: &command.CloseSession{}},
	}}}, &w.out, func() {
		yields++
		if n := len(w.m.View().Ephemerals(1)); n != 300 {
			t.Errorf("in the midst of the close: %d ephemerals", n)
		}
		if n := len(old.Ephemerals(1)); n != 300 {
			t.Errorf("old view, in the midst of the close: %d ephemerals", n)
		}
		if _, ok := w.m.View().Session(1); !ok {
			t.Error("the session is gone before its nodes")
		}
	})
	if yields == 0 {
		t.Error("a long close does not yield")
	}
	if n := len(old.Ephemerals(1)); n != 300 {
		t.Errorf("old view: %d ephemerals", n)
	}
	if n := len(w.m.View().Ephemerals(1)); n != 0 {
		t.Errorf("new view: %d ephemerals", n)
	}
}
