package replica

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/lessor"
)

// startThree starts three members and returns them when all serve, and how to stop them.
func startThree(t *testing.T) (c *cluster, stop func()) {
	t.Helper()
	c, stop = newCluster(t, 3)
	for id := range uint64(3) {
		<-c.member(id + 1).Serving()
	}
	return c, stop
}

// grant makes a lease through a member; a change of leaders may make that take several tries.
func (c *cluster) grant(member uint64, id, ttl int64) {
	c.t.Helper()
	for {
		r, err := c.member(member).Propose(c.t.Context(), command.Caller{Protocol: command.Etcd}, &command.LeaseGrant{ID: id, TTL: ttl})
		switch {
		case err == nil && (r.Code == state.OK || r.Code == state.LeaseExists):
			return
		case err != ErrNotDone && err != ErrUnknown:
			c.t.Fatalf("grant %d: %v, %v", id, r.Code, err)
		}
	}
}

// others returns the members that do not lead.
func (c *cluster) others(leader uint64) (ids []uint64) {
	for id := range uint64(3) {
		if id+1 != leader {
			ids = append(ids, id+1)
		}
	}
	return ids
}

// TestLeases asks through every member, right after a grant through it, and after the leader has gone.
func TestLeases(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := startThree(t)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for id := range int64(3) {
		m := c.member(uint64(id + 1))
		for n := range int64(50) {
			lease := 1000*(id+1) + n
			c.grant(uint64(id+1), lease, 3600)
			kept, err := m.Leases.KeepAlive(ctx, []int64{lease, -lease, lease})
			if err != nil || len(kept) != 3 || !kept[0] || kept[1] || !kept[2] {
				t.Fatalf("member %d: keep-alive of %d: %v, %v", id+1, lease, kept, err)
			}
			ms, known, err := m.Leases.Remaining(ctx, lease)
			if err != nil || !known || ms < 3590_000 || ms > 3601_000 {
				t.Fatalf("member %d: %d has %d ms left, %v, %v", id+1, lease, ms, known, err)
			}
			if _, known, err := m.Leases.Remaining(ctx, -lease); known || err != nil {
				t.Fatalf("member %d: no lease: %v, %v", id+1, known, err)
			}
		}
		if kept, err := m.Leases.KeepAlive(ctx, nil); len(kept) > 0 || err != nil {
			t.Errorf("nothing is kept alive: %v, %v", kept, err)
		}
	}
	leader := c.leader()
	c.stop(leader)
	for _, id := range c.others(leader) {
		kept, err := c.member(id).Leases.KeepAlive(ctx, []int64{1000, 2000, 4711})
		if err != nil || !kept[0] || !kept[1] || kept[2] {
			t.Errorf("member %d after the leader has gone: %v, %v", id, kept, err)
		}
	}
}

// TestLeasesWithoutLeader: who gives up learns why.
func TestLeasesWithoutLeader(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := startThree(t)
	defer stop()
	c.grant(1, 7, 3600)
	leader := c.leader()
	rest := c.others(leader)
	c.stop(leader)
	c.stop(rest[0])
	alone := c.member(rest[1])
	c.poll("no leader", func() bool { return alone.Status().Leader == 0 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if kept, err := alone.Leases.KeepAlive(ctx, []int64{7}); err != ErrNoLeader {
		t.Errorf("without leader: %v, %v", kept, err)
	}
	pending := make(chan error, 1)
	go func() {
		_, err := alone.Leases.KeepAlive(context.Background(), []int64{7})
		pending <- err
	}()
	c.poll("the question", func() bool {
		alone.Leases.mu.Lock()
		defer alone.Leases.mu.Unlock()
		return len(alone.Leases.open) == 1
	})
	c.stop(rest[1])
	if err := <-pending; err != ErrStopped {
		t.Errorf("whose member stops gets %v", err)
	}
}

// TestKeepAlivesShareReports: very many keep-alives at once take few frames.
func TestKeepAlivesShareReports(t *testing.T) {
	defer goleak.VerifyNone(t)
	c, stop := startThree(t)
	defer stop()
	follower := c.others(c.leader())[0]
	c.grant(follower, 7, 3600)
	m := c.member(follower)
	const callers, each = 200, 25
	before := c.touches.Load()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range callers {
		wg.Go(func() {
			for range each {
				if kept, err := m.Leases.KeepAlive(context.Background(), []int64{7}); err != nil || !kept[0] {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	frames := c.touches.Load() - before
	if failed.Load() > 0 || frames > callers*each/2 {
		t.Errorf("%d keep-alives took %d frames, %d failed", callers*each, frames, failed.Load())
	}
	t.Logf("%d keep-alives took %d frames", callers*each, frames)
}

// TestAnswers is what a leader says of ids, by what it knows and how far it has applied.
func TestAnswers(t *testing.T) {
	l := lessor.New(100)
	l.Promote(0)
	const known, frozen, unknown = 1, 2, 3
	l.Set(known, 1000, 1)
	l.Set(frozen, 0, 1)
	if due := l.Tick(); len(due) != 1 || due[0].ID != frozen {
		t.Fatalf("%v are due", due)
	}
	for name, c := range map[string]struct {
		report  touch
		applied uint64
		want    *touchAck
	}{
		"nothing": {touch{}, 4, &touchAck{}},
		"known":   {touch{renew: []dated{{known, 0}}, look: []int64{known}}, 4, &touchAck{left: []timeLeft{{known, 800}}}},
		"frozen": {touch{renew: []dated{{frozen, 0}, {known, 0}}, look: []int64{frozen}}, 4,
			&touchAck{open: []int64{frozen}, left: []timeLeft{{frozen, 0}}}},
		"unknown":             {touch{renew: []dated{{unknown, 0}, {known, 0}}}, 5, &touchAck{gone: []int64{unknown}}},
		"unknown, look":       {touch{look: []int64{unknown}}, 6, &touchAck{gone: []int64{unknown}}},
		"unknown as yet":      {touch{renew: []dated{{known, 0}, {unknown, 0}}}, 4, nil},
		"unknown as yet,look": {touch{look: []int64{unknown}}, 4, nil},
	} {
		k := &keeper{m: &Member{applied: c.applied}, lessor: l}
		c.report.term, c.report.report = 3, 9
		if c.want != nil {
			c.want.term, c.want.report, c.want.decided = 3, 9, true
		}
		if diff := cmp.Diff(c.want, k.answer(&c.report, 5), cmp.AllowUnexported(touchAck{}, timeLeft{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
