package etcd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/okapi-kv/okapi/internal/core/state"
)

func TestReply(t *testing.T) {
	h := header(Status{ClusterID: 1, MemberID: 2, Term: 3}, 4)
	a := state.KeyValue{Key: "a", CreateRevision: 5, ModRevision: 6, Version: 7, Lease: 8, Value: []byte("v")}
	b := state.KeyValue{Key: "bb", ModRevision: 9}
	wireA := &mvccpb.KeyValue{Key: []byte("a"), CreateRevision: 5, ModRevision: 6, Version: 7, Lease: 8, Value: []byte("v")}
	wireB := &mvccpb.KeyValue{Key: []byte("bb"), ModRevision: 9}
	wireH := &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: 4, RaftTerm: 3}
	for _, c := range []struct {
		name      string
		got, want proto.Message
	}{
		{"put", replyPut(h, &state.PutResult{}), &pb.PutResponse{Header: wireH}},
		{"put, prev", replyPut(h, &state.PutResult{Prev: &a}), &pb.PutResponse{Header: wireH, PrevKv: wireA}},
		{"range", replyRange(h, &state.RangeResult{KVs: []state.KeyValue{a, b}, More: true, Count: 11}),
			&pb.RangeResponse{Header: wireH, Kvs: []*mvccpb.KeyValue{wireA, wireB}, More: true, Count: 11}},
		{"empty range", replyRange(h, &state.RangeResult{}), &pb.RangeResponse{Header: wireH}},
		{"delete", replyDeleteRange(h, &state.DeleteRangeResult{Deleted: 2, Prev: []state.KeyValue{b, a}}),
			&pb.DeleteRangeResponse{Header: wireH, Deleted: 2, PrevKvs: []*mvccpb.KeyValue{wireB, wireA}}},
		{"compact", replyCompact(h), &pb.CompactionResponse{Header: wireH}},
		{"empty txn", replyTxn(h, &state.TxnResult{Succeeded: true}), &pb.TxnResponse{Header: wireH, Succeeded: true}},
	} {
		if diff := cmp.Diff(c.want, c.got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Inside a txn headers have the revision and nothing else; that of a nested txn is there and empty.
func TestReplyTxnHeaders(t *testing.T) {
	got := replyTxn(header(Status{ClusterID: 1, MemberID: 2, Term: 3}, 9), &state.TxnResult{
		Succeeded: true,
		Responses: []any{
			&state.RangeResult{Count: 1},
			&state.PutResult{},
			&state.TxnResult{Responses: []any{&state.DeleteRangeResult{Deleted: 1}}, Revisions: []int64{9}},
		},
		Revisions: []int64{8, 9, 9},
	})
	only := func(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }
	want := &pb.TxnResponse{
		Header:    &pb.ResponseHeader{ClusterId: 1, MemberId: 2, Revision: 9, RaftTerm: 3},
		Succeeded: true,
		Responses: []*pb.ResponseOp{
			{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Header: only(8), Count: 1}}},
			{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: only(9)}}},
			{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: &pb.TxnResponse{
				Header: &pb.ResponseHeader{},
				Responses: []*pb.ResponseOp{{Response: &pb.ResponseOp_ResponseDeleteRange{
					ResponseDeleteRange: &pb.DeleteRangeResponse{Header: only(9), Deleted: 1}}}},
			}}},
		},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Keys of a response share memory; growing one must not reach into the next.
func TestKeyValuesAreApart(t *testing.T) {
	kvs := keyValues([]state.KeyValue{{Key: "a"}, {Key: "b"}})
	_ = append(kvs[0].Key, 'X')
	if string(kvs[1].Key) != "b" {
		t.Errorf("appending to a key changed the next to %q", kvs[1].Key)
	}
}

func BenchmarkReplyRange(b *testing.B) {
	r := &state.RangeResult{Count: 100}
	for range 100 {
		r.KVs = append(r.KVs, state.KeyValue{Key: "/registry/pods/default/a-name", ModRevision: 5, Value: make([]byte, 100)})
	}
	b.ReportAllocs()
	for b.Loop() {
		replyRange(&pb.ResponseHeader{}, r)
	}
}
