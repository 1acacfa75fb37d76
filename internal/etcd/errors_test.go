package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/core/state"
)

func sameStatus(t testing.TB, name string, err error, code codes.Code, text string) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || got.Message() != text {
		t.Errorf("%s: got %v %q, want %v %q", name, got.Code(), got.Message(), code, text)
	}
}

func TestRefusals(t *testing.T) {
	if err := refusal(state.OK, ""); err != nil {
		t.Errorf("OK: got %v", err)
	}
	for _, c := range []struct {
		code   state.Code
		detail string
		want   codes.Code
		text   string
	}{
		{state.KeyNotFound, "", codes.InvalidArgument, "etcdserver: key not found"},
		{state.LeaseNotFound, "", codes.NotFound, "etcdserver: requested lease not found"},
		{state.LeaseExists, "", codes.FailedPrecondition, "etcdserver: lease already exists"},
		{state.Compacted, "x", codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{state.FutureRevision, "", codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{state.NoSpace, "", codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{state.PermissionDenied, "", codes.PermissionDenied, "etcdserver: permission denied"},
		{state.AuthOld, "", codes.InvalidArgument, "etcdserver: revision of auth store is old"},
		{state.InvalidPath, "/zk/a//b: empty part", codes.InvalidArgument, "okapi: invalid path: /zk/a//b: empty part"},
		{state.InvalidPath, "", codes.InvalidArgument, "okapi: invalid path"},
		{state.TreeConflict, "/zk/a: has children", codes.FailedPrecondition, "okapi: tree conflict: /zk/a: has children"},
		{state.QuotaExceeded, "/a", codes.ResourceExhausted, "okapi: quota exceeded: /a"},
		{state.NotBootstrapped, "", codes.Unavailable, "okapi: the cluster is not bootstrapped yet"},
		{state.NoNode, "", codes.Internal, "okapi: no node"},
	} {
		sameStatus(t, c.code.String(), refusal(c.code, c.detail), c.want, c.text)
	}
}

// Every code, also one that is added later, must have a status.
func TestEveryCodeIsRefused(t *testing.T) {
	for code := state.OK + 1; code.String() != "unknown code"; code++ {
		if refusal(code, "") == nil {
			t.Errorf("%v passes as success", code)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
		text string
	}{
		{outcome(OutcomeNotDone), codes.Unavailable, "etcdserver: leader changed"},
		{outcome(OutcomeLeaderChanged), codes.Unavailable, "etcdserver: leader changed"},
		{outcome(OutcomeUnknown), codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"},
		{outcome(OutcomeNoLeader), codes.Unavailable, "etcdserver: no leader"},
		{outcome(OutcomeStopped), codes.Unavailable, "etcdserver: server stopped"},
		{outcome(OutcomeTooLarge), codes.InvalidArgument, "etcdserver: request is too large"},
		{outcome(OutcomeOverloaded), codes.Unknown, "etcdserver: too many requests"},
		{outcome(OutcomeDiskFull), codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{outcome(OutcomeTimeout), codes.Unavailable, "etcdserver: request timed out"},
		{outcome("something new"), codes.Unknown, "replica: something new"},
		{fmt.Errorf("propose: %w", outcome(OutcomeStopped)), codes.Unavailable, "etcdserver: server stopped"},
		{errors.New("disk on fire"), codes.Unknown, "disk on fire"},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), codes.Unavailable, "etcdserver: request timed out"},
		{context.Canceled, codes.Canceled, "etcdserver: request canceled"},
	} {
		sameStatus(t, c.err.Error(), writeError(c.err), c.want, c.text)
	}
}

// A read whose client has gone or run out of time gets gRPC's words, one that we cut short etcd's.
func TestReadErrors(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	sameStatus(t, "client gone", readError(gone, context.Canceled), codes.Canceled, "context canceled")
	late, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	sameStatus(t, "client late", readError(late, context.DeadlineExceeded), codes.DeadlineExceeded, "context deadline exceeded")
	sameStatus(t, "our limit", readError(context.Background(), context.DeadlineExceeded),
		codes.Unavailable, "etcdserver: request timed out")
	sameStatus(t, "no leader", readError(context.Background(), outcome(OutcomeNoLeader)),
		codes.Unavailable, "etcdserver: no leader")
}

func TestGateReadsMetadata(t *testing.T) {
	f := newFakeReplica()
	g := &gate{replica: f}
	with := func(kv ...string) context.Context {
		return metadata.NewIncomingContext(context.Background(), metadata.Pairs(kv...))
	}
	for _, c := range []struct {
		name   string
		ctx    context.Context
		leader uint64
		want   string
	}{
		{"nothing", context.Background(), 0, ""},
		{"version", with("client-api-version", "3.7"), 0, ""},
		{"bad version", with("client-api-version", "3.7\xff"), 3, "etcdserver: invalid client api version"},
		{"leader wanted and there", with("hasleader", "true"), 3, ""},
		{"leader wanted and missing", with("hasleader", "true"), 0, "etcdserver: no leader"},
		{"another wish", with("hasleader", "false"), 0, ""},
		{"a token without auth", with("token", "x.1"), 3, ""},
	} {
		f.set(func() { f.status.LeaderID = c.leader })
		if got := text(g.admit(c.ctx)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
