package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/okapi-kv/okapi/internal/core/state"
)

func same(t *testing.T, name string, got, want proto.Message, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// at is the header of the fake at a revision.
func at(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 7, MemberId: 3, RaftTerm: 5, Revision: revision}
}

func TestADayAtTheDoor(t *testing.T) {
	s, ctx := serve(t, nil), context.Background()
	kvA := &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1}

	empty, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	same(t, "empty store", empty, &pb.RangeResponse{Header: at(1)}, err)
	none, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	same(t, "delete of nothing", none, &pb.DeleteRangeResponse{Header: at(1)}, err)
	first, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	same(t, "put", first, &pb.PutResponse{Header: at(2)}, err)
	got, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	same(t, "get", got, &pb.RangeResponse{Header: at(2), Kvs: []*mvccpb.KeyValue{kvA}, Count: 1}, err)
	second, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("2"), PrevKv: true})
	same(t, "put, prev", second, &pb.PutResponse{Header: at(3), PrevKv: kvA}, err)
	old, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 2})
	same(t, "get at 2", old, &pb.RangeResponse{Header: at(3), Kvs: []*mvccpb.KeyValue{kvA}, Count: 1}, err)
	txn, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 2}}},
		Success: ops(put("b"), get("b", "")), Failure: ops(get("a", "")),
	})
	same(t, "txn", txn, &pb.TxnResponse{Header: at(4), Succeeded: true, Responses: []*pb.ResponseOp{
		{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: 4}}}},
		{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{
			Header: &pb.ResponseHeader{Revision: 4}, Count: 1,
			Kvs: []*mvccpb.KeyValue{{Key: []byte("b"), CreateRevision: 4, ModRevision: 4, Version: 1}}}}},
	}}, err)
	gone, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	same(t, "delete all", gone, &pb.DeleteRangeResponse{Header: at(5), Deleted: 2}, err)
	compacted, err := s.kv.Compact(ctx, &pb.CompactionRequest{Revision: 4, Physical: true})
	same(t, "compact", compacted, &pb.CompactionResponse{Header: at(5)}, err)
}

