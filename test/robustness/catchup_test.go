package robustness

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	catchUpEntries = flag.Uint64("catchup.entries", 20_000, "how many entries of the log, at least, the others have dropped when the member comes back")
	catchUpClients = flag.Int("catchup.clients", 4, "how many ZooKeeper clients write meanwhile, one write at a time each, beside one of etcd's")
)

const (
	// catchUpKept is how many entries below a snapshot the members keep (internal/replica, archive.go).
	catchUpKept = 5000
	// catchUpWindow is how long the rate is measured before the member comes back, and after it has caught up.
	catchUpWindow = 5 * time.Second
	// catchUpStep is the shortest time of which a rate is told.
	catchUpStep = 250 * time.Millisecond
	// catchUpNodes are the znodes of each client.
	catchUpNodes = 250
)

// TestCatchUp keeps a member down while the others write and drop so many entries of the log, and has it come back by a snapshot while they
// serve. Entries are counted as raft counts them, by the difference of indexes: of the newest snapshot of a member that serves, less what is
// kept below it, and of the last entry that the member had when it was killed. Clients write small values one at a time, so
// that an entry holds few commands, and there are as many entries as the log can take. Where syncing a file takes long, TMPDIR=/dev/shm makes it quick.
func TestCatchUp(t *testing.T) {
	r := &catchUp{t: t, cluster: harness.NewCluster(t, tools, 3, "--log-level", "info",
		"--snapshot-bytes", strconv.FormatUint(max(1<<20, *catchUpEntries*16), 10))}
	r.cluster.Start()
	r.away = r.cluster.Others(r.cluster.Leader())[0]
	r.there = r.cluster.Others(r.away)
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	writing, endWrites := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for n := range *catchUpClients {
		s := r.writer(n)
		writers.Go(func() { r.write(writing, s, n) })
	}
	etcd := catchUpClient(t, r.there[0])
	writers.Go(func() { r.put(writing, etcd) })
	r.leave(ctx)
	r.comeBack(ctx)
	endWrites()
	writers.Wait()
	compareMembers(ctx, t, "cluster-3", r.cluster.Members)
	r.cluster.Terminate()
}

// catchUp is one run.
type catchUp struct {
	t       *testing.T
	cluster *harness.Cluster
	away    *harness.Member
	there   []*harness.Member
	// had is the index of the last entry of the member when it was killed.
	had   uint64
	done  atomic.Int64 // writes that were acknowledged
	rates []float64    // writes a second of each step while the member catches up
}

// writer opens the session of a client, at one of the members that stay, and makes its nodes.
func (r *catchUp) writer(n int) *session {
	r.t.Helper()
	s := &session{}
	if err := s.attach(r.there[n%2].ZooKeeper); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.drop)
	for i := range catchUpNodes {
		if _, err := s.exchange(request{op: opCreate, path: catchUpNode(n, i)}, int32(i+1)); err != nil {
			r.t.Fatal(err)
		}
	}
	return s
}

func catchUpNode(client, n int) string { return fmt.Sprintf("/catchup-%d-%d", client, n) }

// exchange sends a request and reads the reply, which must not be an error.
func (s *session) exchange(r request, xid int32) (arrival, error) {
	if _, err := s.conn.Write(r.encode(nil, xid)); err != nil {
		return arrival{}, err
	}
	frame, err := s.read()
	if err != nil {
		return arrival{}, err
	}
	a, err := decode(frame, xid, r)
	if err == nil && a.code != 0 {
		err = fmt.Errorf("%+v: code %d", r, a.code)
	}
	return a, err
}

// write writes until ctx ends. No write may fail: nothing happens to the members that stay.
func (r *catchUp) write(ctx context.Context, s *session, client int) {
	for n := 0; ctx.Err() == nil; n++ {
		w := request{op: opSetData, path: catchUpNode(client, n%catchUpNodes), data: strconv.Itoa(n), version: anyVersion}
		if _, err := s.exchange(w, int32(n+catchUpNodes+1)); err != nil {
			r.t.Errorf("client %d, write %d: %v", client, n, err)
			return
		}
		r.done.Add(1)
	}
}

// put puts plain keys through the other door until ctx ends.
func (r *catchUp) put(ctx context.Context, c *clientv3.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		if _, err := c.Put(ctx, fmt.Sprintf("catchup/%d", n%catchUpNodes), strconv.Itoa(n)); err == nil {
			r.done.Add(1)
		} else if ctx.Err() == nil {
			r.t.Errorf("put %d: %v", n, err)
			return
		}
	}
}

