package state

import "github.com/okapi-kv/okapi/internal/core/command"

// Session is what a view tells about a ZooKeeper session.
type Session struct {
	ID       int64
	Password [command.PasswordSize]byte
	// TimeoutMS is the negotiated timeout in milliseconds.
	TimeoutMS int32
	// Generation counts the connections that the session was attached to, from 1. Sequence is the number
	// of the last command that was applied in it.
	Generation, Sequence uint64
}

// openSession makes a session with the ID and password that the member drew. An ID that is taken, be it
// by a lease, is refused; the member draws another.
func (m *Machine) openSession(c *command.OpenSession) (Code, any) {
	if c.ID == 0 {
		return BadArguments, nil // 0 stands for no session everywhere
	}
	if m.leases.get(c.ID) != nil {
		return SessionExists, nil
	}
	l := &lease{id: c.ID, kind: leaseSession, password: c.Password, timeoutMS: c.Timeout, generation: 1}
	m.addLease(l)
	return OK, l.sessionResult()
}

// attachSession moves a session to a new connection. What the old one still has under way belongs to
// the generation before and will be refused. A wrong password is answered like an unknown session.
func (m *Machine) attachSession(c *command.AttachSession) (Code, any) {
	l := m.leases.session(c.ID)
	if l == nil || l.password != c.Password {
		return SessionExpired, nil
	}
	m.touchLease(l, func(l *lease) {
		l.timeoutMS = c.Timeout
		l.generation++
		l.sequence = 0
	})
	m.leaseChanged(l, false)
	return OK, l.sessionResult()
}

// closeSession ends the caller's session: its ephemeral nodes go at one zxid, in the order of their paths.
func (m *Machine) closeSession() (Code, any) {
	l := m.leases.session(m.do.caller.Session)
	if l == nil {
		return SessionExpired, nil
	}
	m.endLease(l)
	return OK, nil
}

// sessionResult returns what the opener of a session learns.
func (l *lease) sessionResult() *SessionResult {
	return &SessionResult{ID: l.id, Password: l.password, TimeoutMS: l.timeoutMS, Generation: l.generation}
}
