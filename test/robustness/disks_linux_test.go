package robustness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

const (
	// memoryBytes is the size of a disk that fills, reserve what members keep free of it, and low what a test leaves. A segment of
	// the log has 64 MiB.
	memoryBytes = 320 << 20
	reserve     = 96 << 20
	low         = 80 << 20
	// hangTime is how long a disk hangs, and electionTimeout that of the members.
	hangTime        = 12 * time.Second
	electionTimeout = time.Second
	// callTimeout bounds one call of a client.
	callTimeout = 3 * time.Second
)

// TestDisks shows what members and clients see of disks that are full, hang and fail.
func TestDisks(t *testing.T) {
	if !harness.InMounts(t, tools, "mkfs.ext4", "fsfreeze", "strace") {
		return
	}
	t.Run("full cluster", testFullCluster)
	t.Run("full follower", testFullFollower)
	t.Run("hung leader", func(t *testing.T) { testHung(t, true) })
	t.Run("hung follower", func(t *testing.T) { testHung(t, false) })
	t.Run("fsync error at a follower", func(t *testing.T) { testSyncError(t, false) })
	t.Run("fsync error at the leader", func(t *testing.T) { testSyncError(t, true) })
}

// writer puts through one member, one key after the other, and keeps what was acknowledged.
type writer struct {
	client *clientv3.Client
	name   string
	size   int
	stop   chan struct{}
	ended  sync.WaitGroup

	mu    sync.Mutex
	acked []string
	// last is when the last put was acknowledged, gap the longest time between two.
	last   time.Time
	gap    time.Duration
	took   []time.Duration
	errors map[string]int
}

func startWriter(t *testing.T, m *harness.Member, name string, size int) *writer {
	t.Helper()
	w := &writer{client: dialFrom(t, m), name: name, size: size, stop: make(chan struct{}), last: time.Now(), errors: map[string]int{}}
	w.ended.Go(w.run)
	t.Cleanup(w.end)
	return w
}

func (w *writer) run() {
	value := strings.Repeat("v", w.size)
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		key := fmt.Sprintf("%s-%06d", w.name, n)
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		began := time.Now()
		_, err := w.client.Put(ctx, key, value)
		cancel()
		w.note(key, began, err)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (w *writer) note(key string, began time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errors[err.Error()]++
		return
	}
	now := time.Now()
	w.acked = append(w.acked, key)
	w.gap, w.last = max(w.gap, now.Sub(w.last)), now
	w.took = append(w.took, now.Sub(began))
}

// end stops the writer; it may be called again.
func (w *writer) end() {
	closeOnce(w.stop)
	w.ended.Wait()
}

// count returns how many puts were acknowledged.
func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// figures returns the 99th percentile of what puts from the n-th on took, and how many there are.
func (w *writer) figures(n int) (p99 time.Duration, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := slices.Clone(w.took[n:])
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)*99/100], len(took)
}

// checkKept checks that all members have all that was acknowledged.
func checkKept(t *testing.T, c *harness.Cluster, writers ...*writer) {
	t.Helper()
	total := 0
	for _, m := range c.Members {
		m.WaitReady()
		client := dialFrom(t, m)
		for _, w := range writers {
			w.end()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			answer, err := client.Get(ctx, w.name+"-", clientv3.WithPrefix(), clientv3.WithKeysOnly())
			cancel()
			if err != nil {
				t.Fatalf("read through %s: %v", m.Name, err)
			}
			have := map[string]bool{}
			for _, kv := range answer.Kvs {
				have[string(kv.Key)] = true
			}
			for _, key := range w.acked {
				if total++; !have[key] {
					t.Errorf("%s lacks %s, which was acknowledged", m.Name, key)
				}
			}
		}
	}
	t.Logf("%s: %d acknowledged puts looked for at three members: none lost", t.Name(), total/len(c.Members))
}

func call(fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return fn(ctx)
}

