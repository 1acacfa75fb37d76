package robustness

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	cutoffRounds = flag.Int("cutoff.rounds", 2, "how often a follower and the leader are cut off")
	cutoffSeed   = flag.Uint64("cutoff.seed", 1, "of when members are cut off")
)

const (
	// survivorTimeout is that of a session, and the TTL of a lease, which outlives the cut by far. It is the longest that a
	// ZooKeeper client gets.
	survivorTimeout = 40 * time.Second
	// settlingMax is longer than clients wait between pings.
	settlingMax = 2500 * time.Millisecond
	// patience bounds each wait for what must come.
	patience = time.Minute
)

// holderTimeouts are those of the sessions and leases that end. The first is the shortest that a ZooKeeper client gets.
var holderTimeouts = []time.Duration{4 * time.Second, 5 * time.Second, 6 * time.Second}

// TestCutOff shows that a member which is cut off from the others ends the connections of its clients before anybody else gets
// their locks. The clients of the member stand beside it and reach it always; nothing but the member tells them that
// they are cut off. All times are of one clock, and what is checked is their order.
func TestCutOff(t *testing.T) {
	network, cluster := harness.NewNetwork(t, tools, 3)
	cluster.Start()
	random := rand.New(rand.NewPCG(*cutoffSeed, 0))
	survived := 0
	for n := range *cutoffRounds {
		for _, leads := range []bool{false, true} {
			r := newCutoff(t, network, cluster, n, leads)
			r.settling = time.Duration(random.Int64N(int64(settlingMax)))
			if r.run() {
				survived++
			}
		}
	}
	if survived == 0 {
		t.Error("no cut was so short that a session had to survive it: this machine is too slow to say")
	}
	cluster.Terminate()
}

// cutoff is one cut: of member from the others, through one of which others wait for the locks.
type cutoff struct {
	t       *testing.T
	name    string
	network *harness.Network
	cluster *harness.Cluster
	// member is cut off; other is not.
	member, other *harness.Member
	cut, healed   time.Time
	// settling is how long the clients are left in peace before the cut.
	settling time.Duration

	holders  []*holder
	waiter   *zkClient
	lessees  []*lessee
	survivor *zkClient
	lasting  clientv3.LeaseID
}

func newCutoff(t *testing.T, network *harness.Network, cluster *harness.Cluster, n int, leads bool) *cutoff {
	r := &cutoff{t: t, network: network, cluster: cluster}
	leader := cluster.Leader()
	followers := cluster.Others(leader)
	if leads {
		r.member, r.other, r.name = leader, followers[n%2], fmt.Sprintf("leader-%d", n+1)
	} else {
		r.member, r.name = followers[0], fmt.Sprintf("follower-%d", n+1)
		r.other = []*harness.Member{followers[1], leader}[n%2]
	}
	return r
}

// run tells whether the cut was short enough for the survivor to have to survive.
func (r *cutoff) run() bool {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	r.waiter = dialZK(r.t, r.other, survivorTimeout)
	r.hold(ctx)
	time.Sleep(r.settling) // so that a cut comes anywhere between two pings
	r.cut = time.Now()
	r.network.Cut(r.member)
	for _, h := range r.holders {
		await(r.t, h.taken, "somebody else gets the lock of "+h.name)
	}
	for _, l := range r.lessees {
		await(r.t, l.taken, "somebody else gets the key of "+l.name)
	}
	r.network.Heal(r.member)
	r.healed = time.Now()
	r.t.Logf("%s: %s was cut off for %v", r.name, r.member.Name, r.healed.Sub(r.cut).Round(time.Millisecond))
	r.member.WaitReady()
	for _, h := range r.holders {
		h.check(r)
	}
	for _, l := range r.lessees {
		l.check(ctx, r)
	}
	defer r.close()
	return r.checkSurvivors(ctx)
}

// close ends the sessions, so that the next cut is of its own clients alone.
func (r *cutoff) close() {
	for _, h := range r.holders {
		h.Close()
	}
	r.waiter.Close()
	r.survivor.Close()
}

