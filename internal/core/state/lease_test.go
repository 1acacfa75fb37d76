package state

import (
	"fmt"
	"math"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestLeaseGrant(t *testing.T) {
	s := newStore(t)
	r := s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	same(t, "result", r.Body.(*LeaseResult), &LeaseResult{ID: 7, TTL: 10})
	same(t, "change", s.out.Leases, []LeaseChange{{ID: 7, TTLMS: 10_000, Generation: 1}})
	s.refused(LeaseExists, &command.LeaseGrant{ID: 7, TTL: 20})
	s.refused(LeaseExists, &command.LeaseGrant{ID: 1, TTL: 20}) // a session's
	s.refused(LeaseExists, &command.LeaseGrant{ID: 0, TTL: 20})
	if len(s.out.Leases) > 0 {
		t.Errorf("a refused grant reports %v", s.out.Leases)
	}
	s.ok(&command.LeaseGrant{ID: -3, TTL: 9_000_000_000})
	same(t, "leases", s.m.View().Leases(), []Lease{
		{ID: -3, TTL: 9_000_000_000, TTLMS: 9_000_000_000_000, Generation: 1},
		{ID: 1, TTL: 10, TTLMS: 10_000, Generation: 1, Session: true},
		{ID: 7, TTL: 10, TTLMS: 10_000, Generation: 1},
	})
	if _, ok := s.m.View().Lease(8); ok {
		t.Error("an unknown lease is known")
	}
	s.audit()
}

// The keys of a lease follow every put and delete.
func TestLeaseKeys(t *testing.T) {
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	s.ok(&command.LeaseGrant{ID: 8, TTL: 10})
	on := func(id int64, want ...string) {
		t.Helper()
		same(t, fmt.Sprintf("keys of %d", id), s.m.View().LeaseKeys(id), want)
	}
	for _, k := range []string{"c", "a", "/zk/e", "b"} {
		s.ok(&command.Put{Key: k, Lease: 7})
	}
	on(7, "/zk/e", "a", "b", "c")
	s.ok(&command.Put{Key: "a", Lease: 8})
	s.ok(&command.Put{Key: "b"})
	on(7, "/zk/e", "c")
	on(8, "a")
	s.ok(&command.Put{Key: "c", IgnoreLease: true})
	s.delete("a")
	on(7, "/zk/e", "c")
	if got := s.m.View().LeaseKeys(8); len(got) > 0 {
		t.Errorf("keys of 8: %v", got)
	}
	s.ok(&command.Txn{Success: ops{del("c"), &command.Put{Key: "d", Lease: 7}, del("/zk/e")}})
	on(7, "d")
	s.ok(&command.Txn{Success: ops{del("d"), &command.Put{Key: "d", Lease: 8}}})
	on(8, "d")
	s.refused(LeaseNotFound, &command.Txn{Success: ops{&command.Put{Key: "d", Lease: 7}, &command.Put{Key: "x", Lease: 99}}})
	on(8, "d")
	if got := s.m.View().LeaseKeys(99); got != nil {
		t.Errorf("keys of an unknown lease: %v", got)
	}
	s.audit()
}

func TestLeaseRevoke(t *testing.T) {
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	var keys, events []string
	for i := range 20 {
		s.ok(&command.Put{Key: fmt.Sprintf("k%02d", i*7%20), Lease: 7})
		s.ok(&command.Put{Key: fmt.Sprintf("/zk/n%02d", i*7%20), Lease: 7})
		keys = append(keys, fmt.Sprintf("k%02d", i))
		events = append(events, fmt.Sprintf("deleted /n%02d", i))
	}
	s.ok(&command.Put{Key: "/zk/x/y", Lease: 7})
	s.put("keep=1")
	rev := s.m.View().Revision()
	r := s.ok(&command.LeaseRevoke{ID: 7})
	if r.Revision != rev+1 {
		t.Errorf("revision %d, want %d: all keys go at one", r.Revision, rev+1)
	}
	var gone []string
	s.m.plain.Changes(rev+1, func(v *plainVersion) bool {
		if v.Deleted() && v.Rev == rev+1 {
			gone = append(gone, v.Key())
		}
		return true
	})
	same(t, "deleted in order", gone, keys)
	// The parent /x was made for /x/y alone.
	same(t, "events", s.events(), append(events, "deleted /x/y", "deleted /x"))
	same(t, "change", s.out.Leases, []LeaseChange{{ID: 7, TTLMS: 10_000, Generation: 1, Gone: true}})
	same(t, "left", s.all("\x00", "\x00"), []string{"keep"})
	s.refused(LeaseNotFound, &command.LeaseRevoke{ID: 7})
	s.refused(LeaseNotFound, &command.LeaseRevoke{ID: 1}) // a session
	s.audit()
}

func TestExpire(t *testing.T) {
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	s.ok(&command.Put{Key: "a", Lease: 7})
	s.make("/p")
	s.want(OK, withFlags("/p/e", command.FlagEphemeral))
	internal := command.Caller{}
	before := s.m.View()
	for _, c := range []command.Expire{
		{ID: 99, Generation: 1, Term: 1},
		{ID: 7, Generation: 2, Term: 1},
		{ID: 7, Generation: 1, Term: 0},
		{ID: 7, Generation: 1, Term: 2},
	} {
		s.must(Stale, internal, &c)
	}
	if v := s.m.View(); v.Zxid() != before.Zxid() || v.Seq() != before.Seq() {
		t.Error("a stale expiry left a trace")
	}
	s.must(OK, internal, &command.Expire{ID: 7, Generation: 1, Term: 1})
	s.must(OK, internal, &command.Expire{ID: 1, Generation: 1, Term: 1})
	v := s.m.View()
	if v.Zxid() != before.Zxid()+2 || v.Revision() != before.Revision()+2 {
		t.Errorf("zxid +%d, revision +%d; want +2, +2", v.Zxid()-before.Zxid(), v.Revision()-before.Revision())
	}
	if s.exists("/p/e") || !s.exists("/p") || len(v.Leases()) > 0 {
		t.Error("what the session owned must go, and nothing else")
	}
	s.must(Stale, internal, &command.Expire{ID: 7, Generation: 1, Term: 1})
	s.audit()
}

// While the end of a large lease yields, readers see it whole.
func TestEndOfLeaseYields(t *testing.T) {
	s := newStore(t)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	for i := range stepKeys {
		s.ok(&command.Put{Key: fmt.Sprintf("k%04d", i), Lease: 7})
		s.ok(&command.Put{Key: fmt.Sprintf("/zk/k%04d", i), Lease: 7})
	}
	yields := 0
	s.index++
	s.m.Apply(&Entry{Index: s.index, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{
		{Caller: etcdCaller(), Command: &command.LeaseRevoke{ID: 7}},
	}}}, &s.out, func() {
		yields++
		c := etcdCaller()
		v := s.m.View()
		plain, _ := rangeAt(v, &c, &command.Range{Key: "k", End: "l", CountOnly: true})
		tree, _ := rangeAt(v, &c, &command.Range{Key: "/zk/", End: "/zk0", CountOnly: true})
		_, known := v.Lease(7)
		if plain.Count != stepKeys || tree.Count != stepKeys || !known || len(v.LeaseKeys(7)) != 2*stepKeys {
			t.Errorf("yield %d: %d and %d keys, lease known %v", yields, plain.Count, tree.Count, known)
		}
	})
	if yields != 2 {
		t.Errorf("%d yields, want 2", yields)
	}
	s.audit()
}