// Each row is one error as a client sees it: how to provoke it, code and text written out.
func TestErrorsOnTheWire(t *testing.T) {
	s := serve(t, func(o *Options) { o.RequestTimeout = 20 * time.Second })
	key := []byte("k")
	result := func(code state.Code) func(*fakeReplica) {
		return func(f *fakeReplica) { f.result = &state.Result{Code: code} }
	}
	fails := func(what string) func(*fakeReplica) {
		return func(f *fakeReplica) { f.proposeErr, f.readErr = outcome(what), outcome(what) }
	}
	doPut := func(r *pb.PutRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.kv.Put(ctx, r); return err }
	}
	doRange := func(r *pb.RangeRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.kv.Range(ctx, r); return err }
	}
	doTxn := func(r *pb.TxnRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.kv.Txn(ctx, r); return err }
	}
	doDelete := func(r *pb.DeleteRangeRequest) func(context.Context) error {
		return func(ctx context.Context) error { _, err := s.kv.DeleteRange(ctx, r); return err }
	}
	doCompact := func(ctx context.Context) error {
		_, err := s.kv.Compact(ctx, &pb.CompactionRequest{Revision: 100})
		return err
	}
	aPut, aGet := doPut(&pb.PutRequest{Key: key}), doRange(&pb.RangeRequest{Key: key})
	for _, c := range []struct {
		name   string
		script func(*fakeReplica)
		call   func(context.Context) error
		code   codes.Code
		text   string
	}{
		{"put, no key", nil, doPut(&pb.PutRequest{}), codes.InvalidArgument, textEmptyKey},
		{"get, no key", nil, doRange(&pb.RangeRequest{}), codes.InvalidArgument, textEmptyKey},
		{"delete, no key", nil, doDelete(&pb.DeleteRangeRequest{}), codes.InvalidArgument, textEmptyKey},
		{"ignored value given", nil, doPut(&pb.PutRequest{Key: key, Value: key, IgnoreValue: true}), codes.InvalidArgument, textValue},
		{"ignored lease given", nil, doPut(&pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true}), codes.InvalidArgument, textLease},
		{"sort", nil, doRange(&pb.RangeRequest{Key: key, SortOrder: 7}), codes.InvalidArgument, textSort},
		{"many ops", nil, doTxn(&pb.TxnRequest{Success: gets(129)}), codes.InvalidArgument, textManyOps},
		{"duplicate", nil, doTxn(&pb.TxnRequest{Success: ops(put("a"), put("a"))}), codes.InvalidArgument, textDuplicate},
		{"empty op", nil, doTxn(&pb.TxnRequest{Success: ops(&pb.RequestOp{})}), codes.InvalidArgument, textEmptyOp},
		{"ignore value of no key", nil, doPut(&pb.PutRequest{Key: key, IgnoreValue: true}), codes.InvalidArgument, textEmptyOp},
		{"no lease", nil, doPut(&pb.PutRequest{Key: key, Lease: 4711}), codes.NotFound, "etcdserver: requested lease not found"},
		{"future get", nil, doRange(&pb.RangeRequest{Key: key, Revision: 100}), codes.OutOfRange,
			"etcdserver: mvcc: required revision is a future revision"},
		{"future compaction", nil, doCompact, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{"negative revision in a txn", nil, doTxn(&pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: key, Revision: -2}}})}), codes.OutOfRange,
			"etcdserver: mvcc: required revision has been compacted"},
		{"compacted", result(state.Compacted), doCompact, codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted"},
		{"no space", result(state.NoSpace), aPut, codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"},
		{"denied", result(state.PermissionDenied), aPut, codes.PermissionDenied, "etcdserver: permission denied"},
		{"old token", result(state.AuthOld), aPut, codes.InvalidArgument, "etcdserver: revision of auth store is old"},
		{"not done", fails(OutcomeNotDone), aPut, codes.Unavailable, "etcdserver: leader changed"},
		{"leader changed, get", fails(OutcomeLeaderChanged), aGet, codes.Unavailable, "etcdserver: leader changed"},
		{"unknown", fails(OutcomeUnknown), aPut, codes.Unavailable,
			"etcdserver: request timed out, possibly due to previous leader failure"},
		{"no leader", fails(OutcomeNoLeader), aPut, codes.Unavailable, "etcdserver: no leader"},
		{"no leader, get", fails(OutcomeNoLeader), aGet, codes.Unavailable, "etcdserver: no leader"},
		{"stopped", fails(OutcomeStopped), aPut, codes.Unavailable, "etcdserver: server stopped"},
		{"timeout", fails(OutcomeTimeout), aGet, codes.Unavailable, "etcdserver: request timed out"},
		{"too large for the replica", fails(OutcomeTooLarge), aPut, codes.InvalidArgument, "etcdserver: request is too large"},
		{"overloaded", fails(OutcomeOverloaded), aPut, codes.Unknown, "etcdserver: too many requests"},
		{"leader wanted", func(f *fakeReplica) { f.status.LeaderID = 0 },
			func(ctx context.Context) error {
				return aPut(metadata.AppendToOutgoingContext(ctx, "hasleader", "true"))
			},
			codes.Unavailable, "etcdserver: no leader"},
		{"leader wanted by a stream", func(f *fakeReplica) { f.status.LeaderID = 0 }, func(ctx context.Context) error {
			_, err := readStream(metadata.AppendToOutgoingContext(ctx, "hasleader", "true"), s.kv,
				&pb.RangeRequest{Key: key, Serializable: true})
			return err
		}, codes.Unavailable, "etcdserver: no leader"},
		{"unknown service", nil, func(ctx context.Context) error {
			_, err := pb.NewAuthClient(s.conn).AuthStatus(ctx, &pb.AuthStatusRequest{})
			return err
		}, codes.Unimplemented, "unknown service etcdserverpb.Auth"},
		{"unknown method", nil, func(ctx context.Context) error {
			return s.conn.Invoke(ctx, "/etcdserverpb.KV/Frob", &pb.PutRequest{}, &pb.PutResponse{})
		}, codes.Unimplemented, "unknown method Frob for service etcdserverpb.KV"},
	} {
		s.replica.set(func() {
			s.replica.result, s.replica.proposeErr, s.replica.readErr, s.replica.status.LeaderID = nil, nil, nil, 3
			if c.script != nil {
				c.script(s.replica)
			}
		})
		sameStatus(t, c.name, c.call(context.Background()), c.code, c.text)
	}
}

// What a refused request must not do is reach the log.
func TestRefusedRequestsAreNotProposed(t *testing.T) {
	s, ctx := serve(t, nil), context.Background()
	s.kv.Put(ctx, &pb.PutRequest{})
	s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
	s.kv.Txn(ctx, &pb.TxnRequest{Success: ops(put("a"), put("a"))})
	if proposals, reads := s.replica.counts(); proposals != 0 || reads != 0 {
		t.Errorf("got %d proposals and %d read indexes, want none", proposals, reads)
	}
}