// hold opens sessions and leases through the member, and has somebody wait for what each holds.
func (r *cutoff) hold(ctx context.Context) {
	for _, timeout := range holderTimeouts {
		for _, busy := range []bool{false, true} {
			kind := map[bool]string{false: "idle", true: "busy"}[busy]
			h := newHolder(r, fmt.Sprintf("%s-%s-%v", r.name, kind, timeout), timeout)
			r.holders = append(r.holders, h)
			if busy {
				go h.write()
			} else {
				close(h.stopped)
			}
		}
		r.lessees = append(r.lessees, newLessee(ctx, r, fmt.Sprintf("%s-lease-%v", r.name, timeout), timeout))
	}
	r.survivor = dialZK(r.t, r.member, survivorTimeout)
	r.must(r.survivor.create("/"+r.name+"-survivor", zk.FlagEphemeral))
	granted, err := dialFrom(r.t, r.member).Grant(ctx, int64(survivorTimeout/time.Second))
	r.must(err)
	r.lasting = granted.ID
}

// checkSurvivors checks that what had much time left lives on, and tells whether it had to.
func (r *cutoff) checkSurvivors(ctx context.Context) bool {
	path := "/" + r.name + "-survivor"
	session := r.survivor.first()
	harness.Eventually(r.t, "answer for the session that survives", func() string {
		if _, _, err := r.survivor.Get(path); err != nil {
			return err.Error()
		}
		return ""
	})
	if cut := r.healed.Sub(r.cut); cut >= survivorTimeout/3 {
		r.t.Logf("%s: not checked whether sessions of %v survive a cut of %v", r.name, survivorTimeout, cut)
		return false
	}
	select {
	case <-r.survivor.expired:
		r.t.Errorf("%s: a session of %v did not survive", r.name, survivorTimeout)
	default:
	}
	if now := r.survivor.SessionID(); now != session {
		r.t.Errorf("%s: session %x survived as %x", r.name, session, now)
	}
	if _, stat, err := r.waiter.Get(path); err != nil || stat.EphemeralOwner != session {
		r.t.Errorf("%s: the node of the session %x that survived: %+v, %v", r.name, session, stat, err)
	}
	if _, err := dialFrom(r.t, r.member).KeepAliveOnce(ctx, r.lasting); err != nil {
		r.t.Errorf("%s: keep-alive of a lease of %v: %v", r.name, survivorTimeout, err)
	}
	return true
}

func (r *cutoff) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s: %v", r.name, err)
	}
}

// since shows a moment as the time since the cut.
func (r *cutoff) since(at time.Time) string { return at.Sub(r.cut).Round(time.Millisecond).String() }

func await(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		t.Fatalf("in vain for %v: %s", patience, what)
	}
}

// holder holds a lock by a session through the member that is cut off.
type holder struct {
	*zkClient
	name string
	// answers are when the writes of the holder were answered, by number; they may be read when stopped is closed.
	answers []time.Time
	stopped chan struct{}
	// tookAt is when somebody else had the lock, and seen which writes of the holder it saw then; takeErr is what went wrong
	// with it. They may be read when taken is closed.
	taken   chan struct{}
	tookAt  time.Time
	seen    []string
	takeErr error
}

// newHolder returns when the lock is held and somebody else is waiting for it.
func newHolder(r *cutoff, name string, timeout time.Duration) *holder {
	h := &holder{
		zkClient: dialZK(r.t, r.member, timeout), name: name, stopped: make(chan struct{}), taken: make(chan struct{}),
	}
	r.must(h.create(h.log(), 0))
	r.must(zk.NewLock(h.Conn, h.path(), zk.WorldACL(zk.PermAll)).Lock())
	go h.take(r.waiter)
	harness.Eventually(r.t, "somebody who waits for "+name, func() string {
		if waiting, _, err := r.waiter.Children(h.path()); len(waiting) != 2 {
			return fmt.Sprintf("%q, %v", waiting, err)
		}
		return ""
	})
	return h
}

