package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestLeases does all that clientv3 can do with leases through every member of one and of three.
func TestLeases(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("members=%d", n), func(t *testing.T) {
			c := harness.NewCluster(t, tools, n)
			c.Start()
			for _, m := range c.Members {
				leaseLife(t, dialEtcd(t, m), "through-"+m.Name)
			}
			c.Terminate()
		})
	}
}

// leaseLife takes leases from grant to end. Keys begin with prefix.
func leaseLife(t *testing.T, client *clientv3.Client, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	fatal := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %s: %v", prefix, what, err)
		}
	}
	granted, err := client.Grant(ctx, 30)
	fatal("grant", err)
	if granted.ID <= 0 || granted.TTL != 30 || granted.Error != "" {
		t.Errorf("%s: granted %+v", prefix, granted)
	}
	short, err := client.Grant(ctx, 1)
	fatal("grant of little", err)
	if short.TTL != 2 {
		t.Errorf("%s: a TTL of 1 s becomes %d s, want 2", prefix, short.TTL)
	}
	keys := []string{prefix + "/a", prefix + "/b", prefix + "/c"}
	for _, key := range keys {
		_, err := client.Put(ctx, key, "v", clientv3.WithLease(granted.ID))
		fatal("put with lease", err)
	}
	left, err := client.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	fatal("time to live", err)
	var attached []string
	for _, key := range left.Keys {
		attached = append(attached, string(key))
	}
	if left.GrantedTTL != 30 || left.TTL < 20 || left.TTL > 29 || !slices.Equal(attached, keys) {
		t.Errorf("%s: time to live is %d of %d s, keys %q", prefix, left.TTL, left.GrantedTTL, attached)
	}
	for range 3 {
		kept, err := client.KeepAliveOnce(ctx, granted.ID)
		fatal("keep-alive", err)
		if kept.TTL != 30 || kept.ID != granted.ID {
			t.Errorf("%s: keep-alive says %+v", prefix, kept)
		}
	}
	all, err := client.Leases(ctx)
	fatal("list", err)
	if !slices.Contains(all.Leases, clientv3.LeaseStatus{ID: granted.ID}) {
		t.Errorf("%s: lease %x is not in the list %v", prefix, granted.ID, all.Leases)
	}
	before := revisionOf(t, client)
	revoked, err := client.Revoke(ctx, granted.ID)
	fatal("revoke", err)
	if revoked.Header.Revision != before+1 {
		t.Errorf("%s: a revocation moves the revision from %d to %d, want one", prefix, before, revoked.Header.Revision)
	}
	if got := get(t, client, keys[0]); got != "" {
		t.Errorf("%s: a key of a revoked lease is %q", prefix, got)
	}
	leaseEnded(t, client, granted.ID)
	_, err = client.Grant(ctx, 9_000_000_001)
	wantError(t, prefix+": grant of too much", err, rpctypes.ErrLeaseTTLTooLarge)
	harness.Eventually(t, prefix+": end of a lease that nobody keeps alive", func() string {
		left, err := client.TimeToLive(ctx, short.ID)
		switch {
		case err != nil:
			return err.Error()
		case left.TTL != -1:
			return fmt.Sprintf("%d s left", left.TTL)
		}
		return ""
	})
	leaseEnded(t, client, short.ID)
}

// leaseEnded asks for a lease that is not there in all ways.
func leaseEnded(t *testing.T, client *clientv3.Client, id clientv3.LeaseID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	_, err := client.Revoke(ctx, id)
	wantError(t, "revoke of none", err, rpctypes.ErrLeaseNotFound)
	_, err = client.KeepAliveOnce(ctx, id)
	wantError(t, "keep-alive of none", err, rpctypes.ErrLeaseNotFound)
	_, err = client.Put(ctx, "k", "v", clientv3.WithLease(id))
	wantError(t, "put with none", err, rpctypes.ErrLeaseNotFound)
	left, err := client.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
	if err != nil || left.TTL != -1 || left.GrantedTTL != 0 || len(left.Keys) > 0 {
		t.Errorf("time to live of none: %+v, %v", left, err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// revisionOf returns the revision of the store.
func revisionOf(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	r, err := client.Get(ctx, "no such key")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// TestLeaseOutlivesLeader keeps one lease alive and forgets another while the leader is killed: the keys of the first
// stay, those of the second go, all at once. In the end nobody keeps the first one alive either.
func TestLeaseOutlivesLeader(t *testing.T) {
	c := harness.NewCluster(t, tools, 3)
	c.Start()
	leader := c.Leader()
	rest := c.Others(leader)
	holder, observer := dialEtcd(t, c.Members...), dialEtcd(t, rest...)
	ctx, cancel := context.WithTimeout(t.Context(), 3*callTimeout)
	defer cancel()
	grant := func(prefix string, ttl int64) clientv3.LeaseID {
		granted, err := holder.Grant(ctx, ttl)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := holder.Put(ctx, fmt.Sprintf("%s/%d", prefix, i), "v", clientv3.WithLease(granted.ID)); err != nil {
				t.Fatal(err)
			}
		}
		return granted.ID
	}
	kept, forgotten := grant("kept", 4), grant("forgotten", 6)
	keeping, stopKeeping := context.WithCancel(ctx)
	defer stopKeeping()
	answers, err := holder.KeepAlive(keeping, kept)
	if err != nil {
		t.Fatal(err)
	}
	if first := <-answers; first == nil || first.TTL != 4 {
		t.Fatalf("the first keep-alive is answered with %+v", first)
	}
	leader.Kill()
	for _, m := range rest {
		m.WaitReady()
	}
	end := func(prefix string) {
		harness.Eventually(t, "end of "+prefix, func() string {
			r, err := observer.Get(ctx, prefix, clientv3.WithPrefix())
			switch {
			case err != nil:
				return err.Error()
			case r.Count > 0 && r.Count < 5:
				t.Fatalf("%d of 5 keys of %s are left", r.Count, prefix)
			case r.Count > 0:
				return "its keys are there"
			}
			return ""
		})
	}
	end("forgotten") // longer than the TTL of the other
	r, err := observer.Get(ctx, "kept", clientv3.WithPrefix())
	if err != nil || r.Count != 5 {
		t.Fatalf("keys of the lease that is kept alive: %+v, %v", r, err)
	}
	if answer, open := <-answers; !open || answer.TTL != 4 {
		t.Errorf("keep-alives end with %+v", answer)
	}
	stopKeeping()
	end("kept")
	leaseEnded(t, observer, kept)
	leaseEnded(t, observer, forgotten)
}
