package robustness

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	orderSessions = flag.Int("order.sessions", 100, "how many sessions use the same znodes")
	orderRequests = flag.Int("order.requests", 2000, "how many answers each session waits for")
	orderKills    = flag.Int("order.kills", 2, "how many members are killed meanwhile")
	orderSeed     = flag.Uint64("order.seed", 1, "of what the sessions do, where they move and who is killed when")
)

const (
	orderNodes = 20
	orderDepth = 50 // requests that a session has under way
)

// TestOrder records the traffic of many sessions that pipeline, move between the members and watch, while members are killed, and
// checks ZooKeeper's promises on it: replies in the order of the requests, reads that see the session's own writes
// and never go back, and events before the reply that shows what they tell of.
func TestOrder(t *testing.T) {
	cluster := harness.NewCluster(t, tools, 3)
	cluster.Start()
	makeNodes(t, cluster)
	var newest atomic.Int64
	users := make([]*user, *orderSessions)
	var working sync.WaitGroup
	for i := range users {
		users[i] = &user{name: i, random: rand.New(rand.NewPCG(*orderSeed, uint64(i))), newest: &newest, armed: map[string]bool{}}
		for _, m := range cluster.Members {
			users[i].members = append(users[i].members, m.ZooKeeper)
		}
		working.Go(users[i].run)
	}
	l := &lab{t: t, cluster: cluster, random: rand.New(rand.NewPCG(*orderSeed, 1<<32))}
	for range *orderKills {
		l.killOne()
	}
	working.Wait()
	checkOrder(t, users)
}

func nodePath(n int) string { return fmt.Sprintf("/order-%02d", n) }

// makeNodes makes the znodes that all use.
func makeNodes(t *testing.T, cluster *harness.Cluster) {
	t.Helper()
	s := &session{}
	if err := s.attach(cluster.Members[0].ZooKeeper); err != nil {
		t.Fatal(err)
	}
	defer s.drop()
	for n := range orderNodes {
		r := request{op: opCreate, path: nodePath(n)}
		if _, err := s.conn.Write(r.encode(nil, int32(n+1))); err != nil {
			t.Fatal(err)
		}
		frame, err := s.read()
		if err != nil {
			t.Fatal(err)
		}
		if a, err := decode(frame, int32(n+1), r); err != nil || a.code != 0 {
			t.Fatalf("create %s: code %d, %v", r.path, a.code, err)
		}
	}
}

// user is a session at work, and what it was told, connection after connection.
type user struct {
	session
	name    int
	random  *rand.Rand
	members []string
	newest  *atomic.Int64 // write that any session was told of
	armed   map[string]bool

	traffic []arrival
	replies int
	moves   int
	written int
	err     error
}

// moveWithin bounds how long a session may be without a member. It is less than the timeout of the session.
const moveWithin = 25 * time.Second

// run works until the session has had its replies, moving now and then.
func (u *user) run() {
	defer u.drop()
	for u.err == nil && u.replies < *orderRequests {
		if u.err = u.move(); u.err != nil {
			return
		}
		u.work(u.replies + 100 + u.random.IntN(400))
		u.drop()
		u.moves++
	}
}

// move attaches to some member.
func (u *user) move() error {
	deadline := time.Now().Add(moveWithin)
	for {
		err := u.attach(u.members[u.random.IntN(len(u.members))])
		if err == nil {
			return nil
		}
		u.drop()
		if time.Now().After(deadline) {
			return fmt.Errorf("no member within %v: %w", moveWithin, err)
		}
		time.Sleep(50 * time.Millisecond) // A member that is down refuses at once.
	}
}

// work sends and reads until there have been so many replies, or the connection ends, or what comes is wrong. What is under way
// then may have been done or not.
func (u *user) work(until int) {
	var open []request
	var floors []int64 // for each request of open
	xid, sent := int32(1), int32(0)
	send := func() error {
		var b []byte
		for len(open) < orderDepth {
			r := u.draw()
			open, floors = append(open, r), append(floors, u.newest.Load())
			sent++
			b = r.encode(b, sent)
		}
		_, err := u.conn.Write(b)
		return err
	}
	if len(u.armed) > 0 {
		if _, err := u.conn.Write(setWatches(u.seen, slices.Sorted(maps.Keys(u.armed)))); err != nil {
			return
		}
		open, floors, xid = append(open, request{op: opSetWatches}), append(floors, 0), xidSetWatches
	}
	for u.replies < until && u.err == nil {
		if len(open) < orderDepth/2 && send() != nil {
			return
		}
		frame, err := u.read()
		if err != nil {
			return
		}
		var a arrival
		if a, u.err = decode(frame, xid, open[0]); u.err != nil {
			return
		}
		if !a.event {
			a.floor = floors[0]
			open, floors = open[1:], floors[1:]
			xid = sent - int32(len(open)) + 1
			u.replies++
		}
		u.note(a)
	}
}

// note records what came and keeps the client's books.
func (u *user) note(a arrival) {
	u.traffic = append(u.traffic, a)
	switch {
	case a.event:
		delete(u.armed, a.path)
		return
	case a.code == 0 && a.request.watch:
		u.armed[a.request.path] = true
	case a.code == 0 && a.request.op == opSetData:
		for old := u.newest.Load(); a.mzxid > old && !u.newest.CompareAndSwap(old, a.mzxid); {
			old = u.newest.Load()
		}
	}
	u.seen = max(u.seen, a.zxid)
}

// draw draws the next request.
func (u *user) draw() request {
	r := request{path: nodePath(u.random.IntN(orderNodes))}
	switch n := u.random.IntN(100); {
	case n < 20:
		u.written++
		r.op, r.data, r.version = opSetData, fmt.Sprintf("%d/%d", u.name, u.written), anyVersion
	case n < 25:
		r.op = opSync
	case n < 45:
		r.op = opExists
	default:
		r.op = opGetData
	}
	r.watch = (r.op == opExists || r.op == opGetData) && u.random.IntN(2) == 0
	return r
}
