package zk

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

func TestNewSession(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		for _, hasReadOnly := range []bool{true, false} {
			c := d.dial()
			answer := c.login(&jute.ConnectRequest{ProtocolVersion: 99, TimeoutMS: 10_000, Password: make([]byte, 16), HasReadOnly: hasReadOnly})
			if answer.HasReadOnly != hasReadOnly || answer.ReadOnly || answer.ProtocolVersion != 0 || answer.TimeoutMS != 10_000 {
				t.Errorf("answer to a request with read-only byte %v: %+v", hasReadOnly, answer)
			}
			if byte(uint64(answer.SessionID)>>56) != 7 {
				t.Errorf("session id %#x does not begin with the member's number", answer.SessionID)
			}
			if string(answer.Password) != "0123456789abcdef" {
				t.Errorf("password %q, want what was drawn", answer.Password)
			}
		}
	})
}

func TestTimeoutIsClamped(t *testing.T) {
	cases := []struct {
		options   Options
		ask, want int32
	}{
		{Options{}, 0, 4000},
		{Options{}, -5, 4000},
		{Options{}, 3999, 4000},
		{Options{}, 12345, 12345},
		{Options{}, 1 << 30, 40000},
		{Options{TickTimeMS: 100}, 1, 200},
		{Options{TickTimeMS: 100}, 99999, 2000},
		{Options{SessionTimeoutMinMS: 50, SessionTimeoutMaxMS: 60}, 55, 55},
		{Options{SessionTimeoutMinMS: 50, SessionTimeoutMaxMS: 60}, 61, 60},
	}
	for _, c := range cases {
		inside(t, c.options, func(d *door) {
			if answer := d.dial().login(&jute.ConnectRequest{TimeoutMS: c.ask}); answer.TimeoutMS != c.want {
				t.Errorf("asked for %d ms and got %d, want %d", c.ask, answer.TimeoutMS, c.want)
			}
		})
	}
}

// Refusals that a client sees as a lost connection, upon which it tries another member.
func TestRefusedWithoutAnswer(t *testing.T) {
	ahead := int64(1) << 40
	cases := []struct {
		name    string
		prepare func(d *door)
		request func(d *door, session int64, password []byte) []byte
	}{
		{"new session of a client that is ahead", nil, func(*door, int64, []byte) []byte {
			return (&jute.ConnectRequest{LastZxidSeen: ahead, TimeoutMS: 10_000}).Append(nil)
		}},
		{"living session of a client that is ahead", nil, func(_ *door, id int64, password []byte) []byte {
			return (&jute.ConnectRequest{LastZxidSeen: ahead, TimeoutMS: 10_000, SessionID: id, Password: password}).Append(nil)
		}},
		{"no leader", func(d *door) { d.replica.refuse = errLost }, func(*door, int64, []byte) []byte {
			return (&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil)
		}},
		{"disk hangs", func(d *door) { d.replica.hangs = true }, func(*door, int64, []byte) []byte {
			return (&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil)
		}},
		{"outcome unknown", func(d *door) { d.replica.lose = command.KindOpenSession }, func(*door, int64, []byte) []byte {
			return (&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil)
		}},
		{"cut request", nil, func(*door, int64, []byte) []byte {
			return (&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil)[:20]
		}},
		{"empty frame", nil, func(*door, int64, []byte) []byte { return nil }},
		{"password of a negative length", nil, func(*door, int64, []byte) []byte {
			b := (&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil)
			return jute.AppendInt32(b[:len(b)-4], -7)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				first := d.login()
				if c.prepare != nil {
					d.replica.set(func() { c.prepare(d) })
				}
				again := d.dial()
				again.sendFrame(c.request(d, first.session, first.password))
				again.wantClosed()
			})
		})
	}
}

// Only new sessions are compared before they are opened: nothing must be left of them.
func TestClientAheadLeavesNoSession(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.dial()
		c.sendFrame((&jute.ConnectRequest{LastZxidSeen: 1 << 40, TimeoutMS: 10_000}).Append(nil))
		c.wantClosed()
		if n := len(d.replica.submitted); n != 0 {
			t.Errorf("%d commands were submitted", n)
		}
	})
}

