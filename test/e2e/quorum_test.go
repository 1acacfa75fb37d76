package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

// everyWay writes through each of the members and either door, and reads each write through all of
// them.
func everyWay(t *testing.T, name string, members ...*harness.Member) {
	t.Helper()
	for i, m := range members {
		key := fmt.Sprintf("%s-%d", name, i)
		put(t, dialEtcd(t, m), key, key)
		if _, err := dialZooKeeper(t, m).Create("/"+key, []byte(key), 0, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatalf("create /%s at %s: %v", key, m.Name, err)
		}
		for _, reader := range members {
			client := dialEtcd(t, reader)
			if got := get(t, client, key); got != key {
				t.Errorf("%s: written at %s, read at %s: %q", key, m.Name, reader.Name, got)
			}
			if got := get(t, client, "/zk/"+key); got != key {
				t.Errorf("/zk/%s: written at %s, read at %s: %q", key, m.Name, reader.Name, got)
			}
		}
	}
}

// TestFiveMembers loses two of five, one of them the leader, and gets them back.
func TestFiveMembers(t *testing.T) {
	c := harness.NewCluster(t, tools, 5)
	c.Start()
	everyWay(t, "five", c.Members...)
	leader := c.Leader()
	leader.Kill()
	gone := c.Others(leader)[0]
	gone.Kill()
	var rest []*harness.Member
	for _, m := range c.Members {
		if m.Running() {
			m.WaitReady()
			rest = append(rest, m)
		}
	}
	everyWay(t, "three", rest...)
	c.Start()
	everyWay(t, "again", c.Members...)
	c.Terminate()
}

// TestLossOfQuorum takes one member of three away, and then another. Two serve as three did. One
// alone answers only reads that may be old, and says why it refuses the rest; when the others are
// back it serves as before.
func TestLossOfQuorum(t *testing.T) {
	c := harness.NewCluster(t, tools, 3)
	c.Start()
	everyWay(t, "three", c.Members...)

	first := c.Leader()
	first.Kill()
	rest := c.Others(first)
	for _, m := range rest {
		m.WaitReady()
	}
	everyWay(t, "two", rest...)

	last := rest[1]
	client, conn := dialEtcd(t, last), dialZooKeeper(t, last)
	rest[0].Kill()
	refused(t, "put", func(ctx context.Context) error {
		_, err := client.Put(ctx, "alone", "v")
		return err
	})
	refused(t, "linearizable get", func(ctx context.Context) error {
		_, err := client.Get(ctx, "two-0")
		return err
	})
	if got := get(t, client, "two-0", clientv3.WithSerializable()); got != "two-0" {
		t.Errorf("a serializable get without quorum returns %q", got)
	}
	harness.Eventually(t, "disconnection of a ZooKeeper client without quorum", func() string {
		if _, _, err := conn.Get("/two-0"); err == nil {
			return "its read was answered"
		}
		return ""
	})
	noSession(t, last)

	c.Start()
	everyWay(t, "again", c.Members...)
	if got := get(t, client, "alone"); got != "" && got != "v" {
		t.Errorf("the key whose put was not acknowledged holds %q", got)
	}
	c.Terminate()
}

// refused wants a call to end with an error by which etcd's clients know that there is no quorum.
func refused(t *testing.T, what string, call func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	err := call(ctx)
	for _, want := range []error{rpctypes.ErrNoLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrLeaderChanged} {
		if errors.Is(err, want) {
			t.Logf("%s without quorum: %v", what, err)
			return
		}
	}
	t.Errorf("%s without quorum: %v, want etcd's error", what, err)
}

// noSession wants that a member does not open sessions.
func noSession(t *testing.T, m *harness.Member) {
	t.Helper()
	conn, events, err := zk.Connect([]string{m.ZooKeeper}, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	timeout := time.NewTimer(callTimeout)
	defer timeout.Stop()
	for {
		select {
		case event := <-events:
			switch event.State {
			case zk.StateHasSession:
				t.Errorf("%s opened a session without quorum", m.Name)
				return
			case zk.StateDisconnected:
				return
			}
		case <-timeout.C:
			t.Errorf("%s left a client that asks for a session in doubt for %v", m.Name, callTimeout)
			return
		}
	}
}
