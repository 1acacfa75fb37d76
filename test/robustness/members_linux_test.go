package robustness

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
	"github.com/okapi-kv/okapi/test/robustness/check"
)

var (
	membersKeys  = flag.Int("members.keys", 5000, "how many keys there are before the first member is added; 200,000 make it catch up by a large snapshot")
	membersPause = flag.Duration("members.pause", 10*time.Millisecond, "between two calls of a client, on the average")
)

const (
	// membersWaitMax is the longest that a write may wait.
	membersWaitMax = 2 * time.Second
	// membersClients is how many clients of each door write and read.
	membersClients = 3
)

// TestMembers changes who belongs to a cluster, from one member to three, five and three, under load through both doors and by the command
// line of operators alone. Members are added, catch up, and get their vote; an observer comes and goes; the leader is
// moved and removed; a member is killed with its data and replaced. What must be refused is tried on the way.
//
// All that clients did and were told is recorded, and checked as TestFaults does it. No write may wait for longer than
// membersWaitMax. How long one waits is measured by its client, from the first time that it was sent until anybody acknowledged it. The
// client gives a write up with its member: when the connection ends, when it is told that the write was not done, and
// after callPatience, which is too long already. It then sends the write again to the next member that it knows of, with a value of its own, so that
// each attempt can be found; the write waits on. All this is idempotent: it puts a key, or sets a node. What a client waits
// since it talks to a member that was removed or is dead counts. Clients hear of a member when it serves, and hear that it
// has gone only after it has. Beside these writes clients make others that they send once, such as a compare and swap: their waits end with the answer
// or without one, and count too.
//
// The member that is killed does not lead: how long a cluster misses its leader is what TestFaults measures.
func TestMembers(t *testing.T) {
	o := newOperator(t, "--tree-history", "24h", "--log-level", "info")
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	o.found(ctx)
	loading, endLoad := context.WithCancel(ctx)
	keeping, endKeeping := context.WithCancel(ctx)
	o.load(loading, keeping)

	n1 := o.serving[0]
	o.step("refuse to remove the only member", func() {
		o.refused("at least one voter must stay", "remove", n1.Name)
	})
	n2 := o.grow()
	n3 := o.grow()
	o.observe(ctx)
	o.grow()
	n6 := o.grow()
	o.step("move the leader to "+n6.Name, func() {
		o.run("move-leader", n6.Name)
		if leads := o.cluster.Leader(); leads != n6 {
			t.Errorf("%s leads, want %s", leads.Name, n6.Name)
		}
	})
	o.remove(n6) // which leads
	o.remove(o.named("n5"))
	lost := n3
	if o.cluster.Leader() == n3 {
		lost = n2
	}
	o.lose(lost)
	o.replace(lost)

	endLoad()
	o.running.Wait()
	h := o.gather(ctx)
	endKeeping()
	o.keeping.Wait()
	o.report()
	judge(t, h)
	compareMembers(ctx, t, "cluster-2", o.living().Members)
	o.living().Terminate()
}

// found starts the first member and fills it.
func (o *operator) found(ctx context.Context) {
	o.t.Helper()
	first := o.cluster.Members[0]
	o.cluster.Start()
	o.welcome(first)
	if !(&faultRun{fleet: o.fleet, t: o.t, cluster: o.cluster}).makeNodes(ctx) {
		o.t.Fatal("the nodes that all use cannot be made")
	}
	o.watch(ctx)
	c := dialFrom(o.t, first)
	const batch = 100
	for n := 0; n < *membersKeys; n += batch {
		var puts []clientv3.Op
		for i := range batch {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("filling/%08d", n+i), strings.Repeat("x", 100)))
		}
		if _, err := c.Txn(ctx).Then(puts...).Commit(); err != nil {
			o.t.Fatalf("fill the store: %v", err)
		}
	}
}

// load starts clients: of each door, some that go to any member, and one of etcd that keeps leases.
func (o *operator) load(load, keep context.Context) {
	o.keeping.Go(func() { newEtcdCaller(o.fleet, everywhere).keepLease(keep) })
	for range membersClients {
		etcd, zk := newEtcdCaller(o.fleet, everywhere), newZKCaller(o.fleet, everywhere)
		o.running.Go(func() {
			defer etcd.close()
			for load.Err() == nil {
				o.insist(func() bool { return etcd.put(etcd.key(), nil) })
				etcd.step(load)
				etcd.rest(load)
			}
		})
		loaded := make(chan struct{})
		o.running.Go(func() {
			defer close(loaded)
			for load.Err() == nil {
				o.insist(func() bool { return zk.enter(lastingTimeout, check.Kept) && zk.set(zk.shared(), anyVersion) })
				if zk.conn != nil {
					zk.step()
				}
				zk.rest(load)
			}
		})
		o.keeping.Go(func() {
			<-loaded
			zk.keepSession(keep)
		})
	}
}

// watch begins to record a watch of each kind of keys, which goes to whatever member it can.
func (o *operator) watch(ctx context.Context) {
	for _, p := range prefixes() {
		w := &record{name: "watch of " + p, matches: func(key string) bool { return strings.HasPrefix(key, p) }}
		o.records = append(o.records, w)
		go w.run(ctx, o.watcher, p, clientv3.WithPrefix(), clientv3.WithPrevKV())
	}
}

