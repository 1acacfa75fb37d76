package etcd

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// grant makes a lease that the test relies on.
func (r *running) grant(t *testing.T, id, ttl int64) {
	t.Helper()
	if _, err := r.lease.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{ID: id, TTL: ttl}); err != nil {
		t.Fatalf("grant %d: %v", id, err)
	}
}

// session opens a ZooKeeper session with an ephemeral znode /e.
func (r *running) session(id int64) {
	r.replica.set(func() {
		r.replica.apply(&command.OpenSession{ID: id, Timeout: 4500})
		r.replica.applyAs(command.Caller{Protocol: command.ZooKeeper, Session: id, Generation: 1, Sequence: 1}, &command.Create{
			Path: "/e", Flags: command.FlagEphemeral, TTL: command.NoTTL,
			ACL: []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}},
		})
	})
}

func statuses(ids ...int64) (out []*pb.LeaseStatus) {
	for _, id := range ids {
		out = append(out, &pb.LeaseStatus{ID: id})
	}
	return out
}

func TestALeaseAtTheDoor(t *testing.T) {
	s, ctx := serve(t, nil), context.Background()
	granted, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 10})
	same(t, "grant", granted, &pb.LeaseGrantResponse{Header: at(1), ID: 7, TTL: 10}, err)
	raised, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: -4, TTL: -1})
	same(t, "grant of too little", raised, &pb.LeaseGrantResponse{Header: at(1), ID: -4, TTL: 2}, err)
	longest, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: 9_000_000_000})
	same(t, "grant of the most", longest, &pb.LeaseGrantResponse{Header: at(1), ID: 5, TTL: 9_000_000_000}, err)
	for _, key := range []string{"b", "a", "c"} {
		if _, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Lease: 7}); err != nil {
			t.Fatal(err)
		}
	}
	s.replica.set(func() { s.replica.left = map[int64]int64{7: 9_999, 5: 0} })
	left, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7})
	same(t, "time to live", left, &pb.LeaseTimeToLiveResponse{Header: at(4), ID: 7, TTL: 9, GrantedTTL: 10}, err)
	keys, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	same(t, "time to live with keys", keys, &pb.LeaseTimeToLiveResponse{
		Header: at(4), ID: 7, TTL: 9, GrantedTTL: 10, Keys: [][]byte{[]byte("a"), []byte("b"), []byte("c")}}, err)
	over, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 5})
	same(t, "time that is up", over, &pb.LeaseTimeToLiveResponse{Header: at(4), ID: 5, GrantedTTL: 9_000_000_000}, err)
	unknown, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 99, Keys: true})
	same(t, "time to live of none", unknown, &pb.LeaseTimeToLiveResponse{Header: at(4), ID: 99, TTL: -1}, err)
	all, err := s.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	same(t, "list", all, &pb.LeaseLeasesResponse{Header: at(4), Leases: statuses(-4, 5, 7)}, err)
	revoked, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 7})
	same(t, "revoke", revoked, &pb.LeaseRevokeResponse{Header: at(5)}, err)
	bare, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 5})
	same(t, "revoke without keys", bare, &pb.LeaseRevokeResponse{Header: at(5)}, err)
	rest, err := s.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	same(t, "list of the rest", rest, &pb.LeaseLeasesResponse{Header: at(5), Leases: statuses(-4)}, err)
}

// TestDrawnIDs: ids are positive and free, whatever chance says.
func TestDrawnIDs(t *testing.T) {
	drawn := slices.Concat(make([]byte, 8), []byte{0, 0, 0, 0, 0, 0, 0, 14}, []byte{0, 0, 0, 0, 0, 0, 0, 14}, bytes.Repeat([]byte{0xff}, 8))
	s, ctx := serve(t, func(o *Options) { o.Random = bytes.NewReader(drawn) }), context.Background()
	for _, want := range []int64{7, 1<<63 - 1} {
		r, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 10})
		same(t, "grant", r, &pb.LeaseGrantResponse{Header: at(1), ID: want, TTL: 10}, err)
	}
	if _, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 10}); err == nil {
		t.Error("an id is drawn from nothing")
	}
}

