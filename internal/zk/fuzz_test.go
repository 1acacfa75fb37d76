package zk

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// silent is the owner of a connection without a socket.
type silent struct{}

func (silent) wake()      {}
func (silent) kick(error) {}

// plainConn returns a connection without a socket, with a session, and its replica. What it submits
// is applied when step is called.
func plainConn(tb testing.TB) (c *conn, step func()) {
	r := newReplica()
	server := New(Options{
		Listeners: []net.Listener{newPipes()}, Replica: r, Publisher: r, Clock: clock.Real{},
		Random: bytes.NewReader(make([]byte, 16)), Logger: slog.New(slog.DiscardHandler),
	})
	server.srv.notifier.start(r, &server.srv.sessions)
	c = newConn(&server.srv, netip.AddrPort{}, silent{})
	step = func() {
		for moved := true; moved; {
			batch := r.submitted[r.taken:]
			waiting := server.srv.syncs.take()
			r.submitted, r.taken = nil, 0
			if len(batch) > 0 {
				r.carryOut(batch)
			}
			for _, w := range waiting {
				w.conn.inbox.complete(w.n, state.Result{}, nil)
			}
			c.advance(0)
			moved = len(batch)+len(waiting)+len(r.submitted) > 0
		}
	}
	c.receive((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil), 0)
	step()
	if c.phase != phaseServing {
		tb.Fatalf("session was not opened: phase %d, %v", c.phase, c.reason)
	}
	c.out.buf = nil
	return c, step
}

// FuzzFrames gives a connection any frames: no panic, every reply is a frame, no request has two
// replies, notifications apart, and the accounts are even in the end. Nor is a watch left when the connection is gone.
func FuzzFrames(f *testing.F) {
	add := func(frames ...[]byte) {
		var stream []byte
		for _, frame := range frames {
			start := len(stream)
			stream = jute.EndFrame(append(jute.BeginFrame(stream), frame...), start)
		}
		f.Add(stream)
	}
	request := func(op jute.OpCode, m body) []byte {
		return m.Append((&jute.RequestHeader{Xid: 1, Op: op}).Append(nil))
	}
	add(request(1, create("/a", "x")), request(4, get("/a")), request(5, set("/a", "y")), request(9, &jute.PathRequest{Path: "/"}), request(11, raw{}))
	add(request(14, multi(op(1), create("/m", ""), op(13), &jute.PathVersionRequest{Path: "/m"})), request(22, multi(op(4), get("/"))))
	add(request(100, &jute.AuthPacket{Scheme: "digest", Auth: []byte("u:p")}), request(107, raw{}), request(7, &jute.SetACLRequest{Path: "/", ACL: open}))
	add(request(21, &jute.CreateTTLRequest{CreateRequest: *create("/t", "")}), request(103, raw{255, 255, 255, 255}), request(-11, raw{}))
	add(request(10, raw{}), request(1, create("/late", "")))
	again := &jute.SetWatches{
		RelativeZxid: 1, Data: []string{"/", "/none"}, Exist: []string{"/", "/none"}, Child: []string{"/"},
		Persistent: []string{"/p"}, PersistentRecursive: []string{"/"},
	}
	add(request(3, watched("/w")), request(12, watched("/")), request(1, create("/w", "")), request(4, watched("/w")), request(2, &jute.PathVersionRequest{Path: "/w", Version: -1}))
	add(request(106, &jute.WatchRequest{Path: "/", Kind: 1}), request(106, &jute.WatchRequest{Path: "/p"}), request(1, create("/p", "")), request(5, set("/p", "x")))
	add(request(17, &jute.WatchRequest{Path: "/w", Kind: 3}), request(18, &jute.WatchRequest{Path: "/w", Kind: 2}), request(106, &jute.WatchRequest{Path: "/", Kind: 7}))
	add(request(105, raw(again.Append(nil, jute.OpSetWatches2))), request(101, raw(again.Append(nil, jute.OpSetWatches))), request(1, create("/none", "")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, step := plainConn(t)
		var in input
		in.buf, in.w = stream, len(stream)
		requests, odd := 0, 0
		for c.open() {
			frame, err := in.next(1 << 20)
			if err != nil || frame == nil {
				break
			}
			if !c.hasRoom() {
				step()
				continue
			}
			requests++
			if bytes.HasPrefix(frame, []byte{0xff, 0xff, 0xff, 0xff}) {
				odd++ // Its reply looks like a notification.
			}
			c.receive(frame, 0)
		}
		step()
		if c.queue.len() != 0 || c.bytes != 0 || c.srv.budget.used.Load() != 0 || c.srv.stats.outstanding.Load() != 0 {
			t.Fatalf("%d items of %d bytes are left, %d in the budget, %d outstanding",
				c.queue.len(), c.bytes, c.srv.budget.used.Load(), c.srv.stats.outstanding.Load())
		}
		replies, notices := 0, 0
		for out := bytes.NewReader(c.out.buf); out.Len() > 0; {
			frame, err := readFrame(out)
			if err != nil || len(frame) < 16 {
				t.Fatalf("reply %d: %x, %v", replies, frame, err)
			}
			if bytes.HasPrefix(frame, []byte{0xff, 0xff, 0xff, 0xff}) {
				notices++
			} else {
				replies++
			}
		}
		if replies > requests-odd || (c.open() && (replies != requests-odd || notices < odd)) {
			t.Fatalf("%d replies and %d notifications to %d requests, %d of them with the xid of notifications", replies, notices, requests, odd)
		}
		if sent := c.account.sent; sent != int64(replies+notices)+1 { // and the answer to the connect request
			t.Fatalf("%d frames are accounted for, %d were sent", sent, replies+notices+1)
		}
		c.srv.notifier.leave(c)
		if left := c.srv.notifier.stats(); left != (watch.Stats{}) {
			t.Fatalf("watches are left: %+v", left)
		}
	})
}

