package etcd

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

// The texts as they stand on the wire, written out: a change in the library must show here.
const (
	textEmptyKey  = "etcdserver: key is not provided"
	textEmptyOp   = "etcdserver: key not found"
	textValue     = "etcdserver: value is provided"
	textLease     = "etcdserver: lease is provided"
	textManyOps   = "etcdserver: too many operations in txn request"
	textDuplicate = "etcdserver: duplicate key given in txn request"
	textSort      = "etcdserver: invalid sort option"
)

func put(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func del(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func get(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
		RequestRange: &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func nest(success, failure []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{
		RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func text(err error) string {
	if err == nil {
		return ""
	}
	return status.Convert(err).Message()
}

func TestCheckSingleRequests(t *testing.T) {
	key := []byte("k")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"range", checkRange(&pb.RangeRequest{Key: key}), ""},
		{"range without key", checkRange(&pb.RangeRequest{RangeEnd: key}), textEmptyKey},
		{"range, unknown order", checkRange(&pb.RangeRequest{Key: key, SortOrder: 3}), textSort},
		{"range, negative order", checkRange(&pb.RangeRequest{Key: key, SortOrder: -1}), textSort},
		{"range, unknown target", checkRange(&pb.RangeRequest{Key: key, SortTarget: 5}), textSort},
		{"range, last target", checkRange(&pb.RangeRequest{Key: key, SortTarget: 4, SortOrder: 2}), ""},
		{"range without key and order", checkRange(&pb.RangeRequest{SortOrder: 9}), textEmptyKey},
		{"put", checkPut(&pb.PutRequest{Key: key}), ""},
		{"put without key", checkPut(&pb.PutRequest{Value: key}), textEmptyKey},
		{"put, value and ignore", checkPut(&pb.PutRequest{Key: key, Value: key, IgnoreValue: true}), textValue},
		{"put, empty value and ignore", checkPut(&pb.PutRequest{Key: key, Value: []byte{}, IgnoreValue: true}), ""},
		{"put, lease and ignore", checkPut(&pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true}), textLease},
		{"put, both", checkPut(&pb.PutRequest{Key: key, Value: key, IgnoreValue: true, Lease: 1, IgnoreLease: true}), textValue},
		{"delete", checkDeleteRange(&pb.DeleteRangeRequest{Key: key}), ""},
		{"delete without key", checkDeleteRange(&pb.DeleteRangeRequest{RangeEnd: []byte{0}}), textEmptyKey},
		{"stream", checkRangeStream(&pb.RangeRequest{Key: key}), ""},
		{"stream by key", checkRangeStream(&pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_ASCEND}), ""},
		{"stream, target without order", checkRangeStream(&pb.RangeRequest{Key: key, SortTarget: pb.RangeRequest_MOD}), ""},
		{"stream backwards", checkRangeStream(&pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_DESCEND}),
			"RangeStream does not support custom sort orders"},
		{"stream by version", checkRangeStream(&pb.RangeRequest{
			Key: key, SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_VERSION}),
			"RangeStream does not support custom sort orders"},
		{"stream, filter", checkRangeStream(&pb.RangeRequest{Key: key, MaxCreateRevision: 1}),
			"RangeStream does not support revision filters"},
		{"stream without key", checkRangeStream(&pb.RangeRequest{MinModRevision: 1}), textEmptyKey},
	} {
		if got := text(c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// gets is a list of n ranges.
func gets(n int) []*pb.RequestOp {
	list := make([]*pb.RequestOp, n)
	for i := range list {
		list[i] = get("k", "")
	}
	return list
}

func TestCheckTxnShape(t *testing.T) {
	badPut := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
		Key: []byte("k"), Value: []byte("v"), IgnoreValue: true}}}
	badSort := get("k", "")
	badSort.GetRequestRange().SortTarget = 77
	compares := func(n int) []*pb.Compare {
		list := make([]*pb.Compare, n)
		for i := range list {
			list[i] = &pb.Compare{Key: []byte("k")}
		}
		return list
	}
	for _, c := range []struct {
		name string
		txn  *pb.TxnRequest
		want string
	}{
		{"empty", &pb.TxnRequest{}, ""},
		{"all lists at the limit", &pb.TxnRequest{Compare: compares(4), Success: gets(4), Failure: gets(4)}, ""},
		{"too many compares", &pb.TxnRequest{Compare: compares(5)}, textManyOps},
		{"too many in success", &pb.TxnRequest{Success: gets(5)}, textManyOps},
		{"too many in failure", &pb.TxnRequest{Failure: gets(5)}, textManyOps},
		{"nested has the rest", &pb.TxnRequest{Success: ops(nest(gets(3), nil))}, ""},
		{"nested has more", &pb.TxnRequest{Success: ops(nest(gets(4), nil))}, textManyOps},
		{"the rest is not summed over siblings", &pb.TxnRequest{Success: ops(nest(gets(2), nil), nest(gets(2), gets(2)))}, ""},
		{"the longest list counts, the other branch too", &pb.TxnRequest{Failure: gets(3), Success: ops(nest(nil, gets(2)))}, textManyOps},
		{"nested without ops when nothing is left", &pb.TxnRequest{Success: ops(nest(nil, nil), put("a"), put("b"), put("c"))}, ""},
		{"empty op", &pb.TxnRequest{Success: ops(&pb.RequestOp{})}, textEmptyOp},
		{"nil op", &pb.TxnRequest{Failure: ops(nil)}, textEmptyOp},
		{"nil put", &pb.TxnRequest{Failure: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{}})}, textEmptyKey},
		{"nil nested txn", &pb.TxnRequest{Failure: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestTxn{}})}, ""},
		{"compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}, textEmptyKey},
		{"put without key", &pb.TxnRequest{Success: ops(put(""))}, textEmptyKey},
		{"delete without key", &pb.TxnRequest{Success: ops(del("", "x"))}, textEmptyKey},
		{"range without key", &pb.TxnRequest{Failure: ops(get("", ""))}, textEmptyKey},
		{"put with value and ignore", &pb.TxnRequest{Failure: ops(badPut)}, textValue},
		{"sort option deep down", &pb.TxnRequest{Success: ops(nest(nil, ops(badSort)))}, textSort},
		{"shape before duplicates", &pb.TxnRequest{Success: ops(put("a"), put("a")), Failure: ops(put(""))}, textEmptyKey},
		{"number before keys", &pb.TxnRequest{Compare: []*pb.Compare{{}, {}, {}, {}, {}}}, textManyOps},
	} {
		if got := text(checkTxn(c.txn, 4)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// The golden list of etcd's duplicate rule. Each list is tried as the success and as the failure
// branch.
func TestDuplicateKeysInTxn(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []*pb.RequestOp
		dup  bool
	}{
		{"two keys", ops(put("a"), put("b")), false},
		{"put twice", ops(put("a"), put("a")), true},
		{"put and get", ops(put("a"), get("a", ""), get("a", "z")), false},
		{"put and delete", ops(put("a"), del("a", "")), true},
		{"delete, then put", ops(del("a", ""), put("a")), true},
		{"delete of another", ops(del("a", ""), put("a\x00")), false},
		{"put in a deleted range", ops(put("b"), del("a", "c")), true},
		{"put at the start", ops(put("a"), del("a", "c")), true},
		{"put at the end", ops(put("c"), del("a", "c")), false},
		{"put before", ops(put("Z"), del("a", "c")), false},
		{"between two ranges", ops(del("a", "c"), del("e", "g"), put("d")), false},
		{"in a range that others hide", ops(del("a", "z"), del("b", "c"), put("y")), true},
		{"touching ranges", ops(del("b", "c"), del("a", "b"), put("b")), true},
		{"delete twice", ops(del("a", ""), del("a", "")), false},
		{"overlapping deletes", ops(del("a", "c"), del("b", "d")), false},
		{"empty range", ops(del("c", "a"), put("b")), false},
		{"equal ends", ops(del("b", "b"), put("b")), false},
		{"delete to the end escapes", ops(del("a", "\x00"), put("b")), false},
		{"delete of everything escapes", ops(del("\x00", "\x00"), put("b")), false},
		{"delete to the end, same key", ops(del("a", "\x00"), put("a")), false},

		{"nested put twice", ops(nest(ops(put("a"), put("a")), nil)), true},
		{"nested failure put twice", ops(nest(nil, ops(put("a"), put("a")))), true},
		{"nested put and put here", ops(put("a"), nest(ops(put("a")), nil)), true},
		{"nested failure put and put here", ops(nest(nil, ops(put("a"))), put("a")), true},
		{"both branches of one", ops(nest(ops(put("a")), ops(put("a")))), false},
		{"put in one branch, delete in the other", ops(nest(ops(put("a")), ops(del("a", "")))), false},
		{"both branches of one, and here", ops(nest(ops(put("a")), ops(put("a"))), put("a")), true},
		{"two nested", ops(nest(ops(put("a")), nil), nest(ops(put("a")), nil)), true},
		{"two nested, other branches", ops(nest(ops(put("a")), nil), nest(nil, ops(put("a")))), true},
		{"both branches, then a sibling", ops(nest(ops(put("a")), ops(put("a"))), nest(nil, ops(put("a")))), true},
		{"nested delete and put here", ops(nest(ops(del("a", "c")), nil), put("b")), true},
		{"nested failure delete and put here", ops(put("b"), nest(nil, ops(del("b", "")))), true},
		{"delete here and nested put", ops(nest(nil, ops(put("b"))), del("a", "c")), true},
		{"nested delete, then a sibling's put", ops(nest(ops(del("a", "")), nil), nest(ops(put("a")), nil)), true},
		{"nested put, then a sibling's delete escapes", ops(nest(ops(put("a")), nil), nest(ops(del("a", "")), nil)), false},
		{"escaped, but a put here is not", ops(nest(ops(put("a")), nil), nest(ops(del("a", "b")), nil), put("a\x00")), true},
		{"two levels", ops(put("a"), nest(ops(nest(nil, ops(put("a")))), nil)), true},
		{"two levels, exclusive", ops(nest(ops(nest(ops(put("a")), nil)), ops(nest(nil, ops(put("a")))))), false},
		{"two levels, delete", ops(nest(ops(nest(ops(del("a", "c")), nil)), nil), put("b")), true},
		{"two levels, delete to the end escapes", ops(nest(ops(nest(ops(del("a", "\x00")), nil)), nil), put("b")), false},
	} {
		want := ""
		if c.dup {
			want = textDuplicate
		}
		if got := text(checkTxn(&pb.TxnRequest{Success: c.ops}, 128)); got != want {
			t.Errorf("%s, success: got %q, want %q", c.name, got, want)
		}
		if got := text(checkTxn(&pb.TxnRequest{Failure: c.ops}, 128)); got != want {
			t.Errorf("%s, failure: got %q, want %q", c.name, got, want)
		}
	}
	exclusive := &pb.TxnRequest{Success: ops(put("a")), Failure: ops(put("a"), put("b"))}
	if err := checkTxn(exclusive, 128); err != nil {
		t.Errorf("the two branches of the request: %v", err)
	}
}

// plainWrites is the rule in its plainest form: lists, and every pair looked at.
type plainWrites struct {
	puts    []string
	deletes []span
}

func (w *plainWrites) deleted(key string) bool {
	for _, d := range w.deletes {
		if string(d.begin) <= key && key < string(d.end) {
			return true
		}
	}
	return false
}

// plainDuplicate reports whether ops hold a duplicate, and what they write.
func plainDuplicate(list []*pb.RequestOp) (w plainWrites, dup bool) {
	for _, op := range list {
		if d := op.GetRequestDeleteRange(); d != nil {
			end := string(d.RangeEnd)
			if end == "" {
				end = string(d.Key) + "\x00"
			}
			w.deletes = append(w.deletes, span{d.Key, []byte(end)})
		}
	}
	for _, op := range list {
		n := op.GetRequestTxn()
		if n == nil {
			continue
		}
		success, dup1 := plainDuplicate(n.Success)
		failure, dup2 := plainDuplicate(n.Failure)
		dup = dup || dup1 || dup2
		inner := append(append([]string{}, success.puts...), failure.puts...)
		for _, key := range inner {
			dup = dup || w.deleted(key)
			for _, before := range w.puts {
				dup = dup || before == key
			}
		}
		w.puts = append(w.puts, inner...)
		w.deletes = append(append(w.deletes, success.deletes...), failure.deletes...)
	}
	for _, op := range list {
		if p := op.GetRequestPut(); p != nil {
			dup = dup || w.deleted(string(p.Key))
			for _, before := range w.puts {
				dup = dup || before == string(p.Key)
			}
			w.puts = append(w.puts, string(p.Key))
		}
	}
	return w, dup
}

// randomOps draws a list of operations over few keys.
func randomOps(t *rapid.T, depth int) []*pb.RequestOp {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"})
	end := rapid.SampledFrom([]string{"", "", "a", "b", "c", "d", "\x00", "z"})
	var list []*pb.RequestOp
	for range rapid.IntRange(0, 4).Draw(t, "ops") {
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 4:
			list = append(list, put(key.Draw(t, "key")))
		case kind < 6:
			list = append(list, del(key.Draw(t, "key"), end.Draw(t, "end")))
		case kind < 7 || depth == 0:
			list = append(list, get(key.Draw(t, "key"), ""))
		default:
			list = append(list, nest(randomOps(t, depth-1), randomOps(t, depth-1)))
		}
	}
	return list
}

func TestDuplicatesAgreeWithThePlainRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := randomOps(t, 3)
		_, want := plainDuplicate(list)
		_, err := writesOf(list)
		if got := err != nil; got != want {
			t.Fatalf("duplicate: got %v, want %v for %v", got, want, list)
		}
	})
}

// A request at the size limit must not cost more than a moment, however it is built.
func BenchmarkHostileTxn(b *testing.B) {
	wide := func(depth, width int) []*pb.RequestOp {
		var list []*pb.RequestOp
		for i := range width {
			key := strings.Repeat("x", 1+i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
			list = append(list, put(key), del("a"+key, ""))
		}
		for range depth {
			list = ops(nest(list, nil), del("y", ""))
		}
		return list
	}
	for _, c := range []struct {
		name         string
		depth, width int
	}{{"flat", 0, 80_000}, {"deep", 120, 60_000}} {
		list := wide(c.depth, c.width)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				writesOf(list)
			}
		})
	}
}
