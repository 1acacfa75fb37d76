package robustness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
	"github.com/okapi-kv/okapi/test/robustness/check"
)

const (
	// plainPrefix and treePrefix are what a fleet's keys begin with, and treeTop the znode above all of its nodes.
	plainPrefix = "f/"
	treeTop     = "/f"
	treePrefix  = "/zk" + treeTop
	sharedTop   = treeTop + "/shared" // nodes that all write, through both doors
	ownTop      = treeTop + "/own"    // nodes of which each is made and deleted once
	sequenceTop = treeTop + "/seq"    // sequential nodes

	fleetKeys      = 16
	fleetNodes     = 8
	fleetRegisters = 2 // that are new after each fault, so that each has a short history

	// callPatience is how long a client waits for an answer before it takes the outcome for unknown.
	callPatience = 2500 * time.Millisecond
	// retryPause is how long a client waits after a member that did not answer, before it asks one again.
	retryPause = 20 * time.Millisecond
	// lastingTimeout is that of sessions and leases which are kept to the end by clients that can go to any member, and
	// pinnedTimeout that of a client whose member may be away for long.
	lastingTimeout = 10 * time.Second
	pinnedTimeout  = 40 * time.Second
)

// everywhere stands for the members that a client uses when it is pinned to none.
const everywhere = -1

// fleet is clients of both doors that use a cluster and record each of their calls.
type fleet struct {
	seed  uint64
	start time.Time
	// pause is what a client waits between two calls, on the average.
	pause time.Duration
	// generation numbers the registers in use.
	generation atomic.Int64
	clients    int
	running    sync.WaitGroup // clients that load
	keeping    sync.WaitGroup // clients that keep what they own alive, longer than the load

	mu         sync.Mutex
	members    []*harness.Member // by the number that operations have
	left       map[int]bool      // members that clients do not know of any more
	operations []*check.Operation
	owners     []*check.Owner
}

func newFleet(members []*harness.Member, seed uint64, pause time.Duration) *fleet {
	return &fleet{members: members, left: map[int]bool{}, seed: seed, start: time.Now(), pause: pause}
}

// join lets clients use one more member, and returns its number.
func (f *fleet) join(m *harness.Member) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, m)
	return len(f.members) - 1
}

// leave keeps clients from going to a member any more.
func (f *fleet) leave(m *harness.Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for number, other := range f.members {
		if other == m {
			f.left[number] = true
		}
	}
}

// member returns the member with a number.
func (f *fleet) member(number int) *harness.Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[number]
}

// next returns the number of the member that a client tries after one.
func (f *fleet) next(number int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range f.members {
		if number = (number + 1) % len(f.members); !f.left[number] {
			break
		}
	}
	return number
}

// now is the time since the beginning of the run.
func (f *fleet) now() time.Duration { return time.Since(f.start) }

func (f *fleet) record(o *check.Operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.operations = append(f.operations, o)
}

// own records a session or lease. Its client alone changes it, until it has ended.
func (f *fleet) own(o *check.Owner) *check.Owner {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owners = append(f.owners, o)
	return o
}

// launch starts all clients: for each door one pinned to each member and two that roam, one whose leases or sessions die, and one
// that keeps leases. Those that load end with load, those that keep what they own alive with keep.
func (f *fleet) launch(load, keep context.Context) {
	f.keeping.Go(func() { newEtcdCaller(f, everywhere).keepLease(keep) })
	for _, member := range []int{0, 1, 2, everywhere, everywhere} {
		etcd, zk := newEtcdCaller(f, member), newZKCaller(f, member)
		f.running.Go(func() { etcd.load(load) })
		loaded := make(chan struct{})
		f.running.Go(func() {
			defer close(loaded)
			zk.load(load)
		})
		f.keeping.Go(func() {
			<-loaded
			zk.keepSession(keep)
		})
	}
	etcd, zk := newEtcdCaller(f, everywhere), newZKCaller(f, everywhere)
	f.running.Go(func() { etcd.leaveLeases(load) })
	f.running.Go(func() { zk.leaveSessions(load) })
}

// caller is what clients of both doors have in common.
type caller struct {
	*fleet
	number int
	random *rand.Rand
	pinned int
	at     int // the member in use
	values int
}

func newCaller(f *fleet, pinned int) caller {
	f.clients++
	c := caller{fleet: f, number: f.clients, random: rand.New(rand.NewPCG(f.seed, uint64(f.clients))), pinned: pinned, at: pinned}
	if pinned == everywhere {
		c.at = c.next(c.random.IntN(1 << 16))
	}
	return c
}

// value returns one that nobody else writes.
func (c *caller) value() string {
	c.values++
	return fmt.Sprintf("c%d.%d", c.number, c.values)
}

func (c *caller) key() string { return fmt.Sprintf("%skey%02d", plainPrefix, c.random.IntN(fleetKeys)) }

func (c *caller) register() string {
	return fmt.Sprintf("%sreg%03d.%d", plainPrefix, c.generation.Load(), c.random.IntN(fleetRegisters))
}

func (c *caller) shared() string { return sharedNode(c.random.IntN(fleetNodes)) }

func sharedNode(n int) string { return fmt.Sprintf("%s/n%d", sharedTop, n) }

// move goes to another member, if the client may.
func (c *caller) move() {
	if c.pinned == everywhere {
		c.at = c.next(c.at)
	}
}

// rest waits between two calls.
func (c *caller) rest(ctx context.Context) {
	sleep(ctx, time.Duration(c.random.Int64N(int64(2*c.pause))))
}

// sleep waits that long, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// begin begins to record an operation.
func (c *caller) begin(kind string) *check.Operation {
	return &check.Operation{Client: c.number, Member: c.at, Kind: kind, Call: c.now()}
}