// A member that lags is no reason to send a client away if it has caught up when the attachment
// has been applied.
func TestZxidIsComparedAfterTheAttachment(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		again := d.dial()
		go func() {
			synctest.Wait()
			for range 5 {
				d.replica.do(command.Caller{}, &command.Delete{Path: "/none"})
			}
			d.replica.set(func() { d.replica.held = false })
		}()
		var zxid int64
		zxid = d.server.srv.notifier.position().zxid
		answer := again.login(&jute.ConnectRequest{LastZxidSeen: zxid + 5, SessionID: c.session, Password: c.password, TimeoutMS: 10_000})
		if answer.SessionID != c.session {
			t.Errorf("session %#x, want %#x", answer.SessionID, c.session)
		}
	})
}

// A session that is gone is told apart from a lost connection by an answer full of zeros.
func TestDeadSession(t *testing.T) {
	cases := []struct {
		name    string
		request func(c *client) *jute.ConnectRequest
	}{
		{"unknown session", func(*client) *jute.ConnectRequest {
			return &jute.ConnectRequest{SessionID: 12345, Password: make([]byte, 16), HasReadOnly: true}
		}},
		{"wrong password", func(c *client) *jute.ConnectRequest {
			return &jute.ConnectRequest{SessionID: c.session, Password: make([]byte, 16)}
		}},
		{"short password", func(c *client) *jute.ConnectRequest {
			return &jute.ConnectRequest{SessionID: c.session, Password: c.password[:15], HasReadOnly: true}
		}},
		{"long password", func(c *client) *jute.ConnectRequest {
			return &jute.ConnectRequest{SessionID: c.session, Password: append(bytes.Clone(c.password), 0)}
		}},
		{"null password", func(c *client) *jute.ConnectRequest { return &jute.ConnectRequest{SessionID: c.session} }},
		{"closed session", func(c *client) *jute.ConnectRequest {
			c.want(0, jute.OpCloseSession, nil)
			return &jute.ConnectRequest{SessionID: c.session, Password: c.password}
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				c := d.login()
				request := tc.request(c)
				request.TimeoutMS = 10_000
				again := d.dial()
				answer := again.login(request)
				if answer.TimeoutMS != 0 || answer.SessionID != 0 || !bytes.Equal(answer.Password, make([]byte, 16)) || answer.HasReadOnly != request.HasReadOnly {
					t.Errorf("answer %+v", answer)
				}
				again.wantClosed()
			})
		})
	}
}

// A session moves to the newest connection, with a new timeout; the older one is closed, and what it
// still has under way is not done.
func TestAttachMovesTheSession(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		old := d.login()
		old.want(0, jute.OpCreate, create("/n", ""))
		d.replica.set(func() { d.replica.held = true })
		again := d.dial()
		again.sendFrame((&jute.ConnectRequest{SessionID: old.session, Password: old.password, TimeoutMS: 20_000, LastZxidSeen: old.lastZxid}).Append(nil))
		synctest.Wait()
		old.send(jute.OpSetData, set("/n", "too late"))
		old.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		answer := again.login2()
		if answer.SessionID != old.session || answer.TimeoutMS != 20_000 || !bytes.Equal(answer.Password, old.password) {
			t.Errorf("answer %+v", answer)
		}
		old.wantClosed()
		if got := again.want(0, jute.OpGetData, get("/n")).data(t); got != "" {
			t.Errorf("data is %q", got)
		}
		again.want(0, jute.OpSetData, set("/n", "x")) // Sequence numbers start over.
	})
}

// An idle connection is closed as soon as its session is attached to another one of the server.
func TestAttachClosesTheIdleConnection(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		old, again := d.login(), d.dial()
		again.login(&jute.ConnectRequest{SessionID: old.session, Password: old.password, TimeoutMS: 10_000})
		start := time.Now()
		old.wantClosed()
		if took := time.Since(start); took != 0 {
			t.Errorf("closed after %v", took)
		}
		again.want(0, jute.OpExists, get("/"))
	})
}

// login2 reads the answer to a connect request that was sent before.
func (c *client) login2() *jute.ConnectResponse {
	c.t.Helper()
	frame, ok := <-c.frames
	if !ok {
		c.t.Fatal("the connection was closed instead of an answer")
	}
	var r jute.Reader
	var answer jute.ConnectResponse
	r.Reset(frame)
	answer.Decode(&r)
	return &answer
}