// path is the node below which the lock's queue is; log has the writes of the holder.
func (h *holder) path() string { return "/" + h.name + "-lock" }
func (h *holder) log() string  { return "/" + h.name + "-log" }

func writeName(n int) string { return fmt.Sprintf("w%06d", n) }

// write makes nodes, one after the other, until one is not answered well: the holder has learnt that it holds nothing any more.
func (h *holder) write() {
	defer close(h.stopped)
	for n := 0; ; n++ {
		if h.create(h.log()+"/"+writeName(n), 0) != nil {
			return
		}
		h.answers = append(h.answers, time.Now())
		time.Sleep(writeWait)
	}
}

// take waits for the lock and looks at once at what its holder did.
func (h *holder) take(c *zkClient) {
	defer close(h.taken)
	h.takeErr = zk.NewLock(c.Conn, h.path(), zk.WorldACL(zk.PermAll)).Lock()
	h.tookAt = time.Now()
	if h.takeErr == nil {
		_, h.takeErr = c.Sync(h.log())
	}
	if h.takeErr == nil {
		h.seen, _, h.takeErr = c.Children(h.log())
	}
}

// check checks the order of what happened to the lock.
func (h *holder) check(r *cutoff) {
	r.must(h.takeErr)
	select {
	case <-h.stopped:
	default:
		r.t.Errorf("%s: somebody else got the lock, and the holder goes on writing", h.name)
		await(r.t, h.stopped, h.name+" stops writing")
	}
	toldAt, closedAt, reason := h.told()
	if closedAt.IsZero() || !closedAt.Before(h.tookAt) {
		r.t.Errorf("%s: %s closes the connection after %s (%v), but somebody else has the lock after %s", h.name, r.member.Name, r.since(closedAt), reason, r.since(h.tookAt))
	}
	if toldAt.IsZero() || !toldAt.Before(h.tookAt) {
		r.t.Errorf("%s: the holder knows after %s, but somebody else has the lock after %s", h.name, r.since(toldAt), r.since(h.tookAt))
	}
	if closedAt.Before(r.cut) {
		r.t.Errorf("%s: the connection was closed before the cut: nothing is shown", h.name)
	}
	late := h.checkWrites(r)
	await(r.t, h.expired, h.name+" is told of the end of its session")
	r.t.Logf("%s: closed %s after the cut, holder told %s, next one has the lock %s: %v before; %d writes answered, %d after the cut",
		h.name, r.since(closedAt), r.since(toldAt), r.since(h.tookAt), h.tookAt.Sub(toldAt).Round(time.Millisecond), len(h.answers), late)
}

// checkWrites checks that no answered write is lost or was answered too late, and counts those that were answered after the cut.
func (h *holder) checkWrites(r *cutoff) (late int) {
	later, _, err := r.waiter.Children(h.log())
	r.must(err)
	slices.Sort(later)
	slices.Sort(h.seen)
	for n, at := range h.answers {
		if at.After(r.cut) {
			late++
		}
		if !at.Before(h.tookAt) {
			r.t.Errorf("%s: write %d is answered after %s, but somebody else has the lock after %s", h.name, n, r.since(at), r.since(h.tookAt))
		}
		for _, found := range [][]string{h.seen, later} {
			if _, ok := slices.BinarySearch(found, writeName(n)); !ok {
				r.t.Errorf("%s: write %d, answered after %s, is lost", h.name, n, r.since(at))
			}
		}
	}
	if len(later) > len(h.seen) {
		r.t.Errorf("%s: somebody else got the lock and saw %d writes of the one before; later there are %d", h.name, len(h.seen), len(later))
	}
	return late
}

// lessee holds a key by a lease through the member that is cut off. It trusts the lease for its TTL from when it asked for the
// last keep-alive that was answered, as a careful client does.
type lessee struct {
	name   string
	client *clientv3.Client
	lease  clientv3.LeaseID
	ttl    time.Duration
	// askedAt is when the last answered keep-alive was asked for; it may be read when stopped is closed, which is when the
	// lessee trusts its lease no more.
	askedAt time.Time
	kept    int
	stopped chan struct{}
	// kindled is closed when the first keep-alive is answered.
	kindled chan struct{}
	// tookAt is when somebody else had the key, and takeErr what kept it from that; they may be read when taken is closed.
	taken   chan struct{}
	tookAt  time.Time
	takeErr error
}