func TestQuota(t *testing.T) {
	settings := zkSettings()
	const keyCost = recordBytes + 1 + 100
	settings.QuotaBytes = 3*keyCost + leaseBytes + 1
	value := make([]byte, 100)
	put := func(k string) *command.Put { return &command.Put{Key: k, Value: value} }
	s := newStoreWith(t, settings)
	s.ok(&command.LeaseGrant{ID: 7, TTL: 10})
	s.ok(put("a"))
	s.ok(put("b"))
	// A txn costs the larger of its branches, nested ones included.
	big := &command.Txn{Success: ops{put("w")}, Failure: ops{&command.Txn{Success: ops{put("x"), put("y")}}}}
	if got := s.m.costOf(big); got != (quotaCost{puts: true, plain: 2 * keyCost}) {
		t.Errorf("cost %+v", got)
	}
	s.ok(put("c"))
	same(t, "no alarm yet", s.m.View().Alarms(), nil)

	refuse := func(c command.Command) {
		t.Helper()
		s.refused(NoSpace, c)
	}
	s.index++
	s.m.Apply(&Entry{Index: s.index, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{
		{ID: command.ID{Member: 0xbeef}, Caller: etcdCaller(), Command: put("d")},
	}}}, &s.out, nil)
	if s.out.Results[0].Code != NoSpace {
		t.Fatalf("a put above the quota: %v", s.out.Results[0].Code)
	}
	alarm := Alarm{Member: 0xbeef, Type: command.AlarmNoSpace}
	same(t, "alarm", s.m.View().Alarms(), []Alarm{alarm})

	// The alarm keeps out what puts or grants, and lets the rest pass.
	refuse(&command.Put{Key: "/zk/a"})
	refuse(&command.LeaseGrant{ID: 8, TTL: 10})
	refuse(&command.Txn{Failure: ops{put("a")}})
	refuse(&command.Txn{Success: ops{&command.Put{Key: "/zk/a"}}})
	s.ok(&command.Txn{Success: ops{del("a"), get("b")}})
	s.ok(del("b"))
	s.ok(&command.LeaseRevoke{ID: 7})
	s.make("/z") // ZooKeeper's writes have a limit of their own
	s.ok(&command.Compact{Revision: s.m.View().Revision()})
	refuse(put("a"))

	off := &command.Alarm{Action: command.AlarmDeactivate, Member: 0xbeef, Alarm: command.AlarmNoSpace}
	r := s.ok(off)
	same(t, "cleared", r.Body.(*AlarmResult), &AlarmResult{Alarms: []Alarm{alarm}})
	s.ok(put("a"))
	s.audit()
}

