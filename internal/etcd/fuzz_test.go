package etcd

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// sameShape compares a branch with its translation.
func sameShape(t *testing.T, wire []*pb.RequestOp, cmds []command.Command) {
	if len(wire) != len(cmds) {
		t.Fatalf("%d operations became %d", len(wire), len(cmds))
	}
	for i, op := range wire {
		var same bool
		switch c := cmds[i].(type) {
		case *command.Put:
			same = c.Key == string(op.GetRequestPut().GetKey()) && c.Key != ""
		case *command.Range:
			same = c.Key == string(op.GetRequestRange().GetKey()) && c.Key != ""
		case *command.DeleteRange:
			same = c.Key == string(op.GetRequestDeleteRange().GetKey()) && c.Key != ""
		case *command.Txn:
			same = op.GetRequestTxn() != nil
			sameShape(t, op.GetRequestTxn().GetSuccess(), c.Success)
			sameShape(t, op.GetRequestTxn().GetFailure(), c.Failure)
		}
		if !same {
			t.Fatalf("operation %v became %#v", op, cmds[i])
		}
	}
}

// FuzzTxn feeds any bytes as a TxnRequest to the checks and, if it passes, to the translation.
func FuzzTxn(f *testing.F) {
	const maxOps = 8
	for _, seed := range []*pb.TxnRequest{
		{},
		{Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}},
			Success: ops(put("k"), get("a", "\x00")), Failure: ops(del("a", "b"))},
		{Success: ops(nest(ops(put("a"), nest(ops(del("b", "c")), ops(put("d")))), ops(put("a"))))},
		{Success: ops(put("a"), put("a"))},
		{Success: ops(&pb.RequestOp{}), Failure: ops(put(""))},
	} {
		b, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r pb.TxnRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		shape, whole := checkTxnShape(&r, maxOps), checkTxn(&r, maxOps)
		if shape != nil {
			if whole == nil {
				t.Fatal("checkTxn passes what checkTxnShape refuses")
			}
			return
		}
		_, first := plainDuplicate(r.Success)
		_, second := plainDuplicate(r.Failure)
		if refused := whole != nil; refused != (first || second) {
			t.Fatalf("refused: %v, duplicate by the plain rule: %v", refused, first || second)
		}
		cmd := translateTxn(&r)
		sameShape(t, r.Success, cmd.Success)
		sameShape(t, r.Failure, cmd.Failure)
		if len(cmd.Compares) != len(r.Compare) {
			t.Fatalf("%d compares became %d", len(r.Compare), len(cmd.Compares))
		}
	})
}

// FuzzSingleRequests feeds any bytes to the checks and the translation of the other requests.
func FuzzSingleRequests(f *testing.F) {
	f.Add([]byte("\x0a\x01k\x12\x01v"))
	f.Add([]byte("\x0a\x01k\x12\x01\x00\x18\x05\x28\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p pb.PutRequest
		if proto.Unmarshal(b, &p) == nil && checkPut(&p) == nil {
			if c := translatePut(&p); c.Key == "" || c.IgnoreValue && len(c.Value) > 0 || c.IgnoreLease && c.Lease != 0 {
				t.Fatalf("put %v became %#v", &p, c)
			}
		}
		var r pb.RangeRequest
		if proto.Unmarshal(b, &r) == nil && checkRange(&r) == nil {
			c := translateRange(&r)
			if c.Key == "" || c.SortOrder < 0 || c.SortOrder > command.SortDescending || c.SortTarget > command.SortByValue {
				t.Fatalf("range %v became %#v", &r, c)
			}
		}
		var d pb.DeleteRangeRequest
		if proto.Unmarshal(b, &d) == nil && checkDeleteRange(&d) == nil {
			if c := translateDeleteRange(&d); c.Key == "" {
				t.Fatalf("delete %v became %#v", &d, c)
			}
		}
	})
}
