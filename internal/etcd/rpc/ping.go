package rpc

import (
	"time"

	"golang.org/x/net/http2"
)

// drainPing and alivePing are what our pings carry: one follows the news that the connection ends, the other asks whether
// the client lives.
var (
	drainPing = [8]byte{'o', 'k', 'd', 'r', 'a', 'i', 'n', 0}
	alivePing = [8]byte{'o', 'k', 'a', 'l', 'i', 'v', 'e', 0}
)

const (
	// strikesMax is how often a client may ping too early until it is sent away.
	strikesMax = 2
	// quietPingMin is the shortest time between pings of a client that has no call under way.
	quietPingMin = 2 * time.Hour
)

// pingGuard counts the pings of a client that come too early. A client that measures its line pings after what it
// was sent, and may do so.
type pingGuard struct {
	last    time.Time
	strikes int
}

// takePing answers a ping, or takes the answer to one.
func (c *conn) takePing(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		c.pinged = time.Time{}
		if f.Data == drainPing && c.state == connWarned {
			c.state = connDraining
			c.out = appendGoAway(c.out, c.lastID, http2.ErrCodeNo, "")
			signal(c.wake)
			c.drainedLocked()
		}
		return nil
	}
	c.out = appendPing(c.out, http2.FlagPingAck, f.Data)
	signal(c.wake)
	spoken := c.spoken
	c.spoken = false
	if c.pings.tooEarly(c.server.opts.Clock.Now(), spoken, len(c.streams) > 0, c.server.opts.PingMin) {
		return &sentAway{"too_many_pings"}
	}
	return nil
}

// tooEarly takes a ping, and says whether the client has pinged too early too often.
func (g *pingGuard) tooEarly(now time.Time, spoken, busy bool, least time.Duration) bool {
	last := g.last
	g.last = now
	if spoken {
		g.strikes = 0
		return false
	}
	if !busy {
		least = quietPingMin
	}
	if last.Add(least).After(now) {
		g.strikes++
	}
	return g.strikes > strikesMax
}

// checkAlive pings a client that has been silent for long, and ends the connection of one that does not answer.
func (c *conn) checkAlive() {
	now := c.server.opts.Clock.Now()
	heard := time.Unix(0, c.heard.Load())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case now.Sub(heard) < c.server.opts.KeepaliveInterval:
		c.pinged = time.Time{}
	case c.pinged.IsZero():
		c.pinged = now
		c.out = appendPing(c.out, 0, alivePing)
		signal(c.wake)
	case now.Sub(c.pinged) >= c.server.opts.KeepaliveTimeout:
		c.socket.Close() // the reader sees it
	}
}
