package zk

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/state"
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
// replies, and the accounts are even in the end.
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
	f.Fuzz(func(t *testing.T, stream []byte) {
		c, step := plainConn(t)
		var in input
		in.buf, in.w = stream, len(stream)
		requests := 0
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
			c.receive(frame, 0)
		}
		step()
		if c.queue.len() != 0 || c.bytes != 0 || c.srv.budget.used.Load() != 0 || c.srv.stats.outstanding.Load() != 0 {
			t.Fatalf("%d items of %d bytes are left, %d in the budget, %d outstanding",
				c.queue.len(), c.bytes, c.srv.budget.used.Load(), c.srv.stats.outstanding.Load())
		}
		replies := 0
		for out := bytes.NewReader(c.out.buf); out.Len() > 0; replies++ {
			if frame, err := readFrame(out); err != nil || len(frame) < 16 {
				t.Fatalf("reply %d: %x, %v", replies, frame, err)
			}
		}
		if replies > requests || (c.open() && replies != requests) {
			t.Fatalf("%d replies to %d requests", replies, requests)
		}
	})
}
