// Package e2e runs okapi as an operator does: it is started wrongly, stopped, killed, and started
// again, while libraries that clients use talk to it.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

// tools holds the server; TestMain sets it once.
var tools harness.Tools

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, func(dir string, _ *harness.Lasting) (err error) {
		tools, err = harness.PrepareServer(dir)
		return err
	}))
}

// callTimeout bounds one call of a client that is expected to be answered.
const callTimeout = 20 * time.Second

// dialEtcd makes an etcd client of the members.
func dialEtcd(t *testing.T, members ...*harness.Member) *clientv3.Client {
	t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, "http://"+m.Client)
	}
	// Of its own accord the client would try refused reads again until its caller has had enough.
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), MaxUnaryRetries: 1})
	if err != nil {
		t.Fatalf("make an etcd client: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// silent drops what go-zookeeper prints.
type silent struct{}

// Printf implements zk.Logger.
func (silent) Printf(string, ...any) {}

// dialZooKeeper opens a session at one member, and returns when it is open.
func dialZooKeeper(t *testing.T, m *harness.Member) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{m.ZooKeeper}, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatalf("make a ZooKeeper client: %v", err)
	}
	t.Cleanup(conn.Close)
	timeout := time.NewTimer(callTimeout)
	defer timeout.Stop()
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return conn
			}
		case <-timeout.C:
			t.Fatalf("no session at %s within %v", m.Name, callTimeout)
		}
	}
}

// put writes a key and fails the test if that is refused.
func put(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	if _, err := client.Put(ctx, key, value); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// get reads a key, "" if there is none.
func get(t *testing.T, client *clientv3.Client, key string, how ...clientv3.OpOption) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	answer, err := client.Get(ctx, key, how...)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(answer.Kvs) == 0 {
		return ""
	}
	return string(answer.Kvs[0].Value)
}

// fingerprint describes every name under a folder: its kind, mode and content. A folder that does
// not exist has none.
func fingerprint(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) && name == dir {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := []byte(nil)
		if info.Mode().IsRegular() {
			if content, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		out[name] = fmt.Sprintf("%v %d bytes %x", info.Mode(), len(content), sum(content))
		return nil
	})
	if err != nil {
		t.Fatalf("read %s: %v", dir, err)
	}
	return out
}
