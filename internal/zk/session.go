package zk

import (
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// sessionIDs draws the ids of new sessions. Their layout is ZooKeeper's
// (SessionTrackerImpl.initializeNextSessionId): the member's number in the high byte, then five
// bytes of the clock in milliseconds at the start, then two bytes of counter, which carries into
// the clock's. An id is therefore drawn twice only if a member opens more than 65,536 sessions
// for each millisecond of its life, or its clock has run back over a restart; apply refuses an id
// that is taken.
type sessionIDs struct {
	mu   sync.Mutex
	next int64
}

// counterBits is the width of the counter.
const counterBits = 16

// newSessionIDs returns ids that begin with the number of a member and the present time.
func newSessionIDs(member byte, now time.Time) *sessionIDs {
	clock := uint64(now.UnixMilli()) << (64 - 40) >> 8
	return &sessionIDs{next: int64(uint64(member)<<56 | clock)}
}

// draw returns an id that was not drawn before. It is never 0, nor the smallest number, which
// marks container nodes in ZooKeeper's files.
func (s *sessionIDs) draw() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	for s.next == 0 || s.next == -1<<63 {
		s.next++
	}
	return s.next
}

// skip leaves out the ids near the last one, which seem to be in use.
func (s *sessionIDs) skip() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next |= 1<<counterBits - 1
}

// sessions knows which connection of this server serves which session, so that a client that
// comes back on a new connection ends the old one.
type sessions struct {
	mu    sync.Mutex
	conns map[int64]*conn
}

// put makes c the connection of its session and closes the one before it. It reports false if a
// later connection has attached the session already.
func (s *sessions) put(c *conn) bool {
	old, ok := s.replace(c)
	if old != nil {
		old.owner.kick(errSessionGone)
	}
	return ok
}

func (s *sessions) replace(c *conn) (old *conn, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.conns[c.caller.Session]
	if old != nil && old.caller.Generation > c.caller.Generation {
		return nil, false
	}
	s.conns[c.caller.Session] = c
	return old, true
}

// follow ends the connections whose sessions have ended or were attached elsewhere.
func (s *sessions) follow(changes []state.LeaseChange) {
	for i := range changes {
		if c := s.of(changes[i].ID); c != nil && (changes[i].Gone || changes[i].Generation > c.caller.Generation) {
			c.inbox.end(errSessionGone)
		}
	}
}

// of returns the connection of a session; nil if it is not served here.
func (s *sessions) of(session int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[session]
}

// remove forgets c, if it is still the connection of its session.
func (s *sessions) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.caller.Session] == c {
		delete(s.conns, c.caller.Session)
	}
}