// tape is a socket whose other side has written everything already, and closed.
type tape struct {
	in     *bytes.Reader
	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (s *tape) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.in.Read(p[:min(len(p), 1+len(p)/3)]) // in pieces
}

func (s *tape) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.out.Write(p)
}

func (s *tape) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv6loopback, Port: 1} }
func (s *tape) SetDeadline(time.Time) error      { return nil }
func (s *tape) SetReadDeadline(time.Time) error  { return nil }
func (s *tape) SetWriteDeadline(time.Time) error { return nil }

// FuzzSocket gives a server any bytes as a whole connection: no panic, and the connection ends. What begins with a
// four-letter word gets its answer, in text and to the end; all else gets nothing or frames.
func FuzzSocket(f *testing.F) {
	for name := range words {
		f.Add([]byte(name))
	}
	hello := jute.EndFrame((&jute.ConnectRequest{TimeoutMS: 10_000, HasReadOnly: true}).Append(jute.BeginFrame(nil)), 0)
	ping := jute.EndFrame((&jute.RequestHeader{Xid: -2, Op: jute.OpPing}).Append(jute.BeginFrame(nil)), 0)
	f.Add(slices.Concat(hello, ping, []byte("ruok")))
	f.Add(append([]byte("wchc"), hello...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0xff, 0xf4, 0xff, 0xfd})
	f.Add(hello[:20])
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := newReplica()
		server := New(Options{
			Listeners: []net.Listener{newPipes()}, Replica: r, Publisher: r, Clock: clock.Real{}, FourLetterWords: []string{AllWords},
			Random: bytes.NewReader(make([]byte, 16)), Logger: slog.New(slog.DiscardHandler),
		})
		defer server.srv.notifier.start(r, &server.srv.sessions)()
		go r.run()
		defer r.set(func() { r.stopped = true })
		socket := &tape{in: bytes.NewReader(stream)}
		l := newLink(&server.srv, socket)
		server.admit(l)
		server.serveLink(l)
		if len(server.links) != 0 || len(server.srv.turns) != 0 || server.srv.stats.outstanding.Load() != 0 {
			t.Fatalf("%d connections, %d turns and %d requests are left", len(server.links), len(server.srv.turns), server.srv.stats.outstanding.Load())
		}
		answer := socket.out.Bytes()
		if len(stream) >= 4 && isWord(stream[:4]) {
			if len(answer) == 0 || !utf8.Valid(answer) {
				t.Fatalf("%q is answered with %q", stream[:4], answer)
			}
			return
		}
		for out := bytes.NewReader(answer); out.Len() > 0; {
			if _, err := readFrame(out); err != nil {
				t.Fatalf("%x: %v", answer, err)
			}
		}
	})
}