// History counts until it is compacted, reclaimed or not.
func TestQuotaCountsHistory(t *testing.T) {
	settings := zkSettings()
	settings.QuotaBytes = 10 * (recordBytes + 1)
	s := newStoreWith(t, settings)
	for range 9 {
		s.put("k")
	}
	s.refused(NoSpace, put("k", ""))
	s.ok(&command.Compact{Revision: s.m.View().Revision()})
	// What the put at the floor replaced stays, as a watch from there may ask for it.
	same(t, "sizes", s.m.View().Sizes().Plain, int64(2*(recordBytes+1)))
	s.ok(&command.Alarm{Action: command.AlarmDeactivate, Alarm: command.AlarmNoSpace})
	s.put("k")
	s.audit()
}

func TestTreeQuota(t *testing.T) {
	settings := zkSettings()
	s := newStoreWith(t, settings)
	settings.TreeQuotaBytes = s.m.View().Sizes().Tree + 2*recordBytes + 1000
	s = newStoreWith(t, settings)
	big := make([]byte, 2000)
	s.refused(QuotaExceeded, &command.Put{Key: "/zk/big", Value: big})
	s.want(QuotaExceeded, &command.Create{Path: "/big", Data: big, ACL: openList(), TTL: command.NoTTL})
	s.ok(&command.Put{Key: "/zk/small", Value: big[:500]})
	s.refused(QuotaExceeded, &command.Put{Key: "/zk/small", Value: big})
	s.refused(QuotaExceeded, &command.Put{Key: "/zk/a/b/c/d"})
	r := s.refused(QuotaExceeded, &command.Txn{Success: ops{put("/zk/x", "1"), put("/zk/y", "1"), put("/zk/z", "1"), put("/zk/q", string(big))}})
	if want := "/zk/x: quota exceeded"; r.Detail == "" {
		t.Errorf("detail %q, want such as %q", r.Detail, want)
	}
	s.put("plain=" + string(big)) // not the tree's business
	s.delete("/zk/small")
	same(t, "alarms", s.m.View().Alarms(), nil)
	s.audit()
}

// digestWithoutCounters is the digest as it would be had no entry been applied.
func digestWithoutCounters(m *Machine) uint64 {
	n := *m
	n.index, n.term, n.time, n.revision, n.zxid, n.seq = 0, 0, 0, 0, 0, 0
	return n.Digest()
}

func TestAlarms(t *testing.T) {
	s := newStore(t)
	on := func(member uint64, typ command.AlarmType) *AlarmResult {
		return s.ok(&command.Alarm{Action: command.AlarmActivate, Member: member, Alarm: typ}).Body.(*AlarmResult)
	}
	off := func(member uint64, typ command.AlarmType) *AlarmResult {
		return s.ok(&command.Alarm{Action: command.AlarmDeactivate, Member: member, Alarm: typ}).Body.(*AlarmResult)
	}
	a := Alarm{Member: 2, Type: command.AlarmCorrupt}
	d0 := digestWithoutCounters(s.m)
	same(t, "raise", on(2, command.AlarmCorrupt).Alarms, []Alarm{a})
	same(t, "raise again", on(2, command.AlarmCorrupt).Alarms, []Alarm{a})
	same(t, "raise none", on(2, command.AlarmNone).Alarms, nil)
	on(math.MaxUint64, command.AlarmNoSpace)
	on(2, command.AlarmNoSpace)
	three := s.m.View().Alarms()
	on(1, command.AlarmNoSpace)
	same(t, "a list given out before", three, []Alarm{{2, command.AlarmNoSpace}, a, {math.MaxUint64, command.AlarmNoSpace}})
	want := []Alarm{{1, command.AlarmNoSpace}, {2, command.AlarmNoSpace}, a, {math.MaxUint64, command.AlarmNoSpace}}
	held := s.m.View().Alarms()
	same(t, "list", held, want)
	if digestWithoutCounters(s.m) == d0 {
		t.Error("the digest does not know of alarms")
	}

	s.refused(Corrupt, put("a", ""))
	s.refused(Corrupt, del("a"))
	s.refused(Corrupt, &command.Txn{})
	s.refused(Corrupt, &command.Compact{Revision: 1})
	s.refused(Corrupt, &command.LeaseGrant{ID: 7, TTL: 1})
	s.refused(Corrupt, &command.LeaseRevoke{ID: 7})
	same(t, "clear", off(2, command.AlarmCorrupt).Alarms, []Alarm{a})
	same(t, "clear again", off(2, command.AlarmCorrupt).Alarms, nil)
	s.refused(NoSpace, put("a", ""))
	off(2, command.AlarmNoSpace)
	off(1, command.AlarmNoSpace)
	s.refused(NoSpace, put("a", ""))
	off(math.MaxUint64, command.AlarmNoSpace)
	s.ok(put("a", ""))
	same(t, "a list given out stays", held, want)
	s.audit()
}
