package conformance

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestSpine1 uses one server with both clients and kills it in between: what was acknowledged
// is there afterwards, through both doors.
func TestSpine1(t *testing.T) {
	harness.RequireClients(t, tools)
	cluster := harness.NewCluster(t, tools, 1)
	cluster.Start()
	count := 0
	c := console{t, cluster.Members[0], &count}

	etcdKeys(c)
	znodes(c)
	crossReads(c)
	const kills = 2
	for range kills {
		revision, stat := c.revision(), c.stat("/a")
		cluster.Kill()
		cluster.Start()
		if got := c.revision(); got != revision {
			t.Errorf("after a kill the revision is %d, want %d", got, revision)
		}
		if got := c.stat("/a"); fmt.Sprint(got) != fmt.Sprint(stat) {
			t.Errorf("after a kill the stat of /a is %v, want %v", got, stat)
		}
		afterwards(c)
	}
	cluster.Terminate()
	cluster.Start()
	afterwards(c)
	if !t.Failed() {
		t.Logf("spine 1: %d commands of etcdctl and zkCli.sh on one server, %d kills and a restart, nothing lost", count, kills)
	}
}

// etcdKeys does what etcdctl's manual does with keys.
func etcdKeys(c console) {
	c.wantEtcd("OK", "put", "k1", "v1")
	c.wantEtcd("OK", "put", "k2", "two words")
	c.wantEtcd("k1\nv1", "get", "k1")
	c.wantEtcd("k1\nv1\nk2\ntwo words", "get", "--prefix", "k")
	c.wantEtcd("k2\n\nk1", "get", "--prefix", "--keys-only", "--order=DESCEND", "k", "--limit=2")
	c.wantEtcd("OK\nk1\nv1", "put", "--prev-kv", "k1", "v2")
	c.wantEtcd("1", "del", "k2")
	c.wantEtcd("0", "del", "k2")
	c.wantEtcd("", "get", "k2")

	const txn = "value(\"k1\") = \"v2\"\n\nput k1 v3\nget k1\n\nput k1 wrong\n\n"
	if got, want := c.etcdInput(txn, "txn"), "SUCCESS\n\nOK\n\nk1\nv3"; got != want {
		c.t.Errorf("etcdctl txn printed %q, want %q", got, want)
	}
	if got, want := c.etcdInput(txn, "txn"), "FAILURE\n\nOK"; got != want {
		c.t.Errorf("etcdctl txn printed %q, want %q", got, want)
	}
	c.wantEtcd("OK", "put", "k1", "v4")

	revision := c.revision()
	c.wantEtcd("OK", "put", "k1", "v5")
	c.wantEtcd("k1\nv4", "get", "k1", fmt.Sprintf("--rev=%d", revision))
	c.wantEtcd(fmt.Sprintf("compacted revision %d", revision+1), "compaction", fmt.Sprint(revision+1))
	c.etcdFails("required revision has been compacted", "get", "k1", fmt.Sprintf("--rev=%d", revision))
	c.wantEtcd("k1\nv5", "get", "k1")
}

// znodes does what ZooKeeper's getting-started guide does with znodes.
func znodes(c console) {
	c.zk("create", "/a", "hello")
	c.wantZK("hello", "get", "/a")
	c.zkFails("Node already exists: /a", "create", "/a", "again")
	c.zk("set", "/a", "hello again")
	c.wantZK("hello again", "get", "/a")
	c.zkFails("version No is not valid : /a", "set", "-v", "7", "/a", "x")
	c.zk("create", "/a/b", "child")
	c.zk("create", "-s", "/a/s-", "sequential")
	c.wantZK("[b, s-0000000001]", "ls", "/a")
	c.zkFails("Node not empty: /a", "delete", "/a")
	c.zkFails("Node does not exist: /none", "get", "/none")
	c.zk("create", "/gone", "x")
	c.zk("delete", "/gone")
	c.zkFails("Node does not exist: /gone", "stat", "/gone")
	// zkCli.sh leaves without closing its session, so the node stays for a while.
	c.zk("create", "-e", "/ephemeral", "for a while")
	if got := c.stat("/ephemeral")["ephemeralOwner"]; got == "0x0" || got == "" {
		c.t.Errorf("an ephemeral node has the owner %q", got)
	}
	c.zk("delete", "/ephemeral")
	c.wantZK("[a, zookeeper]", "ls", "/")

	stat := c.stat("/a")
	for name, want := range map[string]string{
		"cversion": "2", "dataVersion": "1", "aclVersion": "0", "ephemeralOwner": "0x0", "dataLength": "11", "numChildren": "2",
	} {
		if stat[name] != want {
			c.t.Errorf("stat /a has %s = %s, want %s", name, stat[name], want)
		}
	}
}

// crossReads writes through one door and reads through the other.
func crossReads(c console) {
	c.wantEtcd("/zk/a\nhello again", "get", "/zk/a")
	c.wantEtcd("/zk/a/b\nchild", "get", "/zk/a/b")
	c.wantEtcd("OK", "put", "/zk/a", "from etcd")
	c.wantZK("from etcd", "get", "/a")
	if got := c.stat("/a")["dataVersion"]; got != "2" {
		c.t.Errorf("after a put of /zk/a, dataVersion is %s, want 2", got)
	}
	c.wantEtcd("OK", "put", "/zk/made/by/etcd", "deep")
	c.wantZK("deep", "get", "/made/by/etcd")
	c.wantZK("[by]", "ls", "/made")
	c.wantEtcd("1", "del", "/zk/made/by/etcd")
	c.zkFails("Node does not exist: /made", "get", "/made")
	c.wantEtcd("k1\nv5", "get", "k", "--prefix")
	c.zkFails("Node does not exist: /k1", "get", "/k1")
	c.wantZK("[a, zookeeper]", "ls", "/")
}

// afterwards checks what must be there after every restart.
func afterwards(c console) {
	c.wantEtcd("k1\nv5", "get", "--prefix", "k")
	c.wantEtcd("/zk/a\nfrom etcd", "get", "/zk/a")
	c.wantZK("from etcd", "get", "/a")
	c.wantZK("[b, s-0000000001]", "ls", "/a")
	c.wantZK("sequential", "get", "/a/s-0000000001")
	c.wantZK("[a, zookeeper]", "ls", "/")
	c.etcdFails("required revision has been compacted", "get", "k1", "--rev=2")
}
