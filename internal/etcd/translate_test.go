package etcd

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/okapi-kv/okapi/internal/core/command"
)

func TestTranslateSingleRequests(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want command.Command
	}{
		{"put", translatePut(&pb.PutRequest{
			Key: []byte("k"), Value: []byte("v"), Lease: 9, PrevKv: true}),
			&command.Put{Key: "k", Value: []byte("v"), Lease: 9, PrevKV: true}},
		{"put, ignore", translatePut(&pb.PutRequest{Key: []byte("k"), IgnoreValue: true, IgnoreLease: true}),
			&command.Put{Key: "k", IgnoreValue: true, IgnoreLease: true}},
		{"range", translateRange(&pb.RangeRequest{
			Key: []byte("k"), RangeEnd: []byte{0}, Limit: 3, Revision: -4, SortOrder: pb.RangeRequest_DESCEND,
			SortTarget: pb.RangeRequest_VALUE, Serializable: true, KeysOnly: true, CountOnly: true,
			MinModRevision: 5, MaxModRevision: 6, MinCreateRevision: 7, MaxCreateRevision: 8}),
			&command.Range{
				Key: "k", End: "\x00", Limit: 3, Revision: -4, SortOrder: command.SortDescending,
				SortTarget: command.SortByValue, KeysOnly: true, CountOnly: true,
				MinModRevision: 5, MaxModRevision: 6, MinCreateRevision: 7, MaxCreateRevision: 8}},
		{"delete", translateDeleteRange(&pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true}),
			&command.DeleteRange{Key: "k", End: "l", PrevKV: true}},
		{"compact", translateCompact(&pb.CompactionRequest{Revision: 12, Physical: true}),
			&command.Compact{Revision: 12}},
		{"grant", translateLeaseGrant(&pb.LeaseGrantRequest{ID: -7, TTL: 10}, 2), &command.LeaseGrant{ID: -7, TTL: 10}},
		{"grant, short", translateLeaseGrant(&pb.LeaseGrantRequest{TTL: 1}, 2), &command.LeaseGrant{TTL: 2}},
		{"grant, negative", translateLeaseGrant(&pb.LeaseGrantRequest{TTL: -1 << 63}, 15), &command.LeaseGrant{TTL: 15}},
		{"revoke", translateLeaseRevoke(&pb.LeaseRevokeRequest{ID: 7}), &command.LeaseRevoke{ID: 7}},
		{"empty txn", translateTxn(&pb.TxnRequest{}), &command.Txn{}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Every field of a request must reach its command; a field that a later etcd adds shows here.
func TestTranslateKnowsEveryField(t *testing.T) {
	for _, c := range []struct {
		message proto.Message
		fields  int
	}{
		{&pb.PutRequest{}, 6}, {&pb.RangeRequest{}, 13}, {&pb.DeleteRangeRequest{}, 3},
		{&pb.TxnRequest{}, 3}, {&pb.Compare{}, 9}, {&pb.RequestOp{}, 4}, {&pb.CompactionRequest{}, 2},
		{&pb.LeaseGrantRequest{}, 2}, {&pb.LeaseRevokeRequest{}, 1}, {&pb.LeaseKeepAliveRequest{}, 1},
		{&pb.LeaseTimeToLiveRequest{}, 2}, {&pb.LeaseLeasesRequest{}, 0},
	} {
		var d protoreflect.MessageDescriptor = c.message.ProtoReflect().Descriptor()
		if got := d.Fields().Len(); got != c.fields {
			t.Errorf("%s has %d fields, translate.go was written for %d", d.FullName(), got, c.fields)
		}
	}
}

func TestTranslateTxn(t *testing.T) {
	got := translateTxn(&pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("k"), Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_LEASE,
			TargetUnion: &pb.Compare_Lease{Lease: 4}}},
		Success: ops(put("a"), nest(ops(get("b", "c")), ops(del("d", "")))),
		Failure: ops(del("e", "\x00")),
	})
	want := &command.Txn{
		Compares: []command.Compare{{Key: "k", Result: command.CompareNotEqual, Target: command.CompareLease, Number: 4}},
		Success: []command.Command{&command.Put{Key: "a"}, &command.Txn{
			Success: []command.Command{&command.Range{Key: "b", End: "c"}},
			Failure: []command.Command{&command.DeleteRange{Key: "d"}},
		}},
		Failure: []command.Command{&command.DeleteRange{Key: "e", End: "\x00"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTranslateCompare(t *testing.T) {
	key := []byte("k")
	for _, c := range []struct {
		name string
		in   *pb.Compare
		want command.Compare
	}{
		{"version", &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}},
			command.Compare{Key: "k", Target: command.CompareVersion, Number: 1}},
		{"create", &pb.Compare{Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_LESS,
			TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 2}},
			command.Compare{Key: "k", Target: command.CompareCreate, Result: command.CompareLess, Number: 2}},
		{"mod over a range", &pb.Compare{Key: key, RangeEnd: []byte{0}, Target: pb.Compare_MOD, Result: pb.Compare_GREATER,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 3}},
			command.Compare{Key: "k", End: "\x00", Target: command.CompareMod, Result: command.CompareGreater, Number: 3}},
		{"value", &pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}},
			command.Compare{Key: "k", Target: command.CompareValue, Value: []byte("v")}},
		{"operand missing", &pb.Compare{Key: key, Target: pb.Compare_MOD},
			command.Compare{Key: "k", Target: command.CompareMod}},
		{"operand of another target", &pb.Compare{Key: key, Target: pb.Compare_VALUE,
			TargetUnion: &pb.Compare_Version{Version: 1}},
			command.Compare{Key: "k", Target: command.CompareValue}},
		{"number of another target", &pb.Compare{Key: key, Target: pb.Compare_CREATE,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}},
			command.Compare{Key: "k", Target: command.CompareCreate}},
		{"unknown numbers", &pb.Compare{Key: key, Target: 99, Result: 98, TargetUnion: &pb.Compare_Version{Version: 1}},
			command.Compare{Key: "k", Target: 99, Result: 98}},
	} {
		if diff := cmp.Diff(c.want, translateCompare(c.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// The size that is compared with the limit is that of the message etcd puts into its log.
func TestProposalBytesAreEtcds(t *testing.T) {
	header := &pb.RequestHeader{ID: 1 << 63}
	for _, size := range []int{0, 1, 100, 127, 128, 16_000, 1 << 20} {
		put := &pb.PutRequest{Key: []byte("key"), Value: make([]byte, size)}
		want := proto.Size(&pb.InternalRaftRequest{Header: header, Put: put})
		if got := proposalBytes(put); got != want {
			t.Errorf("put of %d bytes: got %d, want %d", size, got, want)
		}
		txn := &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})}
		want = proto.Size(&pb.InternalRaftRequest{Header: header, Txn: txn})
		if got := proposalBytes(txn); got != want {
			t.Errorf("txn of %d bytes: got %d, want %d", size, got, want)
		}
	}
	del := &pb.DeleteRangeRequest{Key: []byte("key")}
	if got, want := proposalBytes(del), proto.Size(&pb.InternalRaftRequest{Header: header, DeleteRange: del}); got != want {
		t.Errorf("delete: got %d, want %d", got, want)
	}
	compact := &pb.CompactionRequest{Revision: 77}
	if got, want := proposalBytes(compact), proto.Size(&pb.InternalRaftRequest{Header: header, Compaction: compact}); got != want {
		t.Errorf("compact: got %d, want %d", got, want)
	}
}
