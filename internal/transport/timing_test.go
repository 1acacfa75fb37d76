package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f with a clock that jumps when everybody waits.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func contextDone(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx, cancel
}

// pipeListener accepts what its dial makes: both ends are in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	name   string
	// dialed counts, deaf swallows what is written in either direction.
	dialed atomic.Int64
	deaf   atomic.Bool
}

func newPipeListener(name string) *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), name: name}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.name) }

type pipeAddr string

func (pipeAddr) Network() string  { return "tcp" }
func (a pipeAddr) String() string { return string(a) }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	l.dialed.Add(1)
	here, there := net.Pipe()
	select {
	case l.conns <- &swallower{there, &l.deaf}:
		return &swallower{here, &l.deaf}, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// swallower pretends that writes succeed while deaf holds, as a socket does whose packets are
// dropped on the way.
type swallower struct {
	net.Conn
	deaf *atomic.Bool
}

func (s *swallower) Write(b []byte) (int, error) {
	if s.deaf.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// pipePair runs two members over memory.
func pipePair(t *testing.T) (a, b *node, toB *pipeListener) {
	la, lb := newPipeListener("a:1"), newPipeListener("b:2")
	with := func(o *Options) {
		o.Peers = map[uint64][]string{1: {"a:1"}, 2: {"b:2"}}
		o.BackoffMax = time.Second
		o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			if address == "a:1" {
				return la.dial(ctx)
			}
			return lb.dial(ctx)
		}
	}
	return start(t, 1, la, with), start(t, 2, lb, with), lb
}

func TestSilentLinkIsNoticedAndReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, toB := pipePair(t)
		synctest.Wait()
		time.Sleep(time.Minute) // idle links stay
		if s, _ := a.statusOf(2); !s.Linked || time.Since(s.Since) < time.Minute {
			t.Fatalf("idle link did not last: %+v\n%s", s, a.log)
		}
		drain(a.unreachable)
		toB.deaf.Store(true)
		time.Sleep(5*time.Second + 2*time.Second)
		synctest.Wait()
		if s, _ := a.statusOf(2); s.Linked {
			t.Fatal("link without any answer is still up")
		}
		if s, _ := b.statusOf(1); s.Receiving {
			t.Error("the receiver did not notice")
		}
		if len(a.unreachable) == 0 {
			t.Error("nobody was told")
		}
		toB.deaf.Store(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if s, _ := a.statusOf(2); !s.Linked {
			t.Errorf("the link did not come back:\n%s", a.log)
		}
		a.end()
		b.end()
	})
}

// TestSlowLinkIsNotADeadLink moves the largest frame at 64 KiB a second. The ping stands
// behind it for minutes.
func TestSlowLinkIsNotADeadLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newPipeListener("b:2")
		a := start(t, 1, newPipeListener("a:1"), func(o *Options) {
			o.Peers = map[uint64][]string{2: {"b:2"}}
			o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decodeHelloFrom(conn); err != nil {
			t.Fatal(err)
		}
		said := answer{verdict: accepted, version: 1, cluster: testCluster, member: 2}
		if _, err := conn.Write(said.encode()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.Send(2, make([]byte, FrameBytesMax))
		chunk := make([]byte, chunkBytes)
		for i := range FrameBytesMax / chunkBytes {
			if _, err := io.ReadFull(conn, chunk); err != nil {
				t.Fatalf("after %d s: %v\n%s", i, err, a.log)
			}
			time.Sleep(time.Second)
		}
		if s, _ := a.statusOf(2); !s.Linked {
			t.Errorf("link ended:\n%s", a.log)
		}
		a.end()
	})
}

func TestSnapshotKeepsItsPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, _ := pipePair(t)
		a.options.SnapshotBytesPerSecond = 1 << 20 // read when a snapshot begins
		b.onSnapshot = func(_ uint64, _ []byte, body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		}
		synctest.Wait()
		began := time.Now()
		a.SendSnapshot(2, []byte("header"), &source{Reader: bytes.NewReader(make([]byte, 4<<20))})
		if got := <-a.sent; !got.ok {
			t.Errorf("not sent:\n%s", a.log)
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("4 MiB at 1 MiB/s took %v", took)
		}
		a.end()
		b.end()
	})
}

func TestHandshakeThatStallsIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newPipeListener("b:2")
		b := start(t, 2, l, nil)
		conn, err := l.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := conn.Write([]byte(magic)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("closed after %v", waited)
		}
		b.end()
	})
}

func TestHandshakeCapClosesTheOldest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newPipeListener("b:2")
		b := start(t, 2, l, func(o *Options) {
			o.HandshakesMax = 2
			o.Peers = map[uint64][]string{1: {"a:1"}}
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("not dialed here") }
		})
		began := time.Now()
		first, err := l.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := l.dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.Copy(io.Discard, first); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the oldest gave way only after %v", waited)
		}
		// A peer still gets in between those who stall.
		peer, err := l.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h := rawHello(1, 2)
		if _, err := peer.Write(h.encode("")); err != nil {
			t.Fatal(err)
		}
		if a, err := readAnswer(peer); err != nil || a.verdict != accepted {
			t.Errorf("peer: %v, %v", a.verdict, err)
		}
		b.end()
	})
}

func TestDialingBacksOffToASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, toB := pipePair(t)
		synctest.Wait()
		b.end()
		time.Sleep(10 * time.Second)
		before := toB.dialed.Load()
		time.Sleep(100 * time.Second)
		// Each pause is between half a second and one.
		if n := toB.dialed.Load() - before; n < 99 || n > 201 {
			t.Errorf("%d attempts in 100 s", n)
		}
		a.end()
	})
}

func TestPeerThatDialsUsIsDialedSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		la, lb := newPipeListener("a:1"), newPipeListener("b:2")
		var open atomic.Bool
		with := func(o *Options) {
			o.Peers = map[uint64][]string{1: {"a:1"}, 2: {"b:2"}}
			o.BackoffMax = time.Hour
			o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
				if !open.Load() {
					return nil, errors.New("connection refused")
				}
				if address == "a:1" {
					return la.dial(ctx)
				}
				return lb.dial(ctx)
			}
		}
		a := start(t, 1, la, with)
		time.Sleep(24 * time.Hour) // its pauses are long by now
		open.Store(true)
		b := start(t, 2, lb, with)
		time.Sleep(time.Second)
		synctest.Wait()
		if s, _ := a.statusOf(2); !s.Linked {
			t.Error("a peer that is known to be back is not dialed")
		}
		a.end()
		b.end()
	})
}

func TestLineLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLineLimit()
		if !l.allow("a") || l.allow("a") || !l.allow("b") {
			t.Error("each subject has one line")
		}
		l.reset("a")
		if !l.allow("a") {
			t.Error("a reset subject may speak")
		}
		time.Sleep(linePeriod)
		if !l.allow("b") {
			t.Error("a minute later there is another line")
		}
		for i := range 10 * lineKeysMax {
			l.allow(string(rune(i)))
		}
		if len(l.last) > lineKeysMax {
			t.Errorf("%d subjects remembered", len(l.last))
		}
	})
}
