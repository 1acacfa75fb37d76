package robustness

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/okapi-kv/okapi/test/harness"
)

// zkClient is a ZooKeeper client beside a member, of which it knows no other. It notes how its first session ends.
type zkClient struct {
	*zk.Conn
	// opened is closed when there is a session, and expired when the client is told that the session has ended.
	opened, expired chan struct{}

	mu      sync.Mutex
	dials   int
	session int64     // the first
	toldAt  time.Time // when the client said that the first connection had ended
	// closedAt and reason are how the member ended the first connection.
	closedAt time.Time
	reason   error
}

// dialZK opens a session beside the member, and through it.
func dialZK(t *testing.T, m *harness.Member, timeout time.Duration) *zkClient {
	t.Helper()
	c := &zkClient{opened: make(chan struct{}), expired: make(chan struct{})}
	dial := func(network, address string, limit time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		conn, err := m.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.watched(conn), nil
	}
	conn, _, err := zk.Connect([]string{m.ZooKeeper}, timeout, zk.WithDialer(dial), zk.WithLogger(silent{}), zk.WithEventCallback(c.follow))
	if err != nil {
		t.Fatalf("make a ZooKeeper client: %v", err)
	}
	t.Cleanup(conn.Close)
	await(t, c.opened, "a session at "+m.Name)
	c.Conn = conn
	c.mu.Lock()
	c.session = conn.SessionID()
	c.mu.Unlock()
	return c
}

// silent drops what go-zookeeper prints.
type silent struct{}

// Printf implements zk.Logger.
func (silent) Printf(string, ...any) {}

// follow notes what the client says of its first session.
func (c *zkClient) follow(e zk.Event) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.Type != zk.EventSession:
	case e.State == zk.StateHasSession:
		closeOnce(c.opened)
	case e.State == zk.StateDisconnected && c.toldAt.IsZero():
		c.toldAt = now
	case e.State == zk.StateExpired:
		closeOnce(c.expired)
	}
}

// closeOnce closes a channel that only its caller closes, at a time.
func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

func (c *zkClient) create(path string, flags int32) error {
	_, err := c.Create(path, nil, flags, zk.WorldACL(zk.PermAll))
	return err
}

// first returns the first session.
func (c *zkClient) first() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// told returns when the client said that its first connection had ended, and when and how the member had ended it.
func (c *zkClient) told() (toldAt, closedAt time.Time, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.toldAt, c.closedAt, c.reason
}

// watched watches the first connection; others are left as they are.
func (c *zkClient) watched(conn net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dials++; c.dials > 1 {
		return conn
	}
	return &watchedConn{conn, c}
}

// watchedConn notes when the other side ends it. It knows no read deadline, so that the client does not give up by
// itself: only the member can tell it.
type watchedConn struct {
	net.Conn
	client *zkClient
}

// SetReadDeadline implements net.Conn.
func (c *watchedConn) SetReadDeadline(time.Time) error { return nil }

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.note(err)
	return n, err
}

// Write implements net.Conn.
func (c *watchedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.note(err)
	return n, err
}

func (c *watchedConn) note(err error) {
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return
	}
	now := time.Now()
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	if c.client.closedAt.IsZero() {
		c.client.closedAt, c.client.reason = now, err
	}
}

// dialFrom makes an etcd client beside the member, and of it alone.
func dialFrom(t *testing.T, m *harness.Member) *clientv3.Client {
	t.Helper()
	dial := func(ctx context.Context, address string) (net.Conn, error) { return m.Dial(ctx, "tcp", address) }
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{m.Client}, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		t.Fatalf("make an etcd client: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