// gather puts together what is known of the run.
func (o *operator) gather(ctx context.Context) *check.History {
	r := &faultRun{fleet: o.fleet, t: o.t, cluster: o.living(), records: o.records}
	return r.gather(ctx)
}

// grow adds a member, and gives it its vote when it has caught up.
func (o *operator) grow() *harness.Member {
	o.t.Helper()
	m := o.cluster.Add()
	o.step("add "+m.Name+", start and promote it", func() {
		o.add(m)
		o.refused("cannot get a vote within", "promote", m.Name, "--timeout", "300ms") // it has not started
		o.refused("cannot get a vote within", "promote", o.idAt(m), "--timeout", "300ms")
		m.Start()
		o.run("promote", o.idAt(m)) // as it catches up, and maybe before it has begun
		m.WaitReady()
		o.welcome(m)
	})
	snapshots := strings.Count(m.LogTail(), `msg="snapshot received"`)
	if snapshots == 0 {
		o.t.Errorf("%s does not say that it received a snapshot: where has it %d keys from?", m.Name, *membersKeys)
	}
	return m
}

// observe adds an observer, uses both of its doors, and removes it.
func (o *operator) observe(ctx context.Context) {
	o.t.Helper()
	m := o.cluster.Add()
	o.step("add the observer "+m.Name+" and use it", func() {
		o.add(m, "--observer")
		m.Start()
		m.WaitReady()
		number := o.welcome(m)
		if mode := m.Mode(); mode != "observer" {
			o.t.Errorf("srvr of %s says %q", m.Name, mode)
		}
		etcd, zk := newEtcdCaller(o.fleet, number), newZKCaller(o.fleet, number)
		defer etcd.close()
		defer zk.drop()
		if key := etcd.key(); !etcd.put(key, nil) {
			o.t.Errorf("the observer's etcd door acknowledges no put")
		} else {
			etcd.get(key, true)
			etcd.get(key, false)
		}
		if path := ownTop + "/" + zk.value(); !zk.enter(lastingTimeout, check.Left) || !zk.create(path, 0) {
			o.t.Errorf("the observer's ZooKeeper door acknowledges no create")
		} else {
			zk.get(path, true)
			zk.get(path, false)
		}
		o.expect(m, "observer", 3)
		sleep(ctx, time.Second) // in which the load uses it
	})
	o.remove(m)
}

// remove removes a member, by the command to itself, and sees it stop for good. The clients do not know of it before.
func (o *operator) remove(m *harness.Member) {
	o.t.Helper()
	leads := ""
	if o.cluster.Leader() == m {
		leads = ", which leads"
	}
	o.step("remove "+m.Name+leads, func() {
		const words = "this member was removed from the cluster: its data directory is of no more use; to bring the machine back"
		o.run("remove", m.Name, "--endpoints", "http://"+m.Client)
		m.WaitRefused(words)
		o.farewell(m)
		m.Start()
		m.WaitRefused(words)
	})
}

// lose kills a member, takes its data away, and tries what must not be done then.
func (o *operator) lose(m *harness.Member) {
	o.t.Helper()
	o.step("kill "+m.Name+" and lose its data", func() {
		m.Kill()
		o.farewell(m)
		o.empty(m)
		harness.Eventually(o.t, "the leader misses "+m.Name, func() string {
			if one := o.described(m); one.Present == nil || *one.Present {
				return fmt.Sprintf("it says %+v", one)
			}
			return ""
		})
	})
	o.step("refuse to remove another one", func() {
		for _, other := range o.serving {
			o.refused("too few voters are heard of: with this change the cluster could not decide anything any more", "remove", other.Name)
		}
	})
	o.step("refuse the empty "+m.Name, func() {
		m.Start()
		m.WaitRefused("it was lost, exchanged or rolled back, and what this member has promised with it; restore the latest state of it, or " +
			"replace this member by a new one (okapi member replace)")
		o.empty(m)
	})
}

// replace puts a new member in the place of a lost one, on its machine.
func (o *operator) replace(m *harness.Member) {
	o.t.Helper()
	o.step("replace "+m.Name+" by a new member", func() {
		was := o.idAt(m)
		m.Join(o.startFlags(o.run("replace", m.Name, m.Name, "--peer-urls", "http://"+m.Peer))...)
		m.Start()
		o.run("promote", m.Name)
		m.WaitReady()
		o.welcome(m)
		if is := o.idAt(m); is == was {
			o.t.Errorf("the new member has the id of the lost one: %s", is)
		}
	})
	o.step("take a vote, stop the member, and refuse the vote", func() {
		other := o.living().Others(o.cluster.Leader())[0]
		o.run("demote", other.Name)
		o.expect(other, "observer", 2)
		other.Terminate()
		o.refused("cannot get a vote within", "promote", other.Name, "--timeout", "3s")
		other.Start()
		o.run("promote", other.Name)
		o.expect(other, "voter", 3)
	})
}

// empty removes the data directory of a member.
func (o *operator) empty(m *harness.Member) {
	o.t.Helper()
	if err := os.RemoveAll(m.DataDir); err != nil {
		o.t.Fatal(err)
	}
}
