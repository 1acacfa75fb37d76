package etcd

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestMemberList(t *testing.T) {
	s := serve(t, nil)
	ctx, c := context.Background(), pb.NewClusterClient(s.conn)
	s.replica.set(func() {
		s.replica.apply(&command.PublishMember{ID: 3, Name: "three", ClientURLs: []string{"http://c3:2379", "http://d3:2379"}})
	})
	want := &pb.MemberListResponse{
		Header: &pb.ResponseHeader{ClusterId: 7, MemberId: 3, RaftTerm: 5},
		Members: []*pb.Member{
			{ID: 3, Name: "three", PeerURLs: []string{"http://p3:2380"}, ClientURLs: []string{"http://c3:2379", "http://d3:2379"}},
			{ID: 4, Name: "n4", PeerURLs: []string{"http://p4:2380", "http://q4:2380"}},
			{ID: 5, Name: "n5", PeerURLs: []string{"http://p5:2380"}, IsLearner: true},
		},
	}
	for linearizable, reads := range map[bool]int{false: 0, true: 1} {
		_, before := s.replica.counts()
		got, err := c.MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
		same(t, "members", got, want, err)
		if _, after := s.replica.counts(); after-before != reads {
			t.Errorf("linearizable %v: %d read indexes, want %d", linearizable, after-before, reads)
		}
	}
	s.replica.set(func() { s.replica.readErr = outcome(OutcomeNoLeader) })
	_, err := c.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	sameStatus(t, "linearizable without a leader", err, codes.Unavailable, "etcdserver: no leader")
	for name, call := range map[string]func() error{
		"MemberAdd":     func() error { _, err := c.MemberAdd(ctx, &pb.MemberAddRequest{}); return err },
		"MemberRemove":  func() error { _, err := c.MemberRemove(ctx, &pb.MemberRemoveRequest{}); return err },
		"MemberUpdate":  func() error { _, err := c.MemberUpdate(ctx, &pb.MemberUpdateRequest{}); return err },
		"MemberPromote": func() error { _, err := c.MemberPromote(ctx, &pb.MemberPromoteRequest{}); return err },
	} {
		sameStatus(t, name, call(), codes.Unimplemented, "method "+name+" not implemented")
	}
}

func TestStatus(t *testing.T) {
	s := serve(t, nil)
	ctx, m := context.Background(), pb.NewMaintenanceClient(s.conn)
	s.replica.set(func() { s.replica.status.CommitIndex, s.replica.status.AppliedIndex = 12, 11 })
	want := &pb.StatusResponse{
		Header: at(1), Version: "3.7.3", StorageVersion: "3.7.0", Leader: 3, RaftTerm: 5, RaftIndex: 12, RaftAppliedIndex: 11,
		DbSize: 1, DbSizeInUse: 1, DbSizeQuota: -1, DowngradeInfo: &pb.DowngradeInfo{},
	}
	got, err := m.Status(ctx, &pb.StatusRequest{})
	same(t, "an empty member", got, want, err)

	if _, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: []byte("value")}); err != nil {
		t.Fatal(err)
	}
	s.replica.set(func() {
		s.replica.status.MemberID, s.replica.status.LeaderID = 5, 0
		s.replica.raise(123, command.AlarmNoSpace)
		s.replica.raise(124, command.AlarmCorrupt)
	})
	got, err = m.Status(ctx, &pb.StatusRequest{})
	for i := range got.GetErrors() {
		if i > 0 { // how much blank the text of an alarm has is not stable
			got.Errors[i] = squeeze(got.Errors[i])
		}
	}
	want.Header = &pb.ResponseHeader{ClusterId: 7, MemberId: 5, RaftTerm: 5, Revision: 2}
	want.Leader, want.IsLearner, want.DbSize, want.DbSizeInUse = 0, true, 256+8, 256+8
	want.Errors = []string{"etcdserver: no leader", "memberID:123 alarm:NOSPACE", "memberID:124 alarm:CORRUPT"}
	same(t, "an unwell learner", got, want, err)
}

func TestStatusTellsTheQuota(t *testing.T) {
	s := serve(t, nil)
	s.replica.set(func() { s.replica.restart(&command.Settings{QuotaBytes: 1 << 30}) })
	got, err := pb.NewMaintenanceClient(s.conn).Status(context.Background(), &pb.StatusRequest{})
	if err != nil || got.GetDbSizeQuota() != 1<<30 {
		t.Errorf("quota %d, %v", got.GetDbSizeQuota(), err)
	}
}

