package robustness

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	watchKills = flag.Int("watch.kills", 6, "how many members are killed while watches are recorded")
	watchSeed  = flag.Uint64("watch.seed", 1, "of the choices of the writers and of who is killed when")
)

// TestWatchGuarantees records what watches are told while members are killed and come back, and checks etcd's promises: events
// are ordered, unique, reliable, atomic by revision, resumable and bookmarkable. The reference is the history that
// one watch reads from the first revision on when all is quiet.
func TestWatchGuarantees(t *testing.T) {
	cluster := harness.NewCluster(t, tools, 3, "--watch-progress-notify-interval", "200ms")
	cluster.Start()
	l := &lab{t: t, cluster: cluster, random: rand.New(rand.NewPCG(*watchSeed, 0))}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Minute)
	defer stop()
	records := l.watch(ctx)
	writing, endWrites := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() { l.write(writing, w) })
	}
	for range *watchKills {
		l.killOne()
	}
	endWrites()
	writers.Wait()
	reference := l.history(ctx)
	for _, r := range records {
		r.await(ctx, t, reference)
		r.check(t, reference)
	}
	stop()
	if !t.Failed() {
		l.show(records, reference)
	}
}

// lab is one run.
type lab struct {
	t       *testing.T
	cluster *harness.Cluster
	random  *rand.Rand
}

