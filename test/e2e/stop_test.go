package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

// load writes through both doors until something is refused, and remembers what was acknowledged.
type load struct {
	t       *testing.T
	mu      sync.Mutex
	keys    []string
	znodes  []string
	acked   atomic.Int64
	writers sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context
}

// startLoad starts writers of each kind at each of the members. Names begin with name.
func startLoad(t *testing.T, name string, members ...*harness.Member) *load {
	t.Helper()
	l := &load{t: t}
	l.ctx, l.stop = context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(l.stop)
	const writersEach = 4
	for i, m := range members {
		client, conn := dialEtcd(t, m), dialZooKeeper(t, m)
		for w := range writersEach {
			prefix := fmt.Sprintf("%s-%d-%d-", name, i, w)
			l.writers.Go(func() { l.writeKeys(client, prefix) })
			l.writers.Go(func() { l.writeZnodes(conn, "/"+prefix) })
		}
	}
	return l
}

func (l *load) writeKeys(client *clientv3.Client, prefix string) {
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s%d", prefix, i)
		if _, err := client.Put(l.ctx, key, key); err != nil {
			return
		}
		l.mu.Lock()
		l.keys = append(l.keys, key)
		l.mu.Unlock()
		l.acked.Add(1)
	}
}

func (l *load) writeZnodes(conn *zk.Conn, prefix string) {
	for i := 0; l.ctx.Err() == nil; i++ {
		path := fmt.Sprintf("%s%d", prefix, i)
		if _, err := conn.Create(path, []byte(path), 0, zk.WorldACL(zk.PermAll)); err != nil {
			return
		}
		l.mu.Lock()
		l.znodes = append(l.znodes, path)
		l.mu.Unlock()
		l.acked.Add(1)
	}
}

// waitAcked returns once n writes were acknowledged.
func (l *load) waitAcked(n int64) {
	l.t.Helper()
	harness.Eventually(l.t, "writes under load", func() string {
		if got := l.acked.Load(); got < n {
			return fmt.Sprintf("%d of %d", got, n)
		}
		return ""
	})
}

// end waits until all writers have been refused or told to stop.
func (l *load) end() {
	l.stop()
	l.writers.Wait()
}

// check reads back everything that was acknowledged, through both doors of a member.
func (l *load) check(m *harness.Member) {
	l.t.Helper()
	client, conn := dialEtcd(l.t, m), dialZooKeeper(l.t, m)
	if _, err := conn.Sync("/"); err != nil {
		l.t.Errorf("sync at %s: %v", m.Name, err)
	}
	lost := 0
	for _, key := range l.keys {
		if got := get(l.t, client, key); got != key {
			lost++
			l.t.Logf("at %s the key %s holds %q", m.Name, key, got)
		}
	}
	for _, path := range l.znodes {
		if got, _, err := conn.Get(path); err != nil || string(got) != path {
			lost++
			l.t.Logf("at %s the znode %s holds %q: %v", m.Name, path, got, err)
		}
	}
	if lost > 0 {
		l.t.Errorf("%d of %d acknowledged writes are lost at %s", lost, len(l.keys)+len(l.znodes), m.Name)
	}
}

// TestSignalsDrain stops a member that is under load: it ends with status 0, and everything that it
// has acknowledged is there when it is started again.
func TestSignalsDrain(t *testing.T) {
	c := harness.NewCluster(t, tools, 1)
	m := c.Members[0]
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c.Start()
		l := startLoad(t, fmt.Sprintf("signal-%d", sig), m)
		l.waitAcked(200)
		m.Signal(sig)
		m.WaitExit()
		l.end()
		c.Start()
		l.check(m)
		m.Terminate()
	}
}

// drainTimeout is how long a member waits for requests under way when it is told to stop.
const drainTimeout = 5 * time.Second

