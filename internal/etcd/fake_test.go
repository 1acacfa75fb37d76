package etcd

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// fakeReplica is a cluster of one without a log: a real state machine behind a mutex. What a test
// scripts takes the place of what the machine would answer.
type fakeReplica struct {
	mu         sync.Mutex
	machine    *state.Machine
	out        state.Output
	index      uint64
	status     Status
	result     *state.Result // scripted result of Propose
	proposeErr error         // scripted error of Propose
	readErr    error         // scripted error of ReadIndex
	hold       chan struct{} // Propose and ReadIndex wait until it is closed or their context is done
	holding    chan struct{} // receives one value for each that waits, if there is room

	leaseErr  error                        // scripted error of KeepAlive and Remaining
	left      map[int64]int64              // ms, by lease; the whole TTL of those that are not in it
	lag       func()                       // run once by KeepAlive, when it has found out: what it does is news to the caller
	keptAlive [][]int64                    // calls of KeepAlive
	hidden    map[int64]command.LeaseGrant // leases that the leader knows and this member learns with a read index
	moveErr   error                        // scripted error of MoveLeader

	feeds []*fakeFeed

	proposed   []command.Command
	readIndex  int
	localReads int
	freed      int // calls of FreeMemory
}

func newFakeReplica() *fakeReplica {
	f := &fakeReplica{
		machine: state.Found(1, threeMembers()),
		status:  Status{ClusterID: 7, MemberID: 3, LeaderID: 3, Term: 5},
		holding: make(chan struct{}, 64),
	}
	f.apply(&command.Bootstrap{Settings: command.Settings{TreePrefix: "/zk", TreeHistory: 600_000}})
	return f
}

// apply runs one command; the caller holds mu or is alone.
func (f *fakeReplica) apply(cmd command.Command) state.Result {
	return f.applyAs(command.Caller{Protocol: command.Etcd}, cmd)
}

func (f *fakeReplica) applyAs(caller command.Caller, cmd command.Command) state.Result {
	f.index++
	f.machine.Apply(&state.Entry{Index: f.index, Term: f.status.Term, Batch: command.Batch{
		Time:      1_700_000_000_000 + int64(f.index),
		Proposals: []command.Proposal{{Caller: caller, Command: cmd}},
	}}, &f.out, nil)
	f.reclaim()
	for _, feed := range f.feeds {
		feed.wake()
	}
	return f.out.Results[0]
}

// raise and clear turn alarms on and off; the caller holds mu.
func (f *fakeReplica) raise(member uint64, typ command.AlarmType) {
	f.apply(&command.Alarm{Action: command.AlarmActivate, Member: member, Alarm: typ})
}

func (f *fakeReplica) clear() {
	for _, a := range f.machine.View().Alarms() {
		f.apply(&command.Alarm{Action: command.AlarmDeactivate, Member: a.Member, Alarm: a.Type})
	}
}

// reclaim frees all history that nobody holds.
func (f *fakeReplica) reclaim() {
	oldest := f.machine.View().Seq()
	for _, feed := range f.feeds {
		oldest = min(oldest, feed.kept)
	}
	for f.machine.Reclaim(1<<20, oldest) {
	}
}

// fakeFeed is a subscription; the fake's mutex guards it.
type fakeFeed struct {
	f    *fakeReplica
	wake func()
	kept uint64
}

func (f *fakeReplica) Subscribe(wake func()) Feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	feed := &fakeFeed{f, wake, f.machine.View().Seq()}
	f.feeds = append(f.feeds, feed)
	return feed
}

func (d *fakeFeed) Keep(seq uint64) {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.kept = max(d.kept, seq)
}

func (d *fakeFeed) Cancel() {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.f.feeds = slices.DeleteFunc(d.f.feeds, func(o *fakeFeed) bool { return o == d })
}

// reinstall replaces the machine by what a snapshot of it has.
func (f *fakeReplica) reinstall(t testing.TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var records recordSink
	if err := f.machine.Export(f.machine.View(), &records); err != nil {
		t.Fatal(err)
	}
	m, err := state.Load(&records, 2)
	if err != nil {
		t.Fatal(err)
	}
	f.machine = m
	for _, feed := range f.feeds {
		feed.wake()
	}
}

// recordSink holds the records of a snapshot.
type recordSink struct {
	kinds []uint8
	data  [][]byte
}

func (s *recordSink) Record(kind uint8, data []byte) error {
	s.kinds, s.data = append(s.kinds, kind), append(s.data, bytes.Clone(data))
	return nil
}

func (s *recordSink) Next() (kind uint8, data []byte, err error) {
	if len(s.kinds) == 0 {
		return 0, nil, io.EOF
	}
	kind, data = s.kinds[0], s.data[0]
	s.kinds, s.data = s.kinds[1:], s.data[1:]
	return kind, data, nil
}

// apply runs one command on the fake itself.
func (r *running) apply(t testing.TB, cmd command.Command) state.Result {
	t.Helper()
	r.replica.mu.Lock()
	defer r.replica.mu.Unlock()
	res := r.replica.apply(cmd)
	if res.Code != state.OK {
		t.Fatalf("%T: %v %s", cmd, res.Code, res.Detail)
	}
	return res
}