// When a session ends or moves elsewhere, its connection here is closed, at the latest with the next
// request, without any reply.
func TestSessionEndsElsewhere(t *testing.T) {
	ends := []struct {
		name string
		end  func(d *door, c *client)
	}{
		{"expired", func(d *door, c *client) {
			if r := d.replica.do(command.Caller{}, &command.Expire{ID: c.session, Generation: 1, Term: 1}); r.Code != state.OK {
				t.Fatalf("expire: %v", r.Code)
			}
		}},
		{"attached at another member", func(d *door, c *client) {
			attach := &command.AttachSession{ID: c.session, Timeout: 10_000}
			copy(attach.Password[:], c.password)
			d.replica.do(command.Caller{Protocol: command.ZooKeeper}, attach)
		}},
		{"a command of it was lost", func(d *door, c *client) {
			d.replica.do(command.Caller{Protocol: command.ZooKeeper, Session: c.session, Generation: 1, Sequence: 1}, &command.Delete{Path: "/x"})
		}},
	}
	requests := []struct {
		name string
		send func(c *client)
	}{
		{"write", func(c *client) { c.send(jute.OpCreate, create("/n", "")) }},
		{"read", func(c *client) { c.send(jute.OpGetData, get("/")) }},
		{"ping", func(c *client) { c.sendAs(jute.XidPing, jute.OpPing, nil) }},
		{"sync", func(c *client) { c.send(jute.OpSync, &jute.PathRequest{Path: "/"}) }},
	}
	for i, e := range ends {
		for _, r := range requests {
			if i == 2 && r.name != "write" {
				continue // Reads are not in the sequence.
			}
			t.Run(e.name+", "+r.name, func(t *testing.T) {
				inside(t, Options{}, func(d *door) {
					c := d.login()
					d.replica.mute() // The request comes before the news.
					e.end(d, c)
					r.send(c)
					c.wantClosed()
				})
			})
		}
	}
}

// A member that may not vouch for sessions closes the connection instead of answering.
func TestNotVouching(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.deaf = true })
		c.sendAs(jute.XidPing, jute.OpPing, nil)
		c.wantClosed()
	})
}

func TestTakenSessionIDIsDrawnAgain(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		taken := d.server.srv.ids.next + 1
		d.replica.do(command.Caller{}, &command.LeaseGrant{ID: taken, TTL: 100})
		if c := d.login(); c.session <= taken {
			t.Errorf("session %#x, but %#x is taken", c.session, taken)
		}
	})
}

func TestSessionIDs(t *testing.T) {
	now := time.UnixMilli(0x123456789abc)
	ids := newSessionIDs(0xfe, now)
	const want = uint64(0xfe3456789abc0000)
	if got := uint64(ids.draw()); got != want+1 {
		t.Errorf("first id %#x, want %#x", got, want+1)
	}
	ids.skip()
	if got := uint64(ids.draw()); got != want+1<<16 {
		t.Errorf("id after a skip %#x, want %#x", got, want+1<<16)
	}
	ids.next = -1
	if got := ids.draw(); got != 1 {
		t.Errorf("id after -1 is %d, want 1: 0 stands for no session", got)
	}
}

// Whoever does not finish the connect request in time is closed, however busily it sends.
func TestHandshakeDeadline(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		silent, slow := d.dial(), d.dial()
		start := time.Now()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			frame := jute.EndFrame((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(jute.BeginFrame(nil)), 0)
			for i := range frame {
				if _, err := slow.socket.Write(frame[i : i+1]); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		silent.wantClosed()
		slow.wantClosed()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("closed after %v, want 10 s", took)
		}
		<-stopped
	})
}

// The deadline of the handshake ends with it, and a client is given its session timeout anew with
// each complete frame, but not with parts of one.
func TestSilentClientIsClosed(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.dial()
		c.login(&jute.ConnectRequest{TimeoutMS: 30_000})
		for range 5 {
			time.Sleep(29 * time.Second)
			c.sendAs(jute.XidPing, jute.OpPing, nil)
			c.recv()
		}
		start := time.Now()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for range 100 {
				if _, err := c.socket.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(20 * time.Second)
			}
		}()
		c.wantClosed()
		if took := time.Since(start); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("closed after %v, want 30 s and not much more", took)
		}
		<-stopped
	})
}

// TestLateSession checks that a session which the leader has been counting down for long is not handed out.
func TestLateSession(t *testing.T) {
	for _, c := range []struct {
		wait    time.Duration
		refused bool
	}{{3 * time.Second, false}, {3400 * time.Millisecond, true}} {
		inside(t, Options{}, func(d *door) {
			d.replica.set(func() { d.replica.held = true })
			client := d.dial()
			client.sendFrame((&jute.ConnectRequest{TimeoutMS: 10_000, Password: make([]byte, 16)}).Append(nil))
			time.Sleep(c.wait) // the bubble's time
			d.replica.set(func() { d.replica.held = false })
			if c.refused {
				client.wantClosed()
				return
			}
			client.login2()
		})
	}
}
