package bench

import (
	"fmt"
	"testing"
	"time"
)

// TestDoors shows what requests cost servers as they are shipped, through both doors, alone and as three members on
// one machine. It promises nothing, because the clients compete for the same processors; the figure to look at
// is the processor time of all members together for one request.
func TestDoors(t *testing.T) {
	wanted(t)
	binary := build(t)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("members=%d", n), func(t *testing.T) {
			members := startCluster(t, binary, n)
			show := func(name string, load func() []time.Duration) {
				o := under(members, load)
				if !t.Failed() {
					t.Logf("doors: %d members: %-28s %v", n, name, o)
				}
			}
			doorEtcd(t, members, show)
			doorZooKeeper(t, members, show)
		})
	}
}

// doorEtcd loads the etcd door: 100 connections with 10 callers each.
func doorEtcd(t *testing.T, members []*member, show func(string, func() []time.Duration)) {
	g := grpcLoad{t: t, members: members, conns: 100, callers: 1000, total: 60_000}
	show("etcd put", func() []time.Duration { return g.run(put) })
	show("etcd get, linearizable", func() []time.Duration { return g.run(get) })
}

// doorZooKeeper loads the ZooKeeper door: 50 connections, as a server takes 60 from one address, with 20 requests under
// way each.
func doorZooKeeper(t *testing.T, members []*member, show func(string, func() []time.Duration)) {
	zkLoad{t: t, members: members[:1], conns: 1, depth: 100, total: parents + 1}.run(parent)
	z := zkLoad{t: t, members: members, conns: 50, depth: 20, total: 100_000}
	show("zookeeper create", func() []time.Duration { return z.run(create) })
	show("zookeeper setData", func() []time.Duration { return z.run(setData) })
	z.total = 300_000
	show("zookeeper getData", func() []time.Duration {
		return z.run(func(b []byte, xid int32, i int) []byte { return getData(b, xid, i%100_000) })
	})
}
