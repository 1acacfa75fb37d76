package model

import (
	"cmp"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// lease is an etcd lease or a ZooKeeper session; they share one table of ids.
type lease struct {
	session bool
	// ttlMS is the TTL of a lease or the timeout of a session, in milliseconds.
	ttlMS      int64
	password   [command.PasswordSize]byte
	generation uint64
	sequence   uint64
}

// session returns a session; nil if there is none with that id.
func (m *Model) session(id int64) *lease {
	if l := m.leases[id]; l != nil && l.session {
		return l
	}
	return nil
}

// lease returns an etcd lease; nil if there is none with that id.
func (m *Model) lease(id int64) *lease {
	if l := m.leases[id]; l != nil && !l.session {
		return l
	}
	return nil
}

// change tells of a lease or session, and makes the change at the end of the command.
func (m *Model) change(id int64, l *lease, fn func()) {
	c := state.LeaseChange{ID: id, Gone: true}
	if l != nil {
		c = state.LeaseChange{ID: id, TTLMS: l.ttlMS, Generation: l.generation}
	}
	m.do.changes = append(m.do.changes, c)
	m.do.atEnd = append(m.do.atEnd, fn)
}

func (m *Model) open(c *command.OpenSession) (any, state.Code) {
	if m.leases[c.ID] != nil {
		return nil, state.SessionExists
	}
	l := &lease{session: true, ttlMS: int64(c.Timeout), password: c.Password, generation: 1}
	m.change(c.ID, l, func() { m.leases[c.ID] = l })
	return &state.SessionResult{ID: c.ID, Password: c.Password, TimeoutMS: c.Timeout, Generation: 1}, state.OK
}

func (m *Model) attach(c *command.AttachSession) (any, state.Code) {
	s := m.session(c.ID)
	if s == nil || s.password != c.Password {
		return nil, state.SessionExpired
	}
	l := &lease{session: true, ttlMS: int64(c.Timeout), password: c.Password, generation: s.generation + 1}
	m.change(c.ID, l, func() { m.leases[c.ID] = l })
	return &state.SessionResult{ID: c.ID, Password: c.Password, TimeoutMS: c.Timeout, Generation: l.generation}, state.OK
}

func (m *Model) closeSession(id int64) state.Code {
	if m.session(id) == nil {
		return state.SessionExpired
	}
	m.end(id)
	return state.OK
}

func (m *Model) grant(c *command.LeaseGrant) (any, state.Code) {
	if c.ID == 0 || m.leases[c.ID] != nil { // a key with lease 0 has none, so there can be none
		return nil, state.LeaseExists
	}
	l := &lease{ttlMS: c.TTL * 1000, generation: 1}
	m.change(c.ID, l, func() { m.leases[c.ID] = l })
	return &state.LeaseResult{ID: c.ID, TTL: c.TTL}, state.OK
}

func (m *Model) revoke(c *command.LeaseRevoke) state.Code {
	if m.lease(c.ID) == nil {
		return state.LeaseNotFound
	}
	m.end(c.ID)
	return state.OK
}

func (m *Model) expire(c *command.Expire) state.Code {
	l := m.leases[c.ID]
	if l == nil || c.Generation != l.generation || c.Term != m.term {
		return state.Stale
	}
	m.end(c.ID)
	return state.OK
}

// end deletes all keys of a lease or session, and it.
func (m *Model) end(id int64) {
	for _, k := range m.keys.paths(func(_ string, v *key) bool { return v.lease == id }) {
		m.setKey(k, nil)
	}
	for _, path := range m.Ephemerals(id) {
		m.dropNode(path)
	}
	m.change(id, nil, func() { delete(m.leases, id) })
}

// Leases returns all leases and sessions, by id.
func (m *Model) Leases() []state.Lease {
	var out []state.Lease
	for id, l := range m.leases {
		out = append(out, state.Lease{
			ID: id, TTL: (l.ttlMS + 999) / 1000, TTLMS: l.ttlMS, Generation: l.generation, Session: l.session,
		})
	}
	slices.SortFunc(out, func(a, b state.Lease) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Session returns what is known of a session.
func (m *Model) Session(id int64) (state.Session, bool) {
	s := m.session(id)
	if s == nil {
		return state.Session{}, false
	}
	return state.Session{
		ID: id, Password: s.password, TimeoutMS: int32(s.ttlMS), Generation: s.generation, Sequence: s.sequence,
	}, true
}

// LeaseKeys returns the keys that end with a lease or session, in byte order.
func (m *Model) LeaseKeys(id int64) []string {
	out := m.keys.paths(func(_ string, v *key) bool { return v.lease == id && id != 0 })
	for _, path := range m.Ephemerals(id) {
		if m.hasKey(path) {
			out = append(out, m.settings.TreePrefix+path)
		}
	}
	slices.Sort(out)
	return out
}
