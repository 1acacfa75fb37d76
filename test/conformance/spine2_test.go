package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// trio drives three members and remembers what they acknowledged.
type trio struct {
	t       *testing.T
	cluster *harness.Cluster
	count   int
	// plain holds acknowledged plain keys, tree acknowledged znodes by path; both with their values.
	plain, tree map[string]string
	// round makes names differ.
	round int
}

// TestSpine2 runs three processes: a write through any member and either door is read through
// every other; the leader is killed and restarted, then all are, and nothing is lost.
func TestSpine2(t *testing.T) {
	harness.RequireClients(t, tools)
	c := &trio{t: t, cluster: harness.NewCluster(t, tools, 3), plain: map[string]string{}, tree: map[string]string{}}
	c.cluster.Start()
	c.writeEverywhere(c.cluster.Members)

	leader := c.cluster.Leader()
	leader.Kill()
	rest := c.cluster.Others(leader)
	if next := c.cluster.Leader(); next == leader {
		t.Fatalf("%s was killed and still leads", leader.Name)
	}
	for _, m := range rest {
		m.WaitReady()
	}
	c.readAll(rest)
	c.writeEverywhere(rest)
	leader.Start()
	leader.WaitReady()
	c.readAll(c.cluster.Members)

	c.cluster.Kill()
	c.cluster.Start()
	c.readAll(c.cluster.Members)
	c.writeEverywhere(c.cluster.Members)

	c.cluster.Terminate()
	c.cluster.Start()
	c.readAll(c.cluster.Members)
	if !t.Failed() {
		t.Logf("spine 2: %d commands of etcdctl and zkCli.sh on three members, %d writes, leader killed, all killed, all restarted, nothing lost",
			c.count, len(c.plain)+len(c.tree))
	}
}

func (c *trio) console(m *harness.Member) console { return console{c.t, m, &c.count} }

// writeEverywhere writes through each of the members and either door, and reads each write
// through all of them and both doors.
func (c *trio) writeEverywhere(members []*harness.Member) {
	c.t.Helper()
	for _, m := range members {
		c.round++
		value := fmt.Sprintf("through-%s-%d", m.Name, c.round)
		key, fromEtcd, fromZK := fmt.Sprintf("plain-%d", c.round), fmt.Sprintf("/etcd-%d", c.round), fmt.Sprintf("/zk-%d", c.round)
		at := c.console(m)
		at.wantEtcd("OK", "put", key, value)
		at.wantEtcd("OK", "put", "/zk"+fromEtcd, value)
		at.zk("create", fromZK, value)
		c.plain[key], c.tree[fromEtcd], c.tree[fromZK] = value, value, value
		for _, reader := range members {
			to := c.console(reader)
			to.wantEtcd(key+"\n"+value, "get", key)
			for _, path := range []string{fromEtcd, fromZK} {
				to.wantEtcd("/zk"+path+"\n"+value, "get", "/zk"+path)
				to.wantZKSoon(value, "get", path)
			}
		}
	}
}

// readAll checks that each of the members has everything that was acknowledged, through both
// doors, and nothing else.
func (c *trio) readAll(members []*harness.Member) {
	c.t.Helper()
	var plain, tree, names []string
	for _, key := range slices.Sorted(maps.Keys(c.plain)) {
		plain = append(plain, key, c.plain[key])
	}
	for _, path := range slices.Sorted(maps.Keys(c.tree)) {
		tree = append(tree, "/zk"+path, c.tree[path])
		names = append(names, path[1:])
	}
	names = append(names, "zookeeper")
	for _, m := range members {
		at := c.console(m)
		at.wantEtcd(strings.Join(plain, "\n"), "get", "--prefix", "plain-")
		at.wantEtcd(strings.Join(tree, "\n"), "get", "--prefix", "/zk/")
		at.wantZKSoon("["+strings.Join(names, ", ")+"]", "ls", "/")
		for _, path := range []string{"/etcd-1", "/zk-1", fmt.Sprintf("/etcd-%d", c.round), fmt.Sprintf("/zk-%d", c.round)} {
			at.wantZKSoon(c.tree[path], "get", path)
		}
	}
}