func newLessee(ctx context.Context, r *cutoff, name string, ttl time.Duration) *lessee {
	l := &lessee{
		name: name, client: dialFrom(r.t, r.member), ttl: ttl,
		askedAt: time.Now(), stopped: make(chan struct{}), kindled: make(chan struct{}), taken: make(chan struct{}),
	}
	granted, err := l.client.Grant(ctx, int64(ttl/time.Second))
	r.must(err)
	if got := time.Duration(granted.TTL) * time.Second; got != ttl {
		r.t.Fatalf("%s: granted a TTL of %v, not %v", name, got, ttl)
	}
	l.lease = granted.ID
	_, err = l.client.Put(ctx, name, "first", clientv3.WithLease(l.lease))
	r.must(err)
	go l.keep(ctx)
	go l.take(ctx, dialFrom(r.t, r.other))
	await(r.t, l.kindled, name+" is kept alive")
	return l
}

// keep keeps the lease alive as long as it can be trusted.
func (l *lessee) keep(ctx context.Context) {
	defer close(l.stopped)
	for {
		asked := time.Now()
		trusted, cancel := context.WithDeadline(ctx, l.askedAt.Add(l.ttl))
		_, err := l.client.KeepAliveOnce(trusted, l.lease)
		cancel()
		if err == nil {
			l.askedAt = asked
			l.kept++
			closeOnce(l.kindled)
		}
		select {
		case <-time.After(l.ttl / 20):
		case <-ctx.Done():
		}
		if time.Since(l.askedAt) >= l.ttl || ctx.Err() != nil {
			return
		}
	}
}

// take puts the key as soon as nobody holds it.
func (l *lessee) take(ctx context.Context, c *clientv3.Client) {
	defer close(l.taken)
	for {
		answer, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(l.name), "=", 0)).Then(clientv3.OpPut(l.name, "second")).Commit()
		if l.takeErr = ctx.Err(); l.takeErr != nil || err == nil && answer.Succeeded {
			l.tookAt = time.Now()
			return
		}
		if err == nil {
			awaitDelete(ctx, c, l.name, answer.Header.Revision+1)
		}
	}
}

// awaitDelete returns when the key is deleted, or when the watch ends.
func awaitDelete(ctx context.Context, c *clientv3.Client, key string, revision int64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for response := range c.Watch(ctx, key, clientv3.WithRev(revision), clientv3.WithFilterPut()) {
		if len(response.Events) > 0 {
			return
		}
	}
}

// check checks that the lease could not be trusted any more when somebody else had the key.
func (l *lessee) check(ctx context.Context, r *cutoff) {
	r.must(l.takeErr)
	await(r.t, l.stopped, l.name+" trusts its lease no more")
	until := l.askedAt.Add(l.ttl)
	if l.kept == 0 || until.Before(r.cut) {
		r.t.Errorf("%s: %d keep-alives, trusted until %s after the cut: nothing is shown", l.name, l.kept, r.since(until))
	}
	if !until.Before(l.tookAt) {
		r.t.Errorf("%s: the lease may be trusted for %s, but somebody else has the key after %s", l.name, r.since(until), r.since(l.tookAt))
	}
	harness.Eventually(r.t, "end of the lease "+l.name+" at the member that is back", func() string {
		left, err := l.client.TimeToLive(ctx, l.lease)
		switch {
		case err != nil:
			return err.Error()
		case left.TTL != -1:
			return fmt.Sprintf("%d s left", left.TTL)
		}
		return ""
	})
	r.t.Logf("%s: trusted until %s after the cut, next one has the key %s: %v before; %d keep-alives",
		l.name, r.since(until), r.since(l.tookAt), l.tookAt.Sub(until).Round(time.Millisecond), l.kept)
}
