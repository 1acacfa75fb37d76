package etcd

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/okapi-kv/okapi/internal/clock"
)

// refusalPeriod is how long nothing more is logged of connections that are refused.
const refusalPeriod = time.Minute

// admission bounds the connections of clients, of whichever protocol. One too many is closed at once, as ZooKeeper's maxCnxns does
// it: a gRPC client takes that for a member that cannot be reached, goes to another one, and comes back later and later.
type admission struct {
	max      int
	refusals prometheus.Counter
	clock    clock.Clock
	log      *slog.Logger

	mu   sync.Mutex
	open int
	// refused counts those that the log does not know of yet; silent is until when it is not told.
	refused int
	silent  time.Time
}

// admit counts a connection until it is closed, and returns what to use in its place; if there are too many it is closed, and nil
// returned.
func (a *admission) admit(conn net.Conn) net.Conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open < a.max {
		a.open++
		return &admitted{Conn: conn, leave: sync.OnceFunc(a.leave)}
	}
	conn.Close()
	a.refusals.Inc()
	a.refused++
	if now := a.clock.Now(); !now.Before(a.silent) {
		a.log.Warn("etcd clients are refused: there are as many connections as there may be (--max-client-connections)",
			"connections", a.open, "refused", a.refused, "remote", conn.RemoteAddr().String())
		a.refused, a.silent = 0, now.Add(refusalPeriod)
	}
	return nil
}

// leave takes back what admit counted.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
}

// admitted is a connection that counts.
type admitted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *admitted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
