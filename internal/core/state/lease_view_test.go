package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestLeaseReads(t *testing.T) {
	s := newStore(t)
	v := s.m.View()
	if got := GrantedLeases(v); len(got) > 0 || Count(v).Leases != 0 || KeysOfLease(v, 7) != nil {
		t.Errorf("an empty store has leases %v", got) // but a session
	}
	for _, id := range []int64{7, -3, 8} {
		s.ok(&command.LeaseGrant{ID: id, TTL: 10})
	}
	for _, key := range []string{"b", "/zk/e", "a"} {
		s.ok(&command.Put{Key: key, Lease: 7})
	}
	v = s.m.View()
	same(t, "leases", slices.Sorted(slices.Values(GrantedLeases(v))), []int64{-3, 7, 8})
	same(t, "count", Count(v).Leases, 3)
	for _, id := range []int64{7, 8, 1, 99} {
		same(t, fmt.Sprintf("keys of %d", id), slices.Sorted(slices.Values(KeysOfLease(v, id))), v.LeaseKeys(id))
	}
}

// TestLongLeaseReads: a reader lets the machine run every 256 items, and goes on.
func TestLongLeaseReads(t *testing.T) {
	const n = 4 * stepKeys
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: -1, TTL: 10})
	for i := range n {
		s.ok(&command.LeaseGrant{ID: int64(i + 10), TTL: 10})
		s.ok(&command.Put{Key: fmt.Sprintf("k%04d", i), Lease: -1})
	}
	v := s.m.View()
	yields := 0
	v.Yield = func() {
		yields++
		s.ok(&command.LeaseGrant{ID: int64(1000_000 + yields), TTL: 10})
		s.ok(&command.Put{Key: fmt.Sprintf("l%04d", yields), Lease: -1})
	}
	if got := GrantedLeases(v); len(got) < n+1 || yields < 4 {
		t.Errorf("%d leases with %d yields", len(got), yields)
	}
	yields = 0
	v.Yield = func() { yields++; s.ok(&command.LeaseRevoke{ID: -1}) }
	once := v.Yield
	v.Yield = func() {
		if yields == 0 {
			once()
		}
	}
	if got := KeysOfLease(v, -1); len(got) < stepKeys || yields != 1 {
		t.Errorf("%d keys with %d yields", len(got), yields)
	}
	if _, ok := s.m.View().Lease(-1); ok {
		t.Error("the lease was not revoked")
	}
}