func TestReadsChooseTheirView(t *testing.T) {
	local := get("k", "")
	local.GetRequestRange().Serializable = true
	key := []byte("k")
	for _, c := range []struct {
		name             string
		call             func(context.Context, pb.KVClient) error
		proposals, reads int
	}{
		{"get", func(ctx context.Context, kv pb.KVClient) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: key})
			return err
		}, 0, 1},
		{"serializable get", func(ctx context.Context, kv pb.KVClient) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: key, Serializable: true})
			return err
		}, 0, 0},
		{"stream", func(ctx context.Context, kv pb.KVClient) error {
			_, err := readStream(ctx, kv, &pb.RangeRequest{Key: key})
			return err
		}, 0, 1},
		{"serializable stream", func(ctx context.Context, kv pb.KVClient) error {
			_, err := readStream(ctx, kv, &pb.RangeRequest{Key: key, Serializable: true})
			return err
		}, 0, 0},
		{"txn of gets", runTxn(&pb.TxnRequest{Success: ops(local), Failure: ops(get("k", ""))}), 0, 1},
		{"txn of serializable gets", runTxn(&pb.TxnRequest{Success: ops(local), Failure: ops(local)}), 0, 0},
		{"txn without ops", runTxn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: key}}}), 0, 1},
		{"txn with a nested get", runTxn(&pb.TxnRequest{Success: ops(nest(ops(local), nil))}), 1, 0},
		{"txn with a put not taken", runTxn(&pb.TxnRequest{Success: ops(local), Failure: ops(put("k"))}), 1, 0},
		{"put", func(ctx context.Context, kv pb.KVClient) error {
			_, err := kv.Put(ctx, &pb.PutRequest{Key: key})
			return err
		}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, nil)
			if err := c.call(context.Background(), s.kv); err != nil {
				t.Fatal(err)
			}
			if proposals, reads := s.replica.counts(); proposals != c.proposals || reads != c.reads {
				t.Errorf("got %d proposals and %d read indexes, want %d and %d", proposals, reads, c.proposals, c.reads)
			}
		})
	}
}

func runTxn(r *pb.TxnRequest) func(context.Context, pb.KVClient) error {
	return func(ctx context.Context, kv pb.KVClient) error {
		_, err := kv.Txn(ctx, r)
		return err
	}
}

func TestRequestSize(t *testing.T) {
	const limit = 100_000
	s, ctx := serve(t, func(o *Options) { o.MaxRequestBytes = limit }), context.Background()
	sized := func(bytes int) *pb.PutRequest {
		r := &pb.PutRequest{Key: []byte("k"), Value: make([]byte, bytes)}
		r.Value = r.Value[:bytes-(proposalBytes(r)-bytes)]
		if got := proposalBytes(r); got != bytes {
			t.Fatalf("made a request of %d bytes, want %d", got, bytes)
		}
		return r
	}
	_, err := s.kv.Put(ctx, sized(limit))
	sameStatus(t, "at the limit", err, codes.OK, "")
	_, err = s.kv.Put(ctx, sized(limit+1))
	sameStatus(t, "above the limit", err, codes.InvalidArgument, "etcdserver: request is too large")
	_, err = s.kv.Txn(ctx, &pb.TxnRequest{Success: ops(
		&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: sized(limit)}})})
	sameStatus(t, "txn above the limit", err, codes.InvalidArgument, "etcdserver: request is too large")
	_, err = s.kv.Range(ctx, &pb.RangeRequest{Key: make([]byte, limit+1)})
	sameStatus(t, "a read is not logged and not limited", err, codes.OK, "")

	const received = limit + 512<<10
	value := make([]byte, received)
	tooLarge := &pb.PutRequest{Key: []byte("k"), Value: value}
	_, err = s.kv.Put(ctx, tooLarge)
	sameStatus(t, "above what is received", err, codes.ResourceExhausted,
		fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", proto.Size(tooLarge), received))
	_, err = s.kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: value[:received-8]})
	sameStatus(t, "just received", err, codes.InvalidArgument, "etcdserver: request is too large")
	if proposals, _ := s.replica.counts(); proposals != 1 {
		t.Errorf("%d proposals, want 1", proposals)
	}
}