func TestLeaseErrorsOnTheWire(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxLeases = 2 })
	s.grant(t, 1, 10)
	fails := func(what string) func(*fakeReplica) {
		return func(f *fakeReplica) { f.proposeErr, f.leaseErr = outcome(what), outcome(what) }
	}
	grant := func(id, ttl int64) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl})
			return err
		}
	}
	revoke := func(ctx context.Context) error {
		_, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 99})
		return err
	}
	look := func(ctx context.Context) error {
		_, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1})
		return err
	}
	keep := func(ctx context.Context) error {
		stream, err := s.lease.LeaseKeepAlive(ctx)
		if err == nil {
			err = stream.Send(&pb.LeaseKeepAliveRequest{ID: 1})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for _, c := range []struct {
		name   string
		script func(*fakeReplica)
		call   func(context.Context) error
		code   codes.Code
		text   string
	}{
		{"too long", nil, grant(2, 9_000_000_001), codes.OutOfRange, "etcdserver: too large lease TTL"},
		{"taken", nil, grant(1, 10), codes.FailedPrecondition, "etcdserver: lease already exists"},
		{"no space", func(f *fakeReplica) {
			f.apply(&command.Alarm{Action: command.AlarmActivate, Alarm: command.AlarmNoSpace})
		},
			grant(2, 10), codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{"grant, not done", fails(OutcomeNotDone), grant(2, 10), codes.Unavailable, "etcdserver: leader changed"},
		{"revoke of none", nil, revoke, codes.NotFound, "etcdserver: requested lease not found"},
		{"revoke, unknown", fails(OutcomeUnknown), revoke, codes.Unavailable,
			"etcdserver: request timed out, possibly due to previous leader failure"},
		{"time to live, no leader", fails(OutcomeNoLeader), look, codes.Unavailable, "etcdserver: no leader"},
		{"time to live, timeout", fails(OutcomeTimeout), look, codes.Unavailable, "etcdserver: request timed out"},
		{"keep-alive, no leader", fails(OutcomeNoLeader), keep, codes.Unavailable, "etcdserver: no leader"},
		{"keep-alive, timeout", fails(OutcomeTimeout), keep, codes.Unavailable, "etcdserver: request timed out"},
		{"keep-alive, stopped", fails(OutcomeStopped), keep, codes.Unavailable, "etcdserver: server stopped"},
		{"too many", func(f *fakeReplica) {
			f.apply(&command.Alarm{Action: command.AlarmDeactivate, Alarm: command.AlarmNoSpace})
			f.apply(&command.LeaseGrant{ID: 3, TTL: 10})
		}, grant(4, 10), codes.ResourceExhausted, "okapi: too many leases: there are 2, and no more are granted"},
	} {
		s.replica.set(func() {
			s.replica.proposeErr, s.replica.leaseErr = nil, nil
			if c.script != nil {
				c.script(s.replica)
			}
		})
		sameStatus(t, c.name, c.call(context.Background()), c.code, c.text)
	}
}

// TestSessionsAreNoLeases, unless one asks for their time to live.
func TestSessionsAreNoLeases(t *testing.T) {
	s, ctx := serve(t, nil), context.Background()
	s.session(1 << 56)
	s.grant(t, 7, 10)
	_, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 1 << 56})
	sameStatus(t, "revoke", err, codes.NotFound, "etcdserver: requested lease not found")
	_, err = s.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 1 << 56, TTL: 10})
	sameStatus(t, "grant", err, codes.FailedPrecondition, "etcdserver: lease already exists")
	all, err := s.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	same(t, "list", all, &pb.LeaseLeasesResponse{Header: at(2), Leases: statuses(7)}, err)
	left, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1 << 56, Keys: true})
	same(t, "time to live", left, &pb.LeaseTimeToLiveResponse{Header: at(2), ID: 1 << 56, TTL: 4, GrantedTTL: 5, Keys: [][]byte{[]byte("/zk/e")}}, err)
	k := s.keepAlives(t)
	k.send(1<<56, 7)
	k.want(&pb.LeaseKeepAliveResponse{Header: at(2), ID: 1 << 56}, &pb.LeaseKeepAliveResponse{Header: at(2), ID: 7, TTL: 10})
	s.replica.set(func() {
		if diff := cmp.Diff([]int64{7}, slices.Concat(s.replica.keptAlive...)); diff != "" {
			t.Errorf("the leader is asked for others (-want +got):\n%s", diff)
		}
	})
}

// keeping is a stream of keep-alives.
type keeping struct {
	t      *testing.T
	stream pb.Lease_LeaseKeepAliveClient
}

func (r *running) keepAlives(t *testing.T) keeping {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	stream, err := r.lease.LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return keeping{t, stream}
}

func (k keeping) send(ids ...int64) {
	k.t.Helper()
	for _, id := range ids {
		if err := k.stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			k.t.Fatalf("send %d: %v", id, err)
		}
	}
}

func (k keeping) want(all ...*pb.LeaseKeepAliveResponse) {
	k.t.Helper()
	for _, want := range all {
		got, err := k.stream.Recv()
		same(k.t, "keep-alive", got, want, err)
	}
}