func (f *fakeReplica) waitHeld(ctx context.Context) error {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold == nil {
		return nil
	}
	f.holding <- struct{}{}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeReplica) Propose(ctx context.Context, c command.Caller, cmd command.Command) (state.Result, error) {
	if err := f.waitHeld(ctx); err != nil {
		return state.Result{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proposed = append(f.proposed, cmd)
	if f.proposeErr != nil {
		return state.Result{}, f.proposeErr
	}
	if f.result != nil {
		return *f.result, nil
	}
	return f.apply(cmd), nil
}

func (f *fakeReplica) ReadIndex(ctx context.Context) error {
	if err := f.waitHeld(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readIndex++
	for id := range f.hidden {
		grant := f.hidden[id]
		f.apply(&grant)
	}
	clear(f.hidden)
	return f.readErr
}

func (f *fakeReplica) Read(fn func(state.View)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.localReads++
	fn(f.machine.View())
}

// KeepAlive implements Leases.
func (f *fakeReplica) KeepAlive(ctx context.Context, ids []int64) ([]bool, error) {
	if err := f.waitHeld(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keptAlive = append(f.keptAlive, slices.Clone(ids))
	if f.leaseErr != nil {
		return nil, f.leaseErr
	}
	kept := make([]bool, len(ids))
	for i, id := range ids {
		_, hidden := f.hidden[id]
		_, known := f.machine.View().Lease(id)
		kept[i] = known || hidden
	}
	if f.lag != nil {
		f.lag()
		f.lag = nil
	}
	return kept, nil
}

// Remaining implements Leases.
func (f *fakeReplica) Remaining(ctx context.Context, id int64) (int64, bool, error) {
	if err := f.waitHeld(ctx); err != nil {
		return 0, false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaseErr != nil {
		return 0, false, f.leaseErr
	}
	lease, known := f.machine.View().Lease(id)
	_, hidden := f.hidden[id]
	ms, scripted := f.left[id]
	if !scripted {
		ms = lease.TTLMS
	}
	if f.lag != nil {
		f.lag()
		f.lag = nil
	}
	return ms, known || hidden, nil
}

func (f *fakeReplica) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// ReadHistory implements Upkeep: nothing is ever reclaimed here.
func (f *fakeReplica) ReadHistory(fn func(state.View)) { f.Read(fn) }

func (f *fakeReplica) Hash() (uint32, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return state.Hash(f.machine)
}

func (f *fakeReplica) MoveLeader(_ context.Context, to uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moveErr == nil {
		f.status.LeaderID = to
	}
	return f.moveErr
}

func (f *fakeReplica) FreeMemory() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.freed++
}

// threeMembers are the members of the cluster in tests; 3 is the one that is asked.
func threeMembers() []state.Member {
	return []state.Member{
		{ID: 3, Name: "n3", PeerURLs: []string{"http://p3:2380"}},
		{ID: 4, Name: "n4", PeerURLs: []string{"http://p4:2380", "http://q4:2380"}},
		{ID: 5, Name: "n5", PeerURLs: []string{"http://p5:2380"}, Role: command.Learner},
	}
}

// set changes the script while the server runs.
func (f *fakeReplica) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// counts are the proposals and read indexes so far.
func (f *fakeReplica) counts() (proposals, readIndexes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.proposed), f.readIndex
}

// outcome is an OutcomeError.
type outcome string

func (o outcome) Error() string   { return "replica: " + string(o) }
func (o outcome) Outcome() string { return string(o) }

// running is a server on a listener in memory.
type running struct {
	replica  *fakeReplica
	listener *bufconn.Listener
	stop     context.CancelFunc
	ended    chan error
	conn     *grpc.ClientConn
	kv       pb.KVClient
	lease    pb.LeaseClient
	server   *Server
	end      func() // stops the server and waits for its end; the test's end does it too
}

// serve runs a server until the test ends; change may alter its options.
func serve(t testing.TB, change func(*Options)) *running {
	t.Helper()
	r := &running{replica: newFakeReplica(), listener: bufconn.Listen(1 << 16), ended: make(chan error, 1)}
	o := Options{Listeners: []net.Listener{r.listener}, Replica: r.replica, Leases: r.replica, Upkeep: r.replica}
	if change != nil {
		change(&o)
	}
	server := New(o)
	r.server = server
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- server.Run(ctx) }()
	conn := r.dial(t)
	r.conn, r.kv, r.lease = conn, pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	r.end = sync.OnceFunc(func() {
		conn.Close()
		cancel()
		select {
		case err := <-r.ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(r.end)
	return r
}

// dial makes a connection of its own.
func (r *running) dial(t testing.TB, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///okapi", append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)),
	}, options...)...)
	if err != nil {
		t.Fatalf("make client: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// web is an HTTP client of the server that keeps no connections.
func (r *running) web() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return r.listener.DialContext(ctx) },
	}}
}

// restart begins anew with other settings; the caller holds mu.
func (f *fakeReplica) restart(s *command.Settings) {
	f.machine, f.index = state.Found(1, threeMembers()), 0
	f.apply(&command.Bootstrap{Settings: *s})
}

// squeeze makes one blank of each run of them.
func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }
