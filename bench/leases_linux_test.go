package bench

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	leaseCount   = 100_000
	leaseStreams = 20 // clients that keep them alive, each its share
	leaseTTL     = 25 // s
	leasePutters = 16 // clients that put meanwhile, one put after the other
)

// TestLeases shows what 100,000 leases with a key each cost: granted, kept alive all at once again and again, and expiring
// all at once, while other clients put. Like TestDoors it promises nothing.
func TestLeases(t *testing.T) {
	wanted(t)
	binary := build(t)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("members=%d", n), func(t *testing.T) {
			l := leaseLoad{t: t, members: startCluster(t, binary, n)}
			l.dial()
			l.run()
		})
	}
}

// leaseLoad is the load of one cluster.
type leaseLoad struct {
	t       *testing.T
	members []*member
	conns   []*grpc.ClientConn // of those who keep leases alive
	putters []*grpc.ClientConn
}

func (l *leaseLoad) dial() {
	for i := range leaseStreams + leasePutters {
		c, err := grpc.NewClient("passthrough:///"+l.members[i%len(l.members)].client,
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			l.t.Fatalf("dial: %v", err)
		}
		l.t.Cleanup(func() { c.Close() })
		if i < leaseStreams {
			l.conns = append(l.conns, c)
		} else {
			l.putters = append(l.putters, c)
		}
	}
}

func (l *leaseLoad) run() {
	quiet := func(d time.Duration) func(func() bool) {
		return func(func() bool) { time.Sleep(d) }
	}
	l.show("puts alone", l.putsDuring(quiet(3*time.Second)))
	g := grpcLoad{t: l.t, members: l.members, conns: leaseStreams, callers: 1000, total: leaseCount}
	l.show("grants and keys", under(l.members, func() []time.Duration { return g.run(l.grant) }))
	ids := make([]int64, leaseCount)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	l.show("keep-alives, all at once", under(l.members, func() []time.Duration { return l.keepAlive(ids) }))
	var last time.Time
	l.show("puts during keep-alives", l.putsDuring(func(func() bool) {
		for range 3 {
			last = time.Now()
			l.keepAlive(ids)
		}
	}))
	time.Sleep(time.Until(last.Add((leaseTTL - 2) * time.Second)))
	start := time.Now()
	l.show("puts during expiry", l.putsDuring(func(idle func() bool) {
		for l.leases() > 0 && !idle() {
			time.Sleep(5 * pollInterval)
		}
	}))
	l.t.Logf("leases: all %d had expired %v after the last keep-alive began, with a TTL of %d s", leaseCount,
		(time.Since(start) + (leaseTTL-2)*time.Second).Round(100*time.Millisecond), leaseTTL)
}

func (l *leaseLoad) show(name string, o outcome) {
	if !l.t.Failed() {
		l.t.Logf("leases: %d members: %-26s %v, max %v", len(l.members), name, o, o.most.Round(10*time.Microsecond))
	}
}

// grant makes lease i+1 and puts a key on it. It has the shape of a request of a grpcLoad.
func (l *leaseLoad) grant(kv etcdserverpb.KVClient, i int) error {
	ctx := context.Background()
	lease := etcdserverpb.NewLeaseClient(l.conns[i%len(l.conns)])
	if _, err := lease.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: int64(i + 1), TTL: leaseTTL}); err != nil {
		return err
	}
	_, err := kv.Put(ctx, &etcdserverpb.PutRequest{Key: fmt.Appendf(nil, "lease/%07d", i), Lease: int64(i + 1)})
	return err
}

// keepAlive keeps all leases alive, each client its share, sent without waiting for answers. A latency is from the first
// request to the answer.
func (l *leaseLoad) keepAlive(ids []int64) []time.Duration {
	var wg sync.WaitGroup
	latencies := make([][]time.Duration, len(l.conns))
	for c, share := range slices.Collect(slices.Chunk(ids, (len(ids)+len(l.conns)-1)/len(l.conns))) {
		wg.Go(func() {
			var err error
			if latencies[c], err = keepShare(l.conns[c], share); err != nil {
				l.t.Errorf("keep-alive: %v", err)
			}
		})
	}
	wg.Wait()
	return slices.Concat(latencies...)
}

func keepShare(conn *grpc.ClientConn, ids []int64) (latencies []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := etcdserverpb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	go func() {
		for _, id := range ids {
			if stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: id}) != nil {
				return
			}
		}
		_ = stream.CloseSend()
	}()
	for {
		r, err := stream.Recv()
		switch {
		case err == io.EOF && len(latencies) == len(ids):
			return latencies, nil
		case err != nil:
			return latencies, fmt.Errorf("after %d of %d answers: %w", len(latencies), len(ids), err)
		case r.TTL != leaseTTL:
			return latencies, fmt.Errorf("lease %d has TTL %d", r.ID, r.TTL)
		}
		latencies = append(latencies, time.Since(start))
	}
}

// leases counts the leases.
func (l *leaseLoad) leases() int {
	r, err := etcdserverpb.NewLeaseClient(l.conns[0]).LeaseLeases(context.Background(), &etcdserverpb.LeaseLeasesRequest{})
	if err != nil {
		l.t.Fatalf("list leases: %v", err)
	}
	return len(r.Leases)
}

// putsDuring has clients put as long as fn runs. fn is told how to find out that they failed.
func (l *leaseLoad) putsDuring(fn func(failed func() bool)) outcome {
	ctx, stop := context.WithCancel(context.Background())
	return under(l.members, func() []time.Duration {
		var wg sync.WaitGroup
		latencies := make([][]time.Duration, leasePutters)
		for c := range leasePutters {
			kv := etcdserverpb.NewKVClient(l.putters[c])
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					start := time.Now()
					if err := put(kv, i%1000); err != nil {
						l.t.Errorf("put: %v", err)
						return
					}
					latencies[c] = append(latencies[c], time.Since(start))
				}
			})
		}
		fn(l.t.Failed)
		stop()
		wg.Wait()
		return slices.Concat(latencies...)
	})
}