func TestKeepAlive(t *testing.T) {
	s := serve(t, nil)
	for id := range int64(5) {
		s.grant(t, id+1, 10*(id+1))
	}
	k := s.keepAlives(t)
	alive := func(revision, id, ttl int64) *pb.LeaseKeepAliveResponse {
		return &pb.LeaseKeepAliveResponse{Header: at(revision), ID: id, TTL: ttl}
	}
	k.send(3)
	k.want(alive(1, 3, 30))
	k.send(99)
	k.want(alive(1, 99, 0))

	// The header is of before: the revision moves while the leader is asked.
	s.replica.set(func() { s.replica.lag = func() { s.replica.apply(&command.Put{Key: "k"}) } })
	k.send(2)
	k.want(alive(1, 2, 20))

	// A lease that has gone since the leader knew it, and one that is not known here yet.
	s.replica.set(func() { s.replica.lag = func() { s.replica.apply(&command.LeaseRevoke{ID: 2}) } })
	k.send(2)
	k.want(alive(2, 2, 0))
	s.replica.set(func() { s.replica.hidden = map[int64]command.LeaseGrant{8: {ID: 8, TTL: 80}} })
	k.send(8)
	k.want(alive(2, 8, 80))

	// What was sent before the end is answered before the end.
	k.send(5, 4, 5)
	if err := k.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	k.want(alive(2, 5, 50), alive(2, 4, 40), alive(2, 5, 50))
	if _, err := k.stream.Recv(); err != io.EOF {
		t.Errorf("the stream ends with %v", err)
	}
}

// TestKeepAlivesShare: what comes while the leader is asked is asked for together.
func TestKeepAlivesShare(t *testing.T) {
	s := serve(t, nil)
	s.grant(t, 1, 10)
	hold := make(chan struct{})
	s.replica.set(func() { s.replica.hold = hold })
	k := s.keepAlives(t)
	k.send(1)
	<-s.replica.holding
	const more = 500
	for range more {
		k.send(1)
	}
	s.replica.set(func() { s.replica.hold = nil })
	close(hold)
	for range more + 1 {
		k.want(&pb.LeaseKeepAliveResponse{Header: at(1), ID: 1, TTL: 10})
	}
	s.replica.set(func() {
		if calls := len(s.replica.keptAlive); calls > more/2 {
			t.Errorf("%d keep-alives took %d calls", more+1, calls)
		}
		for _, ids := range s.replica.keptAlive {
			if len(ids) > keepAlivesMax {
				t.Errorf("%d ids in a call", len(ids))
			}
		}
	})
}

// TestClientThatNeverReads fills what is kept for it and then its own connection, and nobody else notices.
func TestClientThatNeverReads(t *testing.T) {
	s := serve(t, nil)
	s.grant(t, 1, 10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	deaf, err := pb.NewLeaseClient(s.dial(t)).LeaseKeepAlive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	sent := make(chan int)
	go func() {
		n := 0
		for ; deaf.Send(&pb.LeaseKeepAliveRequest{ID: 1}) == nil; n++ {
			if n == 1000 {
				close(begun)
			}
		}
		sent <- n
	}()
	<-begun
	k := s.keepAlives(t)
	for range 100 {
		k.send(1)
		k.want(&pb.LeaseKeepAliveResponse{Header: at(1), ID: 1, TTL: 10})
	}
	cancel()
	t.Logf("a client that never reads sent %d keep-alives", <-sent)
}

// TestDrainEndsStreams: a stream that nobody ends does not hold the server up.
func TestDrainEndsStreams(t *testing.T) {
	s := serve(t, func(o *Options) { o.DrainTimeout = time.Hour })
	s.grant(t, 1, 10)
	k := s.keepAlives(t)
	k.send(1)
	k.want(&pb.LeaseKeepAliveResponse{Header: at(1), ID: 1, TTL: 10})
	s.stop()
	_, err := k.stream.Recv()
	sameStatus(t, "drain", err, codes.Unavailable, "etcdserver: server stopped")
}

// TestTimeToLiveOfOneThatEnds between the leader's answer and the reading has ended.
func TestTimeToLiveOfOneThatEnds(t *testing.T) {
	s, ctx := serve(t, nil), context.Background()
	s.grant(t, 1, 10)
	s.replica.set(func() {
		s.replica.hidden = map[int64]command.LeaseGrant{8: {ID: 8, TTL: 80}}
		s.replica.left = map[int64]int64{8: 79_000}
	})
	late, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true})
	same(t, "not known here yet", late, &pb.LeaseTimeToLiveResponse{Header: at(1), ID: 8, TTL: 79, GrantedTTL: 80}, err)
	s.replica.set(func() { s.replica.lag = func() { s.replica.apply(&command.LeaseRevoke{ID: 1}) } })
	gone, err := s.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 1})
	same(t, "gone", gone, &pb.LeaseTimeToLiveResponse{Header: at(1), ID: 1, TTL: -1}, err)
}
