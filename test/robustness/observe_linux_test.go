package robustness

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
	"github.com/okapi-kv/okapi/test/robustness/check"
)

// prefixes are those below which a fleet's keys are: the plain ones and the tree's.
func prefixes() []string { return []string{plainPrefix, treePrefix} }

// observe begins to record a watch of all the fleet's keys beside each member.
func (r *faultRun) observe(ctx context.Context) {
	for _, m := range r.cluster.Members {
		c := dialFrom(r.t, m)
		for _, p := range prefixes() {
			w := &record{name: "watch of " + p + " at " + m.Name, matches: func(key string) bool { return strings.HasPrefix(key, p) }}
			r.records = append(r.records, w)
			go w.run(ctx, c, p, clientv3.WithPrefix(), clientv3.WithPrevKV())
		}
	}
}

// gather waits until all is quiet, reads the reference, and puts together what is known of the run. Watches that were told anything
// else than the reference fail the test.
func (r *faultRun) gather(ctx context.Context) *check.History {
	r.t.Helper()
	c := dialFrom(r.t, r.cluster.Members[0])
	r.awaitGone(ctx, c)
	reference := r.reference(ctx, c)
	for _, w := range r.records {
		w.await(ctx, r.t, reference)
		w.check(r.t, reference)
	}
	h := &check.History{Operations: r.operations, Owners: r.owners, Pauses: r.pauses()}
	seen := r.seen()
	for _, e := range reference {
		one := check.Event{Revision: e.revision, Key: e.key, Value: e.value, Seen: seen[place{e.revision, e.key}]}
		h.Events = append(h.Events, one)
	}
	for _, m := range r.cluster.Members {
		h.Contents = append(h.Contents, r.contents(ctx, m))
	}
	return h
}

// pauses are the times in which the processes of members were stopped.
func (r *faultRun) pauses() []check.Pause {
	var out []check.Pause
	for _, f := range r.faults {
		if strings.HasSuffix(f.kind, "stopped") {
			member := slices.IndexFunc(r.cluster.Members, func(m *harness.Member) bool { return m.Name == f.member })
			out = append(out, check.Pause{Member: member, From: f.begun, To: f.well})
		}
	}
	return out
}