// A request is given up after the request timeout, even if the client would wait.
func TestRequestTimeout(t *testing.T) {
	s, ctx := serve(t, func(o *Options) { o.RequestTimeout = time.Millisecond }), context.Background()
	s.replica.set(func() { s.replica.hold = make(chan struct{}) })
	_, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
	sameStatus(t, "put", err, codes.Unavailable, "etcdserver: request timed out")
	_, err = s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	sameStatus(t, "get", err, codes.Unavailable, "etcdserver: request timed out")
	_, err = s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), Serializable: true})
	sameStatus(t, "serializable get", err, codes.OK, "")
}

// readStream reads a stream to its end.
func readStream(ctx context.Context, kv pb.KVClient, r *pb.RangeRequest) (chunks []*pb.RangeResponse, err error) {
	stream, err := kv.RangeStream(ctx, r)
	if err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, m.RangeResponse)
	}
}

func TestRangeStream(t *testing.T) {
	const chunkBytes = 1000
	s, ctx := serve(t, func(o *Options) { o.MaxRequestBytes = chunkBytes }), context.Background()
	for i := range 50 {
		if _, err := s.kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i), Value: make([]byte, 90)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		r      *pb.RangeRequest
		chunks int
	}{
		{"all", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, 9},
		{"old revision", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Revision: 20}, 4},
		{"limit", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 14}, 3},
		{"limit at the end", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 50}, 9},
		{"one", &pb.RangeRequest{Key: []byte("k07")}, 1},
		{"none", &pb.RangeRequest{Key: []byte("x"), RangeEnd: []byte{0}}, 1},
		{"count", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), CountOnly: true}, 1},
		{"keys", &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), KeysOnly: true}, 4},
	} {
		want, err := s.kv.Range(ctx, c.r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		chunks, err := readStream(ctx, s.kv, c.r)
		merged := &pb.RangeResponse{}
		for i, chunk := range chunks {
			last := i == len(chunks)-1
			if (chunk.Header != nil) != last || !last && (chunk.Count != 0 || chunk.More) {
				t.Errorf("%s: chunk %d of %d has header %v, count %d, more %v",
					c.name, i, len(chunks), chunk.Header, chunk.Count, chunk.More)
			}
			if size := proto.Size(chunk); size > chunkBytes {
				t.Errorf("%s: chunk %d has %d bytes, want at most %d", c.name, i, size, chunkBytes)
			}
			proto.Merge(merged, chunk)
		}
		same(t, c.name, merged, want, err)
		if len(chunks) != c.chunks {
			t.Errorf("%s: %d chunks, want %d", c.name, len(chunks), c.chunks)
		}
	}
	_, err := readStream(ctx, s.kv, &pb.RangeRequest{Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND})
	sameStatus(t, "sorted", err, codes.Unimplemented, "RangeStream does not support custom sort orders")
	_, err = readStream(ctx, s.kv, &pb.RangeRequest{Key: []byte("k"), Revision: 1000})
	sameStatus(t, "future", err, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision")
}

// A value larger than a chunk still goes out, alone.
func TestChunkLen(t *testing.T) {
	kv := func(bytes int) state.KeyValue {
		return state.KeyValue{Key: "k", Value: make([]byte, bytes-1-keyValueOverheadBytes)}
	}
	for _, c := range []struct {
		kvs  []state.KeyValue
		want int
	}{
		{nil, 0},
		{[]state.KeyValue{kv(5000)}, 1},
		{[]state.KeyValue{kv(5000), kv(100)}, 1},
		{[]state.KeyValue{kv(100), kv(5000)}, 1},
		{[]state.KeyValue{kv(500), kv(500)}, 2},
		{[]state.KeyValue{kv(500), kv(501)}, 1},
	} {
		if got := chunkLen(c.kvs, 1000); got != c.want {
			t.Errorf("%d key-values: got %d, want %d", len(c.kvs), got, c.want)
		}
	}
}

// BenchmarkPut is a put through gRPC and loopback TCP with the fake behind it.
func BenchmarkPut(b *testing.B) {
	for _, workers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			f := newFakeReplica()
			f.result = &state.Result{Revision: 2, Body: &state.PutResult{}}
			server := New(Options{Listeners: []net.Listener{l}, Replica: f, Leases: f, Upkeep: f, Workers: workers})
			ctx, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- server.Run(ctx) }()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			kv := pb.NewKVClient(conn)
			b.ReportAllocs()
			b.SetParallelism(100)
			b.RunParallel(func(p *testing.PB) {
				r := &pb.PutRequest{Key: []byte("key"), Value: make([]byte, 100)}
				for p.Next() {
					if _, err := kv.Put(context.Background(), r); err != nil {
						b.Error(err)
					}
				}
			})
			conn.Close()
			stop()
			<-ended
		})
	}
}