// awaitCall repeats a call until it ends as wanted, and returns how long that took.
func awaitCall(t *testing.T, what string, fn func(ctx context.Context) error, ok func(error) bool) time.Duration {
	t.Helper()
	began := time.Now()
	harness.Eventually(t, what, func() string {
		if err := call(fn); !ok(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	return time.Since(began)
}

func isNil(err error) bool     { return err == nil }
func isNoSpace(err error) bool { return errors.Is(err, rpctypes.ErrNoSpace) }

// wantLogged checks that a member has said something, and shows it.
func wantLogged(t *testing.T, m *harness.Member, text string) {
	t.Helper()
	var line string
	harness.Eventually(t, m.Name+" says "+text, func() string {
		if line = m.Logged(text); line == "" {
			return "it does not"
		}
		return ""
	})
	t.Logf("%s said: %s", m.Name, line)
}

// testFullCluster fills the disks of two of three members, and frees them.
func testFullCluster(t *testing.T) {
	c := harness.NewCluster(t, tools, 3, "--disk-reserve", fmt.Sprint(reserve), "--log-level", "info")
	volumes := map[*harness.Member]*harness.Volume{}
	for _, m := range c.Members {
		volumes[m] = harness.MountMemory(m, memoryBytes)
	}
	c.Start()
	w := startWriter(t, c.Members[0], "full", 100)
	zoo := dialZK(t, c.Members[1], survivorTimeout)
	if err := zoo.create("/before", 0); err != nil {
		t.Fatal(err)
	}
	filled := []*harness.Member{c.Leader(), c.Others(c.Leader())[0]}
	began := time.Now()
	for _, m := range filled {
		volumes[m].Fill(low)
	}
	harness.Eventually(t, "the office goes to the member that has room", func() string {
		if leader := c.Leader(); slices.Contains(filled, leader) {
			return leader.Name + " leads"
		}
		return ""
	})
	for _, m := range c.Members {
		client := dialFrom(t, m)
		put := func(ctx context.Context) error { _, err := client.Put(ctx, "grows", ""); return err }
		awaitCall(t, "a put that is refused by "+m.Name, put, isNoSpace)
		t.Logf("%s refuses puts %v after two of three disks were filled, at the latest: %v", m.Name, time.Since(began).Round(time.Millisecond), call(put))
		checkRest(t, m, client)
	}
	if err := zoo.create("/grows", 0); err == nil || !strings.Contains(err.Error(), "-125") {
		t.Errorf("create through a full cluster: %v, want -125 (QUOTAEXCEEDED)", err)
	}
	if err := zoo.Delete("/before", -1); err != nil {
		t.Errorf("delete through a full cluster: %v", err)
	}
	dialZK(t, c.Members[2], survivorTimeout).Close()
	for _, m := range filled {
		wantLogged(t, m, "the disk of this member is low")
	}
	wantLogged(t, c.Leader(), "the disks of the cluster are full")
	for _, m := range filled {
		volumes[m].Empty()
	}
	took := awaitCall(t, "puts are taken again", func(ctx context.Context) error { _, err := w.client.Put(ctx, "again", ""); return err }, isNil)
	t.Logf("puts are taken again %v after space was freed", took.Round(time.Millisecond))
	wantLogged(t, c.Leader(), "the disks of the cluster have room again")
	awaitCall(t, "creates are taken again", func(context.Context) error { return zoo.create("/again", 0) }, isNil)
	checkKept(t, c, w)
	c.Terminate()
}

// checkRest checks that a member of a full cluster does what does not grow.
func checkRest(t *testing.T, m *harness.Member, client *clientv3.Client) {
	t.Helper()
	for what, fn := range map[string]func(ctx context.Context) error{
		"get":    func(ctx context.Context) error { _, err := client.Get(ctx, "full-000000"); return err },
		"delete": func(ctx context.Context) error { _, err := client.Delete(ctx, "nothing"); return err },
		"txn that deletes": func(ctx context.Context) error {
			_, err := client.Txn(ctx).Then(clientv3.OpDelete("nothing")).Commit()
			return err
		},
	} {
		if err := call(fn); err != nil {
			t.Errorf("%s through %s of a full cluster: %v", what, m.Name, err)
		}
	}
	if err := call(func(ctx context.Context) error { _, err := client.Grant(ctx, 60); return err }); !isNoSpace(err) {
		t.Errorf("grant through %s of a full cluster: %v", m.Name, err)
	}
	if answer, err := m.FourLetters("srvr"); err != nil || !strings.Contains(answer, "Mode: ") {
		t.Errorf("srvr of %s of a full cluster: %q, %v", m.Name, answer, err)
	}
}

// testFullFollower fills one disk to the last byte: its member stops, the others go on, and it comes back when there is room.
func testFullFollower(t *testing.T) {
	c := harness.NewCluster(t, tools, 3, "--disk-reserve", "0", "--log-level", "info")
	for _, m := range c.Members[:2] {
		harness.MountDisk(m, 1<<30)
	}
	third := harness.MountMemory(c.Members[2], 160<<20)
	c.Start()
	victim := c.Members[2]
	if c.Leader() == victim {
		client := dialFrom(t, victim)
		id := memberID(t, client, c.Members[0].Name)
		if err := call(func(ctx context.Context) error { _, err := client.MoveLeader(ctx, id); return err }); err != nil {
			t.Fatal(err)
		}
	}
	w := startWriter(t, c.Members[0], "one", 100_000)
	third.Fill(0)
	end := victim.WaitEnd()
	n := w.count()
	if end == nil {
		t.Error("a member whose disk is full ended as if it had been told to")
	}
	t.Logf("%s ended with %v", victim.Name, end)
	wantLogged(t, victim, "is full and this member stops: free space there")
	harness.Eventually(t, "the others go on", func() string {
		if now := w.count(); now < n+20 {
			return fmt.Sprintf("%d puts since", now-n)
		}
		return ""
	})
	w.end()
	third.Empty()
	victim.Start()
	checkKept(t, c, w)
	t.Logf("the longest time between two puts: %v", w.gap.Round(time.Millisecond))
	c.Terminate()
}

func memberID(t *testing.T, client *clientv3.Client, name string) uint64 {
	t.Helper()
	list, err := client.MemberList(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Members {
		if m.Name == name {
			return m.ID
		}
	}
	t.Fatalf("no member %s", name)
	return 0
}

// testHung lets the disk of one member hang.
func testHung(t *testing.T, leads bool) {
	c := harness.NewCluster(t, tools, 3, "--log-level", "info", "--election-timeout", fmt.Sprint(electionTimeout.Milliseconds()))
	volumes := map[*harness.Member]*harness.Volume{}
	for _, m := range c.Members {
		volumes[m] = harness.MountDisk(m, 512<<20)
	}
	c.Start()
	hung := c.Leader()
	if !leads {
		hung = c.Others(hung)[0]
	}
	leader, others := c.Leader(), c.Others(hung)
	w, own := startWriter(t, others[0], "other", 100), startWriter(t, hung, "own", 100)
	keeper := dialFrom(t, others[1])
	granted, err := keeper.Grant(context.Background(), 3)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := keeper.KeepAlive(context.Background(), granted.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range kept { // The client wants them taken.
		}
	}()
	zoo := dialZK(t, others[1], 4*time.Second)
	roamer, other := dialMany(t, 6*time.Second, hung, others[0]), dialMany(t, 6*time.Second, others[0], hung)
	time.Sleep(3 * time.Second) // so that there is something to compare with
	before, _ := w.figures(0)
	n, ownBefore, began := w.count(), own.count(), time.Now()
	volumes[hung].Freeze()
	frozen := own.count()
	if leads {
		harness.Eventually(t, "another leader", func() string {
			for _, m := range others {
				if answer, err := m.FourLetters("srvr"); err == nil && strings.Contains(answer, "Mode: leader") {
					leader = m
					return ""
				}
			}
			return "none"
		})
		took := time.Since(began)
		t.Logf("%s leads %v after the disk of %s hung", leader.Name, took.Round(time.Millisecond), hung.Name)
		if took > 4*electionTimeout+time.Second {
			t.Errorf("that is more than two election timeouts, an election and a second")
		}
	}
	time.Sleep(time.Until(began.Add(hangTime)))
	ownAfter := own.count()
	p99, during := w.figures(n)
	own.mu.Lock()
	t.Logf("%d puts through another member meanwhile, 99%% within %v (before: %v), none for %v; own clients: %d acknowledged in the moment of the freeze, %d later; they saw %v",
		during, p99.Round(100*time.Microsecond), before.Round(100*time.Microsecond), w.gap.Round(time.Millisecond), frozen-ownBefore, ownAfter-frozen, own.errors)
	own.mu.Unlock()
	if ownAfter > frozen+1 { // One may be answered between the freeze and the look.
		t.Errorf("%s acknowledged %d puts while its disk hung", hung.Name, ownAfter-frozen)
	}
	if during < 100 || !leads && w.gap > time.Second {
		t.Errorf("the others were held up: %d puts, none for %v", during, w.gap)
	}
	volumes[hung].Thaw()
	took := awaitCall(t, "puts through "+hung.Name, func(ctx context.Context) error { _, err := own.client.Put(ctx, "thawed", ""); return err }, isNil)
	t.Logf("%s takes puts again %v after its disk goes on", hung.Name, took.Round(time.Millisecond))
	if answer, err := keeper.TimeToLive(context.Background(), granted.ID); err != nil || answer.TTL <= 0 {
		t.Errorf("the lease that was kept alive: %+v, %v", answer, err)
	}
	for name, one := range map[string]*zkClient{"of another member": zoo, "that moved": roamer, "that knows the hung one too": other} {
		select {
		case <-one.expired:
			t.Errorf("the session of a living client %s ended", name)
		default:
		}
	}
	checkKept(t, c, w, own)
	c.Terminate()
}

// dialMany opens a session of a client that knows several members, through the first.
func dialMany(t *testing.T, timeout time.Duration, members ...*harness.Member) *zkClient {
	t.Helper()
	c := &zkClient{opened: make(chan struct{}), expired: make(chan struct{})}
	var addresses []string
	for _, m := range members {
		addresses = append(addresses, m.ZooKeeper)
	}
	conn, _, err := zk.Connect(addresses, timeout, zk.WithHostProvider(&inOrder{all: addresses}), zk.WithLogger(silent{}), zk.WithEventCallback(c.follow))
	if err != nil {
		t.Fatal(err)
	}
	await(t, c.opened, "a session")
	c.Conn = conn
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(writeWait):
				_, _ = conn.Set("/", nil, -1) // What becomes of it does not matter here: the session does.
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		conn.Close()
		writing.Wait()
	})
	return c
}

// inOrder is a host provider that goes through its servers in order; the client would shuffle them.
type inOrder struct {
	mu   sync.Mutex
	all  []string
	next int
}

// Init implements zk.HostProvider.
func (p *inOrder) Init([]string) error { return nil }

// Len implements zk.HostProvider.
func (p *inOrder) Len() int { return len(p.all) }

// Next implements zk.HostProvider.
func (p *inOrder) Next() (server string, retryStart bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server = p.all[p.next%len(p.all)]
	p.next++
	return server, p.next%len(p.all) == 0
}

// Connected implements zk.HostProvider.
func (p *inOrder) Connected() {}

// testSyncError makes the syncs of one member fail.
func testSyncError(t *testing.T, leads bool) {
	c := harness.NewCluster(t, tools, 3, "--log-level", "info")
	victim := c.Members[1]
	victim.Under("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=120+")
	c.Start()
	if leads && c.Leader() != victim {
		client := dialFrom(t, c.Leader())
		id := memberID(t, client, victim.Name)
		if err := call(func(ctx context.Context) error { _, err := client.MoveLeader(ctx, id); return err }); err != nil {
			t.Fatal(err)
		}
	}
	w, own := startWriter(t, c.Members[0], "other", 100), startWriter(t, victim, "own", 100)
	began := time.Now()
	end := victim.WaitEnd()
	n := w.count()
	t.Logf("%s ended with %v after %v, %d own puts acknowledged", victim.Name, end, time.Since(began).Round(time.Millisecond), own.count())
	if end == nil {
		t.Error("a member whose sync failed ended as if it had been told to")
	}
	wantLogged(t, victim, "has failed and this member stops without trying again")
	harness.Eventually(t, "the others go on", func() string {
		if now := w.count(); now < n+100 {
			return fmt.Sprintf("%d puts since", now-n)
		}
		return ""
	})
	own.end()
	w.end()
	victim.Under()
	victim.Start()
	checkKept(t, c, w, own)
	t.Logf("the longest time between two puts through another member: %v", w.gap.Round(time.Millisecond))
	c.Terminate()
}