// awaitGone waits until all keys of sessions and leases that nobody keeps are gone. Where some stay, the checkers will say so.
func (r *faultRun) awaitGone(ctx context.Context, c *clientv3.Client) {
	owner := map[string]*check.Owner{}
	for _, o := range r.operations {
		for _, change := range o.Changes {
			owner[change.Value] = o.Owner
		}
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); sleep(ctx, 100*time.Millisecond) {
		left := 0
		for _, p := range prefixes() {
			got, err := c.Get(ctx, p, clientv3.WithPrefix())
			if err != nil {
				r.t.Fatalf("read all keys: %v", err)
			}
			for _, kv := range got.Kvs {
				if o := owner[string(kv.Value)]; o != nil && o.Fate != check.Kept {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
	}
}

// reference reads all changes from the first revision on, through one watch of each kind of keys. They end with a write of each kind,
// which has to succeed.
func (r *faultRun) reference(ctx context.Context, c *clientv3.Client) []event {
	r.t.Helper()
	last := newEtcdCaller(r.fleet, everywhere)
	defer last.close()
	var all []event
	for _, p := range prefixes() {
		key := p + "/last"
		if !last.put(key, nil) {
			r.t.Fatalf("the last write of %s, when all was quiet, was not acknowledged", key)
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		w := &record{name: "reference"}
		for response := range c.Watch(limited, p, clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV()) {
			w.note(&response)
			if n := len(w.events); n > 0 && w.events[n-1].key == key {
				break
			}
		}
		cancel()
		if n := len(w.events); n == 0 || w.events[n-1].key != key {
			r.t.Fatalf("the reference of %s ends after %d events: %v", p, n, w.err)
		}
		all = append(all, w.events...)
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
	return all
}

// place is where an event stands.
type place struct {
	revision int64
	key      string
}

// seen finds when each event was told first.
func (r *faultRun) seen() map[place]time.Duration {
	out := map[place]time.Duration{}
	for _, w := range r.records {
		w.mu.Lock()
		for i, e := range w.events {
			at, known := out[place{e.revision, e.key}]
			if told := w.times[i].Sub(r.start); !known || told < at {
				out[place{e.revision, e.key}] = told
			}
		}
		w.mu.Unlock()
	}
	return out
}

// contents reads what a member itself holds, when it has caught up with the others.
func (r *faultRun) contents(ctx context.Context, m *harness.Member) map[string]string {
	r.t.Helper()
	c := dialFrom(r.t, m)
	out := map[string]string{}
	for _, p := range prefixes() {
		if _, err := c.Get(ctx, p+"/last"); err != nil { // linearizable: the member has all that was acknowledged
			r.t.Fatalf("read %s at %s: %v", p, m.Name, err)
		}
		got, err := c.Get(ctx, p, clientv3.WithPrefix(), clientv3.WithSerializable())
		if err != nil {
			r.t.Fatalf("read %s at %s: %v", p, m.Name, err)
		}
		for _, kv := range got.Kvs {
			out[string(kv.Key)] = string(kv.Value)
		}
	}
	return out
}

// gap is the time from a fault to the next acknowledged write that was begun after it. One that was begun while the fault was setting in
// does not count: what is gone may have answered it.
func (r *faultRun) gap(f fault) (gap time.Duration, ok bool) {
	for _, o := range r.operations {
		if o.Call > f.sure && o.Outcome == check.Done && o.Write() && (!ok || o.Return-f.begun < gap) {
			gap, ok = o.Return-f.begun, true
		}
	}
	return gap, ok
}

// report prints what happened, and fails the test where a leader was missed for too long.
func (r *faultRun) report() {
	r.t.Helper()
	gaps := map[string][]time.Duration{}
	for _, f := range r.faults {
		gap, ok := r.gap(f)
		if !ok {
			r.t.Errorf("no write was acknowledged after: %s", f.kind)
		}
		gaps[f.kind] = append(gaps[f.kind], gap)
	}
	for _, kind := range slices.Sorted(maps.Keys(gaps)) {
		g := slices.Sorted(slices.Values(gaps[kind]))
		r.t.Logf("cluster-1: %-17s %2d times; to the next acknowledged write: least %v, median %v, most %v",
			kind, len(g), ms(g[0]), ms(median(g)), ms(g[len(g)-1]))
	}
	r.t.Logf("cluster-1: seed %d, %d faults in %v", r.seed, len(r.faults), r.now().Round(time.Second))
	r.reportCalls("cluster-1")
	kills := slices.Sorted(slices.Values(gaps[leaderKilled]))
	r.t.Logf("cluster-1: leaders killed, each: %v", rounded(kills))
	if len(kills) < enoughKills {
		r.t.Logf("cluster-1: %d kills of leaders are too few to judge the time that they take; at least %d", len(kills), enoughKills)
		return
	}
	if m := median(kills); m > recoveryMedianMax {
		r.t.Errorf("a leader is missed for %v, want %v at most (median of %d)", ms(m), recoveryMedianMax, len(kills))
	}
	if most := kills[len(kills)-1]; most > recoveryMax {
		r.t.Errorf("a leader is missed for %v, want %v at most", ms(most), recoveryMax)
	}
}

// reportCalls prints how calls ended, and how sessions and leases did, under the name of a figure.
func (r *faultRun) reportCalls(figure string) {
	for _, door := range []string{"etcd", "ZooKeeper"} {
		counts, writes := [4]int{}, 0
		for _, o := range r.operations {
			if o.ZooKeeper == (door == "ZooKeeper") {
				counts[o.Outcome]++
				if o.Write() && o.Outcome == check.Done {
					writes++
				}
			}
		}
		r.t.Logf("%s: %s: %d calls answered (%d writes acknowledged, %d refused), %d not done, %d unknown", figure, door,
			counts[check.Done]+counts[check.Refused], writes, counts[check.Refused], counts[check.NotDone], counts[check.Unknown])
	}
	fates := map[string]int{}
	for _, o := range r.owners {
		fate := map[check.Fate]string{check.Kept: "kept", check.Abandoned: "left to expire", check.Closed: "closed", check.Left: "open ended"}[o.Fate]
		if o.Told != 0 {
			fate += " and ended"
		}
		fates[fmt.Sprintf("%s %s", map[bool]string{true: "sessions", false: "leases"}[o.Session], fate)]++
	}
	r.t.Logf("%s: %v", figure, fates)
}

func rounded(ds []time.Duration) (out []time.Duration) {
	for _, d := range ds {
		out = append(out, ms(d))
	}
	return out
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// median returns the middle of an ordered list; of two, the larger.
func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }
