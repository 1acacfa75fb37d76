package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

// watchPatience bounds what a watch is expected to be told soon.
const watchPatience = 60 * time.Second

// etcdClient makes a client of some members.
func etcdClient(t *testing.T, members ...*harness.Member) *clientv3.Client {
	t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, "http://"+m.Client)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: watchPatience})
	if err != nil {
		t.Fatalf("make an etcd client: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// putUntilDone writes a key; a write whose fate is not known may be done twice.
func putUntilDone(t *testing.T, client *clientv3.Client, key, value string) {
	t.Helper()
	harness.Eventually(t, "put "+key, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := client.Put(ctx, key, value); err != nil {
			return err.Error()
		}
		return ""
	})
}

// next returns the next response of a watch.
func next(t *testing.T, watch clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	timeout := time.NewTimer(watchPatience)
	defer timeout.Stop()
	select {
	case r, ok := <-watch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return r
	case <-timeout.C:
		t.Fatalf("the watch was told nothing within %v", watchPatience)
		panic("unreachable")
	}
}

// TestWatchThroughCompaction: etcd's own client watches from the past, is told what was compacted, and goes on live.
func TestWatchThroughCompaction(t *testing.T) {
	cluster := harness.NewCluster(t, tools, 1, "--watch-progress-notify-interval", "100ms")
	cluster.Start()
	client := etcdClient(t, cluster.Members...)
	ctx, cancel := context.WithTimeout(t.Context(), 3*watchPatience)
	defer cancel()
	var revisions []int64
	for i := range 10 {
		res, err := client.Put(ctx, "k", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, res.Header.Revision)
	}
	past := client.Watch(ctx, "k", clientv3.WithRev(revisions[0]), clientv3.WithPrevKV())
	for i := 0; i < 10; {
		for _, e := range next(t, past).Events {
			if string(e.Kv.Value) != fmt.Sprint(i) || e.IsCreate() != (i == 0) || !e.IsCreate() && string(e.PrevKv.Value) != fmt.Sprint(i-1) {
				t.Fatalf("event %d is %v", i, e)
			}
			i++
		}
	}
	if _, err := client.Compact(ctx, revisions[7]); err != nil {
		t.Fatal(err)
	}
	r := next(t, client.Watch(ctx, "k", clientv3.WithRev(revisions[6])))
	if !r.Canceled || r.CompactRevision != revisions[7] || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("below the floor: %+v, %v", r, r.Err())
	}
	at := next(t, client.Watch(ctx, "k", clientv3.WithRev(revisions[7])))
	if len(at.Events) != 3 || at.Events[0].Kv.ModRevision != revisions[7] {
		t.Errorf("at the floor: %+v", at)
	}
	prefix := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	if r := next(t, prefix); !r.Created {
		t.Errorf("created: %+v", r)
	}
	if _, err := client.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	if r := next(t, prefix); len(r.Events) != 1 || r.Events[0].Type != clientv3.EventTypeDelete || r.Header.Revision != revisions[9]+1 {
		t.Errorf("deleted: %+v", r)
	}
	if r := next(t, past); len(r.Events) != 1 || string(r.Events[0].PrevKv.Value) != "9" {
		t.Errorf("deleted: %+v", r)
	}
	if err := client.RequestProgress(ctx); err != nil {
		t.Fatal(err)
	}
	if r := next(t, past); !r.IsProgressNotify() || r.Header.Revision != revisions[9]+1 {
		t.Errorf("progress: %+v", r)
	}
	periodic := client.Watch(ctx, "other", clientv3.WithProgressNotify())
	if r := next(t, periodic); !r.IsProgressNotify() || r.Header.Revision < revisions[9]+1 {
		t.Errorf("periodic progress: %+v", r)
	}
}

// TestWatchThroughFailures: a watch of etcd's own client sees every revision once, in order, while each member in turn is
// killed, or told to stop, and started again.
func TestWatchThroughFailures(t *testing.T) {
	cluster := harness.NewCluster(t, tools, 3)
	cluster.Start()
	client := etcdClient(t, cluster.Members...)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(t.Context()))
	defer cancel()
	watch := client.Watch(ctx, "k", clientv3.WithPrefix(), clientv3.WithRev(1))
	version, revision := map[string]int64{}, int64(0)
	// until reads until a key has a value.
	until := func(key, value string) {
		t.Helper()
		for found := false; !found; {
			r := next(t, watch)
			if r.Err() != nil {
				t.Fatalf("the watch ends: %v", r.Err())
			}
			for _, e := range r.Events {
				k := string(e.Kv.Key)
				if e.Kv.Version != version[k]+1 || e.Kv.ModRevision <= revision {
					t.Fatalf("told %v after version %d and revision %d", e, version[k], revision)
				}
				version[k], revision = e.Kv.Version, e.Kv.ModRevision
				found = found || k == key && string(e.Kv.Value) == value
			}
		}
	}
	for round, m := range append(cluster.Members, cluster.Members...) {
		write := func(what string) {
			t.Helper()
			for i := range 5 {
				putUntilDone(t, client, fmt.Sprint("k", i), fmt.Sprint(round, what))
			}
			until("k4", fmt.Sprint(round, what))
		}
		write("before")
		if round < len(cluster.Members) {
			m.Kill()
		} else {
			m.Terminate()
		}
		write("without")
		m.Start()
		m.WaitReady()
		write("after")
	}
}