func TestAlarm(t *testing.T) {
	s := serve(t, nil)
	ctx, m := context.Background(), pb.NewMaintenanceClient(s.conn)
	noSpace := &pb.AlarmMember{MemberID: 4, Alarm: pb.AlarmType_NOSPACE}
	corrupt := &pb.AlarmMember{MemberID: 9, Alarm: pb.AlarmType_CORRUPT}
	alarm := func(action pb.AlarmRequest_AlarmAction, a *pb.AlarmMember) *pb.AlarmRequest {
		return &pb.AlarmRequest{Action: action, MemberID: a.GetMemberID(), Alarm: a.GetAlarm()}
	}
	_, before := s.replica.counts()
	for _, step := range []struct {
		name string
		r    *pb.AlarmRequest
		want []*pb.AlarmMember
	}{
		{"none yet", alarm(pb.AlarmRequest_GET, nil), nil},
		{"raise", alarm(pb.AlarmRequest_ACTIVATE, noSpace), []*pb.AlarmMember{noSpace}},
		{"raise again", alarm(pb.AlarmRequest_ACTIVATE, noSpace), []*pb.AlarmMember{noSpace}},
		{"raise nothing", alarm(pb.AlarmRequest_ACTIVATE, &pb.AlarmMember{MemberID: 4}), nil},
		{"raise the other", alarm(pb.AlarmRequest_ACTIVATE, corrupt), []*pb.AlarmMember{corrupt}},
		{"get all", alarm(pb.AlarmRequest_GET, nil), []*pb.AlarmMember{noSpace, corrupt}},
		{"get of a type, whosever", alarm(pb.AlarmRequest_GET, &pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_CORRUPT}), []*pb.AlarmMember{corrupt}},
		{"clear of another member", alarm(pb.AlarmRequest_DEACTIVATE, &pb.AlarmMember{MemberID: 9, Alarm: pb.AlarmType_NOSPACE}), nil},
		{"clear", alarm(pb.AlarmRequest_DEACTIVATE, noSpace), []*pb.AlarmMember{noSpace}},
		{"clear again", alarm(pb.AlarmRequest_DEACTIVATE, noSpace), nil},
		{"an action that there is not", alarm(7, corrupt), nil},
		{"get what is left", alarm(pb.AlarmRequest_GET, nil), []*pb.AlarmMember{corrupt}},
	} {
		got, err := m.Alarm(ctx, step.r)
		same(t, step.name, got, &pb.AlarmResponse{Header: at(1), Alarms: step.want}, err)
	}
	if _, after := s.replica.counts(); after-before != 4 {
		t.Errorf("%d read indexes, want one for each of 4 questions", after-before)
	}
	s.replica.set(func() { s.replica.readErr = outcome(OutcomeTimeout) })
	_, err := m.Alarm(ctx, alarm(pb.AlarmRequest_GET, nil))
	sameStatus(t, "get without a quorum", err, codes.Unavailable, "etcdserver: request timed out")
}

func TestHashes(t *testing.T) {
	s := serve(t, nil)
	ctx, m := context.Background(), pb.NewMaintenanceClient(s.conn)
	for _, pair := range [][2]string{{"a", "1"}, {"b", "2"}, {"a", "3"}} {
		if _, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte(pair[0]), Value: []byte(pair[1])}); err != nil {
			t.Fatal(err)
		}
	}
	hashKV := func(revision int64) (*pb.HashKVResponse, error) {
		return m.HashKV(ctx, &pb.HashKVRequest{Revision: revision})
	}
	// The numbers are etcd's for these three puts.
	got, err := hashKV(0)
	same(t, "newest", got, &pb.HashKVResponse{Header: at(4), Hash: 2069675932, CompactRevision: -1, HashRevision: 4}, err)
	got, err = hashKV(2)
	same(t, "at 2", got, &pb.HashKVResponse{Header: at(4), Hash: 2587454935, CompactRevision: -1, HashRevision: 2}, err)
	if _, err := s.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	_, err = hashKV(2)
	sameStatus(t, "below the compaction", err, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted")
	_, err = hashKV(5)
	sameStatus(t, "in the future", err, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision")
	if got, err := hashKV(0); err != nil || got.GetCompactRevision() != 3 {
		t.Errorf("after a compaction: %v, %v", got, err)
	}
	first, err := m.Hash(ctx, &pb.HashRequest{})
	if err != nil || first.GetHeader().GetRevision() != 4 {
		t.Fatalf("Hash: %v, %v", first, err)
	}
	if _, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("/zk/a")}); err != nil {
		t.Fatal(err)
	}
	if second, err := m.Hash(ctx, &pb.HashRequest{}); err != nil || second.GetHash() == first.GetHash() {
		t.Errorf("a znode does not change the hash: %v, %v", second, err)
	}
}

