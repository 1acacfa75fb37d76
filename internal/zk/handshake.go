package zk

import (
	"fmt"
	"io"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// maxConnectBytes bounds the connect request, which in every client is some 45 bytes. Only after
// it may a client make the server hold frames of the full size.
const maxConnectBytes = 4096

// maxDraws bounds how often an id is drawn for one new session.
const maxDraws = 8

// vouchedPart is the part of its timeout for which a session is vouched for without news from the leader. The
// leader counts the timeout from when it applied the command that opened or attached the session; a
// member that applies it later than this must not tell its client that the session lives.
const vouchedPart = 3

// handshake opens or attaches the session of a connection.
type handshake struct {
	conn    *conn
	request jute.ConnectRequest
	// draws counts the ids drawn.
	draws int
}

// connect takes the connect request (org.apache.zookeeper.server.ZooKeeperServer,
// processConnectRequest). The protocol version is not looked at, as in ZooKeeper.
func (h *handshake) connect(frame []byte) {
	c, m := h.conn, &h.request
	c.reader.Reset(frame)
	m.Decode(&c.reader)
	if c.reader.Err() != nil {
		c.finish(errGarbledConnect)
		return
	}
	if c.srv.replica.Status().DiskHangs {
		c.finish(errDiskHangs) // It would wait for the disk; another member answers.
		return
	}
	password := m.Password
	m.Password = nil // It is a part of the frame.
	m.TimeoutMS = min(max(m.TimeoutMS, c.srv.limits.timeoutMinMS), c.srv.limits.timeoutMaxMS)
	c.phase = phaseOpening
	it, n := c.push(len(frame))
	it.kind = itemHandshake
	switch {
	case m.SessionID == 0:
		h.open(n)
	case len(password) != command.PasswordSize:
		it.done, it.result.Code = true, state.SessionExpired
	default:
		attach := &command.AttachSession{ID: m.SessionID, Timeout: m.TimeoutMS}
		copy(attach.Password[:], password)
		h.submit(n, attach)
	}
}

// open asks for a new session. A client that has seen more than this member goes to another one,
// and has left nothing here.
func (h *handshake) open(n uint64) {
	c := h.conn
	if c.srv.notifier.position().zxid < h.request.LastZxidSeen {
		c.finish(errZxidAhead)
		return
	}
	if !h.sessionFits() {
		c.finish(errTooManySessions)
		return
	}
	h.draws++
	open := &command.OpenSession{ID: c.srv.ids.draw(), Timeout: h.request.TimeoutMS}
	if _, err := io.ReadFull(c.srv.random, open.Password[:]); err != nil {
		c.finish(fmt.Errorf("draw password: %w", err))
		return
	}
	h.submit(n, open)
}

// sessionFits says whether the cluster may have one more session. It looks at this member's state, so sessions that are being
// opened may exceed the bound by their number, and so may those that come when this moment has passed out of the history before it
// could be looked at. Who attaches one that is there is always let in.
func (h *handshake) sessionFits() bool {
	srv := h.conn.srv
	at, count := srv.notifier.position(), 0
	seen := srv.replica.ReadTree(at.seq, at.zxid, func(v state.View) { count = state.Count(v).Sessions })
	return !seen || count < srv.limits.sessions
}

// submit submits the command that opens or attaches the session. It is outside the order of the
// session's commands.
func (h *handshake) submit(n uint64, cmd command.Command) {
	c := h.conn
	c.started = n
	caller := command.Caller{Protocol: command.ZooKeeper, Identities: c.caller.Identities}
	if err := c.submit(n, caller, cmd); err != nil {
		c.finish(fmt.Errorf("submit session: %w", err))
	}
}

// finish answers the connect request, now that the command has been applied here. What the client
// has seen is compared with what this member shows after that, so that a member that lags a little
// need not send it away.
func (h *handshake) finish(it *item) {
	c := h.conn
	session, ok := it.result.Body.(*state.SessionResult)
	switch {
	case it.result.Code == state.SessionExists && h.draws < maxDraws:
		c.srv.ids.skip()
		h.drawAgain(it.bytes)
	case it.result.Code == state.SessionExpired:
		h.reply(&jute.ConnectResponse{Password: make([]byte, command.PasswordSize)})
		c.finish(errSessionGone)
	case it.result.Code != state.OK || !ok:
		c.finish(fmt.Errorf("%w: %v", errSessionRefused, it.result.Code))
	case c.nowNS-it.atNS > int64(session.TimeoutMS)*int64(time.Millisecond)/vouchedPart:
		c.finish(errLateSession)
	case it.result.Zxid < h.request.LastZxidSeen:
		c.finish(errZxidAhead)
	default:
		h.establish(it, session)
	}
}

// drawAgain tries to open the session under another id.
func (h *handshake) drawAgain(bytes int) {
	it, n := h.conn.push(bytes)
	it.kind = itemHandshake
	h.open(n)
}

// establish begins to serve the session.
func (h *handshake) establish(it *item, session *state.SessionResult) {
	c := h.conn
	c.caller.Session, c.caller.Generation = session.ID, session.Generation
	c.timeoutMS = session.TimeoutMS
	if !c.srv.sessions.put(c) {
		c.finish(errSessionGone)
		return
	}
	if !c.srv.replica.Touch(session.ID, &c.heard) {
		c.finish(errNotVouching)
		return
	}
	c.phase = phaseServing
	c.srv.notifier.join(c)
	c.reveal(position{it.result.Seq, it.result.Zxid})
	if h.request.SessionID == 0 {
		c.account.answered("SESS", it, c.at.zxid, c.nowNS)
		c.srv.stats.answered(it.kind, c.nowNS-it.atNS)
	}
	h.reply(&jute.ConnectResponse{
		TimeoutMS: session.TimeoutMS, SessionID: session.ID, Password: session.Password[:],
	})
}

// reply answers the connect request. Clients that did not send the read-only byte must not get it
// (org.apache.zookeeper.compat.ProtocolManager).
func (h *handshake) reply(m *jute.ConnectResponse) {
	m.HasReadOnly = h.request.HasReadOnly
	h.conn.out.connect(m)
}
