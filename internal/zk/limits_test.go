package zk

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// watchCounts returns the data and the child watches that the server has.
func (d *door) watchCounts() [2]int {
	n := d.server.srv.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.registry.Stats()
	return [2]int{s.DataWatches, s.ChildWatches}
}

// A request that would leave a watch beyond the bound is refused, whichever it is, and leaves nothing; the same without a
// watch, or with one that is there already, is answered. What an event uses up makes room.
func TestWatchesPerConnection(t *testing.T) {
	inside(t, Options{MaxWatchesPerConnection: 2}, func(d *door) {
		for _, path := range []string{"/a", "/b", "/c"} {
			d.make(path, "data of "+path)
		}
		c, other := d.login(), d.login()
		c.want(0, jute.OpGetData, watched("/a"))
		c.want(jute.CodeNoNode, jute.OpExists, watched("/none"))
		for _, op := range []jute.OpCode{jute.OpGetData, jute.OpExists, jute.OpGetChildren, jute.OpGetChildren2} {
			if r := c.want(jute.CodeSystemError, op, watched("/c")); len(r.body) != 0 {
				t.Errorf("%v is refused and answered with %x", op, r.body)
			}
			c.want(0, op, get("/c"))
		}
		c.want(jute.CodeSystemError, jute.OpExists, watched("/nothing"))
		c.want(jute.CodeSystemError, jute.OpAddWatch, &jute.WatchRequest{Path: "/c", Kind: modePersistent})
		c.want(jute.CodeNoNode, jute.OpGetData, watched("/nothing")) // It would leave none.
		c.want(0, jute.OpGetChildren, watched("/a"))                 // The second kind on one path takes no room.
		if got, want := d.watchCounts(), [2]int{2, 1}; got != want {
			t.Errorf("%d watches, want %d", got, want)
		}
		other.want(0, jute.OpGetData, watched("/c"))
		d.write("/c")
		if got := c.events(); got != "" {
			t.Errorf("told of %q by a watch that was refused", got)
		}
		d.make("/none", "")
		if got := c.events(); got != "C/none" {
			t.Errorf("told of %q", got)
		}
		c.want(0, jute.OpGetData, watched("/c"))
	})
}

// The bound of the server counts the watches of all connections; those of one that ends make room.
func TestWatchesOfAllConnections(t *testing.T) {
	inside(t, Options{MaxWatches: 3}, func(d *door) {
		d.make("/a", "")
		long := "/a/" + strings.Repeat("x", 600) // It counts twice.
		first, second := d.login(), d.login()
		first.want(jute.CodeNoNode, jute.OpExists, watched(long))
		second.want(0, jute.OpGetData, watched("/a"))
		first.want(jute.CodeSystemError, jute.OpGetData, watched("/a"))
		second.want(jute.CodeSystemError, jute.OpGetData, watched("/"))
		first.send(jute.OpCloseSession, nil)
		first.recv()
		first.wantClosed()
		synctest.Wait() // The server drops the watches after it has closed the socket.
		second.want(0, jute.OpGetData, watched("/"))
	})
}

// A client that brings along more watches than there may be is sent away and leaves none: it does not look at the answer.
func TestTooManyWatchesSetAgain(t *testing.T) {
	for _, count := range []int{2 * catchUpStep, 2*catchUpStep + 1} {
		inside(t, Options{MaxWatchesPerConnection: 2 * catchUpStep}, func(d *door) {
			m := &jute.SetWatches{RelativeZxid: 1 << 40}
			for i := range count {
				m.Exist = append(m.Exist, fmt.Sprintf("/%d", i))
			}
			c := d.login()
			c.sendAs(jute.XidSetWatches, jute.OpSetWatches, raw(m.Append(nil, jute.OpSetWatches)))
			if count == 2*catchUpStep {
				if r := c.recv(); r.Err != 0 {
					t.Errorf("as many as may be: %d", r.Err)
				}
				return
			}
			c.wantClosed()
			synctest.Wait() // The server drops the watches after it has closed the socket.
			if got := d.watchCounts(); got != [2]int{} {
				t.Errorf("%d watches are left", got)
			}
		})
	}
}

// While the cluster has as many sessions as it may have, who wants a new one is not let in, and nothing is proposed; who has one
// comes back, and one that ends makes room.
func TestSessionsOfTheCluster(t *testing.T) {
	inside(t, Options{MaxSessions: 2}, func(d *door) {
		first, second := d.login(), d.login()
		proposed := len(d.replica.submitted)
		refused := d.dial()
		refused.sendFrame((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil))
		refused.wantClosed()
		if n := len(d.replica.submitted); n != proposed {
			t.Errorf("%d commands were submitted for a client that was refused", n-proposed)
		}
		again := d.dial()
		if m := again.login(&jute.ConnectRequest{TimeoutMS: 10_000, SessionID: first.session, Password: first.password}); m.SessionID != first.session {
			t.Errorf("session %x comes back as %x", first.session, m.SessionID)
		}
		second.send(jute.OpCloseSession, nil)
		second.recv()
		second.wantClosed()
		d.login()
	})
}