// TestIdleClientsAreNotWaitedFor stops a member that has idle connections on every port: only
// requests under way are worth waiting for.
func TestIdleClientsAreNotWaitedFor(t *testing.T) {
	c := harness.NewCluster(t, tools, 1)
	c.Start()
	m := c.Members[0]
	put(t, dialEtcd(t, m), "k", "v")
	if _, _, err := dialZooKeeper(t, m).Get("/"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.Terminate()
	if took := time.Since(start); took >= drainTimeout {
		t.Errorf("it took %v to stop, as if idle clients were waited for", took)
	}
}

// TestStopWithoutQuorum stops a member that never had a leader.
func TestStopWithoutQuorum(t *testing.T) {
	c := harness.NewCluster(t, tools, 3)
	m := c.Members[0]
	m.Start()
	founded(t, m)
	m.Terminate()
}

// founded waits until a member has made its data directory.
func founded(t *testing.T, m *harness.Member) {
	t.Helper()
	harness.Eventually(t, "data directory of "+m.Name, func() string {
		if _, err := os.Stat(filepath.Join(m.DataDir, "okapi.identity")); err != nil {
			return err.Error()
		}
		if _, err := os.Stat(filepath.Join(m.DataDir, "okapi.founding")); err == nil {
			return "okapi.founding is still there"
		}
		return ""
	})
}

// TestGreeting checks that a new user is told how to connect with each kind of client.
func TestGreeting(t *testing.T) {
	c := harness.NewCluster(t, tools, 1)
	c.Start()
	m := c.Members[0]
	text := m.LogTail()
	for _, want := range []string{
		"is ready: member n1, data in " + m.DataDir, "etcdctl --endpoints=http://" + m.Client, "zkCli.sh -server " + m.ZooKeeper, "/zk/a",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

// TestLeaderHandsOver stops the leader of three. The election timeout is long, so that only a
// leader that hands its office on lets the others write before it has passed.
func TestLeaderHandsOver(t *testing.T) {
	const electionTimeout = 5 * time.Second
	c := harness.NewCluster(t, tools, 3, "--election-timeout", fmt.Sprint(electionTimeout.Milliseconds()))
	c.Start()
	leader := c.Leader()
	others := c.Others(leader)
	client := dialEtcd(t, others[0])
	put(t, client, "before", "v")
	leader.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(t.Context(), electionTimeout)
	defer cancel()
	leader.WaitExit()
	tries := 0
	for {
		tries++
		_, err := client.Put(ctx, "after", "v")
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("no write through %s within an election timeout of the leader's end (%d tries): %v", others[0].Name, tries, err)
		}
	}
	if now := c.Leader(); now == leader {
		t.Errorf("%s was stopped and still leads", leader.Name)
	}
	leader.Start()
	leader.WaitReady()
	if got := get(t, dialEtcd(t, leader), "after"); got != "v" {
		t.Errorf("the old leader reads %q", got)
	}
}

// TestKilledUnderLoad kills all members again and again while they are written to: what was
// acknowledged is there afterwards, on every member and through both doors.
func TestKilledUnderLoad(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d members", members), func(t *testing.T) {
			c := harness.NewCluster(t, tools, members)
			var loads []*load
			for round := range 3 {
				c.Start()
				for _, m := range c.Members {
					for _, l := range loads {
						l.check(m)
					}
				}
				l := startLoad(t, fmt.Sprintf("round-%d", round), c.Members...)
				l.waitAcked(300)
				c.Kill()
				l.end()
				loads = append(loads, l)
			}
			c.Start()
			total := 0
			for _, l := range loads {
				total += len(l.keys) + len(l.znodes)
				for _, m := range c.Members {
					l.check(m)
				}
			}
			t.Logf("%d acknowledged writes survived %d kills of %d members", total, len(loads), members)
		})
	}
}

// TestDirectoryOfAnother starts members on a directory that another process uses, and on one that
// belongs to another member of the same cluster.
func TestDirectoryOfAnother(t *testing.T) {
	c := harness.NewCluster(t, tools, 2)
	for _, m := range c.Members {
		m.Start()
		founded(t, m)
	}
	first, second := c.Members[0], c.Members[1]
	second.Terminate()
	elsewhere := []string{"--listen-client-urls=http://127.0.0.1:0", "--listen-zookeeper=127.0.0.1:0", "--log-level=info"}
	for _, a := range []struct {
		name   string
		before func()
		args   []string
		want   []string
	}{
		{"in use", func() {}, slices.Concat(first.Args(), elsewhere, []string{"--listen-peer-urls=http://127.0.0.1:0"}), []string{
			"data directory " + first.DataDir + " is in use", "stop the other okapi or choose another --data-dir",
		}},
		{"another member's", first.Terminate, slices.Concat(second.Args(), elsewhere, []string{"--data-dir", first.DataDir}), []string{
			"data directory " + first.DataDir + " belongs to member", `("n1"), not to member`, `("n2") of the same cluster: give each member its own --data-dir`,
		}},
	} {
		a.before()
		status, out, errs := okapi(t, attempt{}, t.TempDir(), a.args...)
		if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !inOrder(errs, a.want) {
			t.Errorf("%s: status %d, output %q, errors\n%s", a.name, status, out, errs)
		}
	}
}

// TestOneDoor runs members that serve one kind of clients alone.
func TestOneDoor(t *testing.T) {
	t.Run("etcd", func(t *testing.T) {
		m := harness.NewCluster(t, tools, 1, "--listen-zookeeper=").Members[0]
		m.Start()
		client := dialEtcd(t, m)
		put(t, client, "k", "v")
		if got := get(t, client, "k"); got != "v" {
			t.Errorf("the key holds %q", got)
		}
		m.Terminate()
	})
	t.Run("ZooKeeper", func(t *testing.T) {
		m := harness.NewCluster(t, tools, 1, "--listen-client-urls=").Members[0]
		m.Start()
		conn := dialZooKeeper(t, m)
		if _, err := conn.Create("/n", []byte("v"), 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Errorf("create: %v", err)
		}
		m.Terminate()
	})
}