// HashKV runs once at a time; who has gone meanwhile is not waited for.
func TestHashKVWaitsItsTurn(t *testing.T) {
	m := &maintenanceServer{hashing: make(chan struct{}, 1)}
	m.hashing <- struct{}{} // one is under way
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.HashKV(ctx, &pb.HashKVRequest{})
	sameStatus(t, "behind another", err, codes.Canceled, "context canceled")
}

func TestMoveLeader(t *testing.T) {
	s := serve(t, nil)
	ctx, m := context.Background(), pb.NewMaintenanceClient(s.conn)
	move := func(to uint64) error { _, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to}); return err }
	sameStatus(t, "to a learner", move(5), codes.FailedPrecondition, "etcdserver: bad leader transferee")
	sameStatus(t, "to nobody", move(6), codes.FailedPrecondition, "etcdserver: bad leader transferee")
	s.replica.set(func() { s.replica.moveErr = context.DeadlineExceeded })
	sameStatus(t, "in vain", move(4), codes.Unknown, "etcdserver: request timed out, leader transfer took too long")
	s.replica.set(func() { s.replica.moveErr = nil })
	got, err := m.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 4})
	same(t, "to a voter", got, &pb.MoveLeaderResponse{}, err)
	sameStatus(t, "no longer the leader", move(4), codes.FailedPrecondition, "etcdserver: not leader")
	sameStatus(t, "no longer the leader, to nobody", move(6), codes.FailedPrecondition, "etcdserver: not leader")
}

func TestDefragmentFreesMemory(t *testing.T) {
	s := serve(t, nil)
	m := pb.NewMaintenanceClient(s.conn)
	got, err := m.Defragment(context.Background(), &pb.DefragmentRequest{})
	same(t, "defragment", got, &pb.DefragmentResponse{}, err)
	s.replica.set(func() {
		if s.replica.freed != 1 {
			t.Errorf("memory was freed %d times", s.replica.freed)
		}
	})
	stream, err := m.Snapshot(context.Background(), &pb.SnapshotRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	sameStatus(t, "Snapshot", err, codes.Unimplemented, "method Snapshot not implemented")
	_, err = m.Downgrade(context.Background(), &pb.DowngradeRequest{})
	sameStatus(t, "Downgrade", err, codes.Unimplemented, "method Downgrade not implemented")
}

func TestHealthService(t *testing.T) {
	s := serve(t, nil)
	h := healthpb.NewHealthClient(s.conn)
	got, err := h.Check(context.Background(), &healthpb.HealthCheckRequest{})
	same(t, "the server", got, &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, err)
	_, err = h.Check(context.Background(), &healthpb.HealthCheckRequest{Service: "etcdserverpb.KV"})
	sameStatus(t, "a service by name", err, codes.NotFound, "unknown service")
	watch, err := h.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := watch.Recv()
	same(t, "watched", first, &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, err)
	s.stop()
	second, err := watch.Recv()
	same(t, "while it stops", second, &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, err)
}

func TestReflection(t *testing.T) {
	s := serve(t, nil)
	want := map[string]bool{
		"etcdserverpb.KV": true, "etcdserverpb.Cluster": true, "etcdserverpb.Maintenance": true, "grpc.health.v1.Health": true,
		"grpc.reflection.v1.ServerReflection": true, "grpc.reflection.v1alpha.ServerReflection": true,
	}
	check := func(version string, names []string) {
		found := map[string]bool{}
		for _, name := range names {
			found[name] = true
		}
		for name := range want {
			if !found[name] {
				t.Errorf("%s does not list %s: %v", version, name, names)
			}
		}
	}
	v1, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err == nil {
		err = v1.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := v1.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	check("v1", names)
	alpha, err := reflectionalpha.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
	if err == nil {
		err = alpha.Send(&reflectionalpha.ServerReflectionRequest{MessageRequest: &reflectionalpha.ServerReflectionRequest_ListServices{}})
	}
	if err != nil {
		t.Fatal(err)
	}
	old, err := alpha.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names = nil
	for _, service := range old.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	check("v1alpha", names)
}