// leave kills the member and waits until the others have dropped the entries that it would need.
func (r *catchUp) leave(ctx context.Context) {
	r.t.Helper()
	c := catchUpClient(r.t, r.away)
	status, err := c.Status(ctx, r.away.Client)
	if err != nil {
		r.t.Fatal(err)
	}
	r.away.Kill()
	r.had = status.RaftIndex // It may have had some more.
	began, from := time.Now(), r.done.Load()
	for {
		low := r.snapshot(r.there[0])
		for _, m := range r.there {
			low = min(low, r.snapshot(m))
		}
		if low >= r.had+*catchUpEntries+catchUpKept {
			took, writes := time.Since(began), r.done.Load()-from
			r.t.Logf("cluster-3: while the member was down for %v the others dropped %d entries of the log, or more; %d writes, %.0f entries/s",
				took.Round(time.Second), low-catchUpKept-r.had, writes, float64(low-r.had)/took.Seconds())
			return
		}
		if r.t.Failed() || ctx.Err() != nil {
			r.t.Fatalf("the newest snapshot is at index %d, the member's last entry at %d", low, r.had)
		}
		sleep(ctx, catchUpStep)
	}
}

// snapshot returns the index of a member's newest snapshot.
func (r *catchUp) snapshot(m *harness.Member) uint64 {
	names, err := filepath.Glob(filepath.Join(m.DataDir, "snap", "*.snap"))
	if err != nil {
		r.t.Fatal(err)
	}
	newest := uint64(0)
	for _, name := range names {
		var index, term uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%16x-%16x.snap", &index, &term); err == nil {
			newest = max(newest, index)
		}
	}
	return newest
}

// comeBack starts the member and measures what the others do meanwhile.
func (r *catchUp) comeBack(ctx context.Context) {
	r.t.Helper()
	before := r.rate(ctx, catchUpWindow)
	began, from := time.Now(), r.done.Load()
	measuring, endMeasure := context.WithCancel(ctx)
	var measure sync.WaitGroup
	measure.Go(func() {
		for measuring.Err() == nil {
			r.rates = append(r.rates, r.rate(measuring, catchUpStep))
		}
	})
	r.away.Start()
	r.away.WaitReady()
	took := time.Since(began)
	during := float64(r.done.Load()-from) / took.Seconds()
	endMeasure()
	measure.Wait()
	after := r.rate(ctx, catchUpWindow)
	if got := r.snapshot(r.away); got < r.had+*catchUpEntries {
		r.t.Errorf("the member came back without a snapshot of what the others have dropped: it has index %d", got)
	}
	r.t.Logf("cluster-3: started, caught up and ready after %v; %s", took.Round(time.Millisecond), r.received())
	lowest := before
	for _, rate := range r.rates[:max(1, len(r.rates)-1)] { // The last step was cut short.
		lowest = min(lowest, rate)
	}
	r.t.Logf("cluster-3: writes/s by %d clients and one of etcd: %.0f before, %.0f during (%.0f%%), least %.0f (in %v), %.0f after",
		*catchUpClients, before, during, 100*during/before, lowest, catchUpStep, after)
}

// rate is how many writes are acknowledged a second, for a while.
func (r *catchUp) rate(ctx context.Context, window time.Duration) float64 {
	began, from := time.Now(), r.done.Load()
	sleep(ctx, window)
	return float64(r.done.Load()-from) / time.Since(began).Seconds()
}

// received is what the member says of the snapshots that it was sent.
func (r *catchUp) received() string {
	lines := regexp.MustCompile(`msg="snapshot received" .*`).FindAllString(r.away.LogTail(), -1)
	if len(lines) == 0 {
		r.t.Error("the member does not say that it received a snapshot")
	}
	return fmt.Sprintf("%d snapshots: %v", len(lines), lines)
}

// compareMembers checks that all members hold the same, at one revision, and prints it under the name of a figure.
func compareMembers(ctx context.Context, t *testing.T, figure string, members []*harness.Member) {
	t.Helper()
	var hashes []uint32
	var contents []string
	revision := int64(0)
	for _, m := range members {
		c := catchUpClient(t, m)
		if _, err := c.Get(ctx, "any"); err != nil { // linearizable: the member has all that was acknowledged
			t.Fatal(err)
		}
		hash, err := c.HashKV(ctx, m.Client, revision)
		if err != nil {
			t.Fatal(err)
		}
		revision = hash.Header.Revision
		hashes = append(hashes, hash.Hash)
		all, err := c.Get(ctx, "/zk/", clientv3.WithPrefix(), clientv3.WithSerializable())
		if err != nil {
			t.Fatal(err)
		}
		all.Header = &pb.ResponseHeader{}
		contents = append(contents, (*pb.RangeResponse)(all).String())
		if hashes[0] != hash.Hash || contents[0] != contents[len(contents)-1] {
			t.Errorf("%s holds something else than %s", m.Name, members[0].Name)
		}
	}
	t.Logf("%s: %d members hold the same: hashes %x at revision %d, %d bytes of znodes compared",
		figure, len(hashes), hashes, revision, len(contents[0]))
}

// catchUpClient is an etcd client of one member.
func catchUpClient(t *testing.T, m *harness.Member) *clientv3.Client {
	t.Helper()
	l := &lab{t: t, cluster: &harness.Cluster{Members: []*harness.Member{m}}}
	return l.client()
}
