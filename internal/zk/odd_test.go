package zk

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Requests that no client sends get ZooKeeper's answers; what these are, test/zkdifferential found out.

// TestGarbledMultiSpendsAZxid: ZooKeeper gives a multi that it cannot decode a zxid, unless a create in it has no access list.
func TestGarbledMultiSpendsAZxid(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		flags := &jute.CreateRequest{Path: "/x", ACL: open, Flags: 99}
		noList := &jute.CreateRequest{Path: "/x"}
		end := jute.MultiEnd()
		for name, one := range map[string]struct {
			body   body
			spends int64
		}{
			"cut short":          {raw{0, 0}, 1},
			"unknown element":    {many{op(99), get("/")}, 1},
			"a read":             {many{op(jute.OpGetData), get("/")}, 1},
			"no create mode":     {many{op(jute.OpCreate), flags, &end}, 1},
			"no access list":     {many{op(jute.OpCreate2), noList, &end}, 0},
			"a read and no list": {many{op(jute.OpGetData), get("/"), op(jute.OpCreate), noList, &end}, 0},
			"a list and a read":  {many{op(jute.OpCreate), create("/x", ""), op(jute.OpGetData), get("/"), op(jute.OpCreate), noList, &end}, 1},
			"reads alone":        {many{op(jute.OpGetData), get("/"), op(jute.OpGetChildren), get("/"), &end}, 1},
			"neither of these":   {many{op(jute.OpCreate), &jute.CreateRequest{Path: "/x", Flags: 99}, &end}, 1},
		} {
			before := c.want(0, jute.OpPing, nil).Zxid
			r := c.want(jute.CodeMarshallingError, jute.OpMulti, one.body)
			if r.Zxid != before+one.spends || len(r.body) != 0 {
				t.Errorf("%s: answered with zxid %#x after %#x and body %x, want %d zxids and no body", name, r.Zxid, before, r.body, one.spends)
			}
		}
		c.want(jute.CodeNoNode, jute.OpExists, get("/x"))
	})
}

// TestCreateTTLInAMulti: an element createTTL with another mode makes a node of that mode, without a TTL.
func TestCreateTTLInAMulti(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		end := jute.MultiEnd()
		part := &jute.CreateTTLRequest{CreateRequest: jute.CreateRequest{Path: "/e", ACL: open, Flags: command.FlagEphemeral}, TTL: 7}
		c.want(0, jute.OpMulti, many{op(jute.OpCreateTTL), part, &end})
		var stat jute.Stat
		c.want(0, jute.OpExists, get("/e")).decode(t, &stat)
		if stat.EphemeralOwner != c.session {
			t.Errorf("the owner is %#x, want the session %#x", stat.EphemeralOwner, c.session)
		}
	})
}

// TestReadsBeforeCloseAreAnswered: what a client asked before it closed its session is answered, though the session may be
// gone already when its turn comes.
func TestReadsBeforeCloseAreAnswered(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpCreate, create("/n", "0"))
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpSetData, set("/n", "1"))
		c.send(jute.OpGetData, get("/n"))
		c.send(jute.OpMultiRead, many{op(jute.OpGetChildren), get("/n"), &jute.MultiHeader{Type: -1, Done: true, Err: -1}})
		c.send(jute.OpCloseSession, nil)
		c.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		if r := c.recv(); r.Err != 0 || r.data(t) != "1" {
			t.Errorf("the read is answered with %d and %q", r.Err, r.body)
		}
		if r := c.recv(); r.Err != 0 || len(r.body) == 0 {
			t.Errorf("the multiRead is answered with %+v", r)
		}
		if r := c.recv(); r.Err != 0 {
			t.Errorf("closeSession is answered with %d", r.Err)
		}
		c.wantClosed()
	})
}

// TestNullPaths: a sync may have no path, and there is no watch there.
func TestNullPaths(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		null := raw{0xff, 0xff, 0xff, 0xff}
		if r := c.want(0, jute.OpSync, null); string(r.body) != string(null) {
			t.Errorf("sync answers %x, want null", r.body)
		}
		c.want(jute.CodeNoWatcher, jute.OpCheckWatches, many{null, raw{0, 0, 0, typeData}})
		c.want(jute.CodeNoWatcher, jute.OpRemoveWatches, many{null, raw{0, 0, 0, typeAny}})
		c.want(jute.CodeMarshallingError, jute.OpRemoveWatches, many{null, raw{0, 0, 0, 9}})
	})
}

// TestNullSASLToken: a token that is none ends the connection.
func TestNullSASLToken(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpSASL, &jute.SASLToken{Token: []byte{}})
		c.send(jute.OpSASL, &jute.SASLToken{})
		c.wantClosed()
	})
}
