package zk

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// look is one look at a view: what is asked, and what was seen. It is a part of the connection and
// used again for each read, so that a read allocates nothing but what it returns. Nothing is
// encoded while the view is held; what is seen here is encoded afterwards.
type look struct {
	// fn is run; it is made once.
	fn     func(state.View)
	item   *item
	caller command.Caller

	// alive says that the session exists and is attached here; closes that its client is closing it.
	alive, closes bool
	seen          seen
	// parts are the results of a multiRead.
	parts []seen
}

// seen is what one read saw.
type seen struct {
	code  state.Code
	data  []byte
	stat  state.Stat
	names []string
	acl   []command.ACL
	count int32
}

// see looks at the tree for an item of a connection, at the connection's position. The error says why the connection ends
// instead.
func (l *look) see(c *conn, it *item) error {
	l.item, l.caller, l.closes = it, c.caller, c.closes
	l.caller.Identities = it.identities
	l.seen, l.parts = seen{}, l.parts[:0]
	ok := c.srv.replica.ReadTree(c.at.seq, c.at.zxid, l.fn)
	l.item = nil
	switch {
	case !ok:
		return errPositionGone
	case !l.alive && !c.closes:
		return errSessionGone
	}
	return nil
}

// run runs while the view is held. Nothing is shown to a client whose session this view no longer
// has, or has at another connection, unless it was the client who closed it: a view knows only the sessions of today.
func (l *look) run(v state.View) {
	s, ok := v.Session(l.caller.Session)
	l.alive = ok && s.Generation == l.caller.Generation
	if !l.alive && !l.closes {
		return
	}
	it := l.item
	if it.code != jute.CodeOK {
		return
	}
	if it.op != jute.OpMultiRead {
		l.seen.read(v, &l.caller, it.op, it.path)
		return
	}
	for _, op := range it.reads {
		var part seen
		part.read(v, &l.caller, op.op, op.path)
		l.parts = append(l.parts, part)
	}
}

// read does one read.
func (s *seen) read(v state.View, c *command.Caller, op jute.OpCode, path string) {
	switch op {
	case jute.OpExists:
		s.stat, s.code = v.Exists(c, path)
	case jute.OpGetData:
		s.data, s.stat, s.code = v.Data(c, path)
	case jute.OpGetChildren, jute.OpGetChildren2:
		s.names, s.stat, s.code = v.Children(c, path)
	case jute.OpGetACL:
		s.acl, s.stat, s.code = v.ACL(c, path)
	case jute.OpGetAllChildrenNumber:
		s.count, s.code = v.CountDescendants(c, path)
	case jute.OpGetEphemerals:
		s.names = v.Ephemerals(c.Session)
	}
}

// release lets go of what was seen.
func (l *look) release() {
	l.seen = seen{}
	clear(l.parts)
	if cap(l.parts) > queueKeep {
		l.parts = nil
	}
}
