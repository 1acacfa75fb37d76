package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = 0xc1

// patience bounds every wait of these tests; only a failing test uses it up.
const patience = 20 * time.Second

type received struct {
	from  uint64
	frame []byte
}

type sentReport struct {
	to uint64
	ok bool
}

// recorder is a Handler that keeps what it gets.
type recorder struct {
	frames      chan received
	unreachable chan uint64
	ended       chan uint64
	sent        chan sentReport
	expelled    chan error
	// onSnapshot is the body of ReceiveSnapshot.
	onSnapshot func(from uint64, header []byte, body io.Reader) error
}

func newRecorder() *recorder {
	return &recorder{
		frames:      make(chan received, 4096),
		unreachable: make(chan uint64, 4096),
		ended:       make(chan uint64, 64),
		sent:        make(chan sentReport, 64),
		expelled:    make(chan error, 64),
		onSnapshot: func(uint64, []byte, io.Reader) error {
			return errors.New("no snapshot expected")
		},
	}
}

func (r *recorder) Receive(from uint64, frame []byte) { r.frames <- received{from, frame} }

func (r *recorder) Ended(peer uint64) {
	select {
	case r.ended <- peer:
	default:
	}
}

func (r *recorder) Unreachable(to uint64) {
	select {
	case r.unreachable <- to:
	default: // a test that cares empties it
	}
}

func (r *recorder) SnapshotSent(to uint64, ok bool) { r.sent <- sentReport{to, ok} }

func (r *recorder) ReceiveSnapshot(from uint64, header []byte, body io.Reader) error {
	return r.onSnapshot(from, header, body)
}

// logBuffer is a log that tests can search.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// node is one running transport.
type node struct {
	*Transport
	*recorder
	id      uint64
	address string
	log     *logBuffer
	// end stops it and waits; it may be called twice.
	end func()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("listen on %s: %v", address, err)
	}
	return l
}

// start runs a member; change may adjust its options.
func start(t *testing.T, id uint64, l net.Listener, change func(*Options)) *node {
	t.Helper()
	n := &node{recorder: newRecorder(), id: id, address: l.Addr().String(), log: &logBuffer{}}
	o := Options{
		Identity:   Identity{ClusterID: testCluster, MemberID: id},
		Listener:   l,
		Handler:    n.recorder,
		Expelled:   func(reason error) { n.expelled <- reason },
		Logger:     slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		BackoffMax: 100 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	n.Transport = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run of %x = %v", id, err)
			}
		case <-time.After(patience):
			t.Errorf("Run of %x does not end", id)
		}
	})
	t.Cleanup(n.end)
	return n
}

// pair runs members 1 and 2, each the other's peer, and waits until both links are up.
func pair(t *testing.T, change func(*Options)) (a, b *node) {
	t.Helper()
	la, lb := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	peers := map[uint64][]string{1: {la.Addr().String()}, 2: {"http://" + lb.Addr().String()}}
	with := func(o *Options) {
		o.Peers = peers
		if change != nil {
			change(o)
		}
	}
	a, b = start(t, 1, la, with), start(t, 2, lb, with)
	a.waitLinked(t, 2)
	b.waitLinked(t, 1)
	return a, b
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("never came true: %s", what)
		}
	}
}

func (n *node) statusOf(id uint64) (PeerStatus, bool) {
	for _, s := range n.Status() {
		if s.ID == id {
			return s, true
		}
	}
	return PeerStatus{}, false
}

func (n *node) waitLinked(t *testing.T, to uint64) {
	t.Helper()
	eventually(t, "link is up", func() bool {
		s, _ := n.statusOf(to)
		return s.Linked
	})
}

func (n *node) waitLog(t *testing.T, text string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("member %x logged:\n%s", n.id, n.log)
		}
	})
	eventually(t, fmt.Sprintf("member %x logs %q", n.id, text), func() bool {
		return strings.Contains(n.log.String(), text)
	})
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came: %s", what)
		panic("unreachable")
	}
}

func drain[T any](c <-chan T) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

// rawHello is a hello as member from of the test cluster would send it to member to.
func rawHello(from, to uint64) hello {
	return hello{versionOldest: 1, versionNewest: 1, cluster: testCluster, from: from, to: to, incarnation: 77, attempt: 1, kind: linkFrames}
}

// rawDial connects to n without a Transport and returns its answer.
func rawDial(t *testing.T, n *node, h hello) (net.Conn, answer) {
	t.Helper()
	conn, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(h.encode("")); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(conn)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return conn, a
}

// waitClosed waits until the other side ended conn.
func waitClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the other side does not close the connection")
	}
}