// client returns a client of some members, by number; nil is all of them.
func (l *lab) client(members ...int) *clientv3.Client {
	var endpoints []string
	for i, m := range l.cluster.Members {
		if len(members) == 0 || slices.Contains(members, i) {
			endpoints = append(endpoints, m.Client)
		}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

const (
	prefix    = "w/"
	keyCount  = 12
	pairs     = 3 // of keys that are always put together
	writeWait = 5 * time.Millisecond
)

func key(n int) string { return fmt.Sprintf("%sk%02d", prefix, n) }

// write puts, deletes and puts pairs in one txn until ctx ends. What fails may have been done or not: the reference tells.
func (l *lab) write(ctx context.Context, writer int) {
	c := l.client()
	r := rand.New(rand.NewPCG(*watchSeed, uint64(writer+1)))
	for n := 0; ctx.Err() == nil; n++ {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		value := fmt.Sprintf("%d-%d", writer, n)
		switch k := r.IntN(keyCount); r.IntN(6) {
		case 0:
			_, _ = c.Delete(limited, key(k))
		case 1:
			p := r.IntN(pairs)
			_, _ = c.Txn(limited).Then(
				clientv3.OpPut(fmt.Sprintf("%spair%d/a", prefix, p), value), clientv3.OpPut(fmt.Sprintf("%spair%d/b", prefix, p), value)).Commit()
		case 2:
			_, _ = c.Delete(limited, key(k), clientv3.WithRange(key(k+3)))
		default:
			_, _ = c.Put(limited, key(k), value)
		}
		cancel()
		select {
		case <-time.After(writeWait):
		case <-ctx.Done():
		}
	}
}

// killOne kills a member, the leader every other time, and starts it again after a while.
func (l *lab) killOne() {
	time.Sleep(time.Duration(200+l.random.IntN(800)) * time.Millisecond)
	m := l.cluster.Members[l.random.IntN(3)]
	if l.random.IntN(2) == 0 {
		m = l.cluster.Leader()
	}
	m.Kill()
	time.Sleep(time.Duration(l.random.IntN(1500)) * time.Millisecond)
	m.Start()
	m.WaitReady()
}

// event is one event as a client is told it.
type event struct {
	revision int64
	kind     string
	key      string
	value    string
	previous string
}

func (e event) String() string {
	return fmt.Sprintf("%d %s %s=%q (was %q)", e.revision, e.kind, e.key, e.value, e.previous)
}

// record is what one watch was told.
type record struct {
	name    string
	matches func(key string) bool
	from    int64

	mu       sync.Mutex
	events   []event
	times    []time.Time // of the events
	chunks   []int64     // the last revision of each response that had events
	notices  []notice
	restarts int
	err      error
}

// notice is a bookmark: it says that everything up to a revision was told, and this many events had been told by then.
type notice struct {
	revision int64
	events   int
}

// watch begins to record watches of several kinds, at all members and at one.
func (l *lab) watch(ctx context.Context) []*record {
	all := func(string) bool { return true }
	var records []*record
	begin := func(name string, c *clientv3.Client, matches func(string) bool, key string, options ...clientv3.OpOption) {
		r := &record{name: name, matches: matches}
		records = append(records, r)
		go r.run(ctx, c, key, append(options, clientv3.WithPrevKV())...)
	}
	for i := range l.cluster.Members {
		begin(fmt.Sprintf("prefix at member %d", i+1), l.client(i), all, prefix, clientv3.WithPrefix(), clientv3.WithProgressNotify())
		begin(fmt.Sprintf("one key at member %d", i+1), l.client(i), func(k string) bool { return k == key(1) }, key(1))
	}
	begin("prefix, anywhere, fragmented", l.client(), all, prefix, clientv3.WithPrefix(), clientv3.WithFragment())
	begin("range, anywhere", l.client(), func(k string) bool { return k >= key(3) && k < key(8) }, key(3),
		clientv3.WithRange(key(8)), clientv3.WithProgressNotify())
	begin("pairs, anywhere", l.client(), func(k string) bool { return strings.HasPrefix(k, prefix+"pair") }, prefix+"pair", clientv3.WithPrefix())
	return records
}

// run records. The client resumes by itself; a channel that closes, as when its member is gone for long, is taken up again
// behind the last event.
func (r *record) run(ctx context.Context, c *clientv3.Client, key string, options ...clientv3.OpOption) {
	next := int64(1)
	for ctx.Err() == nil {
		for response := range c.Watch(clientv3.WithRequireLeader(ctx), key, append(options, clientv3.WithRev(next))...) {
			r.note(&response)
		}
		r.mu.Lock()
		r.restarts++
		if n := len(r.events); n > 0 {
			next = r.events[n-1].revision + 1
		}
		r.mu.Unlock()
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (r *record) note(response *clientv3.WatchResponse) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if response.CompactRevision != 0 {
		r.err = fmt.Errorf("watch was cancelled: revision %d is compacted", response.CompactRevision)
	}
	if response.IsProgressNotify() {
		r.notices = append(r.notices, notice{response.Header.Revision, len(r.events)})
	}
	for _, e := range response.Events {
		one := event{revision: e.Kv.ModRevision, kind: e.Type.String(), key: string(e.Kv.Key), value: string(e.Kv.Value)}
		if e.PrevKv != nil {
			one.previous = string(e.PrevKv.Value)
		}
		r.events, r.times = append(r.events, one), append(r.times, now)
	}
	if n := len(response.Events); n > 0 {
		r.chunks = append(r.chunks, response.Events[n-1].Kv.ModRevision)
	}
}

// history reads all events from the first revision on.
func (l *lab) history(ctx context.Context) []event {
	c := l.client()
	var last int64
	for {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		got, err := c.Put(limited, prefix+"last", "last")
		cancel()
		if err == nil {
			last = got.Header.Revision
			break
		}
	}
	r := &record{name: "reference"}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	for response := range c.Watch(limited, prefix, clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV()) {
		r.note(&response)
		if n := len(r.events); n > 0 && r.events[n-1].revision >= last {
			return r.events
		}
	}
	l.t.Fatalf("the history ends at %d of %d events", len(r.events), last)
	return nil
}

// await waits until the record has the last event that concerns it.
func (r *record) await(ctx context.Context, t *testing.T, reference []event) {
	t.Helper()
	want := int64(0)
	for _, e := range reference {
		if r.matches(e.key) {
			want = e.revision
		}
	}
	deadline := time.Now().Add(time.Minute)
	for {
		r.mu.Lock()
		n := len(r.events)
		there := n > 0 && r.events[n-1].revision >= want
		r.mu.Unlock()
		if there {
			return
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.Fatalf("%s: %d events a minute after the last write, revision %d is missing", r.name, n, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// check compares a record with the reference. Equal lists are ordered, unique and reliable, over every resumption.
func (r *record) check(t *testing.T, reference []event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		t.Errorf("%s: %v", r.name, r.err)
	}
	var want []event
	for _, e := range reference {
		if r.matches(e.key) {
			want = append(want, e)
		}
	}
	for i := range max(len(want), len(r.events)) {
		if i >= len(want) || i >= len(r.events) || want[i] != r.events[i] {
			t.Errorf("%s: event %d is %v, want %v (%d events, want %d)", r.name, i, at(r.events, i), at(want, i), len(r.events), len(want))
			break
		}
	}
	for i, revision := range r.chunks { // atomic: the next response begins with a later revision
		if i > 0 && revision == r.chunks[i-1] {
			t.Errorf("%s: revision %d came in two responses", r.name, revision)
		}
	}
	for _, n := range r.notices { // bookmarkable: nothing up to the revision comes later
		if n.events < len(r.events) && r.events[n.events].revision <= n.revision {
			t.Errorf("%s: progress %d was told before event %v", r.name, n.revision, r.events[n.events])
		}
	}
}

func at(events []event, i int) string {
	if i < len(events) {
		return events[i].String()
	}
	return "missing"
}

func (l *lab) show(records []*record, reference []event) {
	events, notices, restarts := 0, 0, 0
	for _, r := range records {
		events, notices, restarts = events+len(r.events), notices+len(r.notices), restarts+r.restarts
	}
	l.t.Logf("etcd-3: %d watches told of %d events of %d, %d bookmarks, %d members killed, %d channels taken up again: "+
		"ordered, unique, reliable, atomic, resumable, bookmarkable", len(records), events, len(reference), notices, *watchKills, restarts)
}
