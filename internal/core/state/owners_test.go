package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestOwners(t *testing.T) {
	w := newWorld(t, zkSettings())
	w.open(2)
	for i := range 3 {
		e := newNode(fmt.Sprint("/e", i))
		e.Flags = command.FlagEphemeral
		w.do(2, e)
	}
	etcd := command.Caller{Protocol: command.Etcd}
	w.must(OK, etcd, &command.LeaseGrant{ID: 9, TTL: 60})
	w.must(OK, etcd, &command.Put{Key: "/zk/l", Lease: 9})
	w.must(OK, etcd, &command.Put{Key: "plain", Lease: 9})
	got := Owners(w.m.View())
	slices.SortFunc(got, func(a, b Owner) int { return int(a.ID - b.ID) })
	want := []Owner{
		{ID: 1, TimeoutMS: 10_000, Session: true}, {ID: 2, TimeoutMS: 10_000, Session: true, Ephemerals: 3}, {ID: 9, Ephemerals: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := Ephemerals(w.m.View()); n != 4 {
		t.Errorf("%d ephemerals, want 4", n)
	}
}

// TestLongOwnerReads: a reader of owners, and of the ephemerals of one, lets the machine run every 256, and goes on.
func TestLongOwnerReads(t *testing.T) {
	const n = 4 * stepKeys
	w := newWorld(t, zkSettings())
	for i := range n {
		w.open(int64(10 + i))
		e := newNode(fmt.Sprintf("/e%04d", i))
		e.Flags = command.FlagEphemeral
		w.do(1, e)
	}
	v, yields, opened := w.m.View(), 0, 0
	v.Yield = func() {
		yields++
		opened++
		w.open(int64(1_000_000 + opened))
	}
	if got := Ephemerals(v); got != n || yields < 4 {
		t.Errorf("%d ephemerals after %d yields", got, yields)
	}
	yields = 0
	if got := len(Owners(v)); got < n+1 || got > n+1+opened || yields < 4 {
		t.Errorf("%d owners after %d yields", got, yields)
	}
	v, yields = w.m.View(), 0
	v.Yield = func() {
		w.do(1, &command.Delete{Path: fmt.Sprintf("/e%04d", yields), Version: command.AnyVersion})
		yields++
	}
	if got := len(v.Ephemerals(1)); got != n || yields < 3 {
		t.Errorf("%d ephemerals of the view after %d yields, want %d", got, yields, n)
	}
}
