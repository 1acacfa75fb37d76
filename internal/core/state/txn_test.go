package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

type ops = []command.Command

func put(key, value string) *command.Put         { return &command.Put{Key: key, Value: []byte(value)} }
func get(key string) *command.Range              { return &command.Range{Key: key} }
func del(key string) *command.DeleteRange        { return &command.DeleteRange{Key: key} }
func delTo(key, end string) *command.DeleteRange { return &command.DeleteRange{Key: key, End: end} }

func TestCompare(t *testing.T) {
	type C = command.Compare
	const (
		eq, gt, lt, ne = command.CompareEqual, command.CompareGreater, command.CompareLess, command.CompareNotEqual
	)
	// See rangeStore.
	tests := []struct {
		name string
		c    C
		want bool
	}{
		{"version equal", C{Key: "b", Target: command.CompareVersion, Result: eq, Number: 2}, true},
		{"version not equal", C{Key: "b", Target: command.CompareVersion, Result: ne, Number: 2}, false},
		{"version greater", C{Key: "b", Target: command.CompareVersion, Result: gt, Number: 1}, true},
		{"version not greater", C{Key: "b", Target: command.CompareVersion, Result: gt, Number: 2}, false},
		{"version less", C{Key: "b", Target: command.CompareVersion, Result: lt, Number: 3}, true},
		{"create", C{Key: "b", Target: command.CompareCreate, Result: eq, Number: 3}, true},
		{"mod", C{Key: "b", Target: command.CompareMod, Result: eq, Number: 8}, true},
		{"value", C{Key: "b", Target: command.CompareValue, Result: eq, Value: []byte("3")}, true},
		{"value less", C{Key: "b", Target: command.CompareValue, Result: lt, Value: []byte("30")}, true},
		{"value greater", C{Key: "b", Target: command.CompareValue, Result: gt, Value: nil}, true},
		{"lease", C{Key: "c", Target: command.CompareLease, Result: eq, Number: 7}, true},
		{"no lease", C{Key: "b", Target: command.CompareLease, Result: eq}, true},
		{"unknown result", C{Key: "b", Target: command.CompareVersion, Result: 9, Number: 99}, true},
		{"unknown target compares equal", C{Key: "b", Target: 9, Result: eq, Number: 99}, true},
		{"absent version", C{Key: "x", Target: command.CompareVersion, Result: eq}, true},
		{"absent create", C{Key: "x", Target: command.CompareCreate, Result: eq}, true},
		{"absent mod", C{Key: "x", Target: command.CompareMod, Result: lt, Number: 1}, true},
		{"absent lease", C{Key: "x", Target: command.CompareLease, Result: ne}, false},
		{"absent value is not equal", C{Key: "x", Target: command.CompareValue, Result: eq}, false},
		{"absent value is not unequal either", C{Key: "x", Target: command.CompareValue, Result: ne, Value: []byte("v")}, false},
		{"absent value, unknown result", C{Key: "x", Target: command.CompareValue, Result: 9}, false},
		{"all keys of a range", C{Key: "a", End: "e", Target: command.CompareVersion, Result: gt}, true},
		{"not all keys of a range", C{Key: "a", End: "e", Target: command.CompareVersion, Result: gt, Number: 1}, false},
		{"from key", C{Key: "c", End: "\x00", Target: command.CompareCreate, Result: gt, Number: 3}, true},
		{"empty range", C{Key: "x", End: "y", Target: command.CompareVersion, Result: eq}, true},
		{"end before key", C{Key: "c", End: "b", Target: command.CompareVersion, Result: eq}, true},
		{"end before key, value", C{Key: "c", End: "b", Target: command.CompareValue, Result: ne}, false},
	}
	s := rangeStore(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := etcdCaller()
			txn := &command.Txn{Compares: []C{tt.c}, Success: ops{get("a")}}
			read, code := s.m.View().Txn(&c, txn)
			if code != OK || read.Succeeded != tt.want {
				t.Errorf("from a view: %v %+v, want %v", code, read, tt.want)
			}
			written := s.ok(txn).Body.(*TxnResult)
			same(t, "as a command", written, read)
		})
	}
}

func TestTxnAllComparesMustHold(t *testing.T) {
	s := rangeStore(t)
	yes := command.Compare{Key: "a", Target: command.CompareVersion, Number: 1}
	no := command.Compare{Key: "a", Target: command.CompareVersion, Number: 2}
	for _, tt := range []struct {
		compares []command.Compare
		want     bool
	}{{nil, true}, {[]command.Compare{yes, yes}, true}, {[]command.Compare{yes, no}, false}, {[]command.Compare{no, yes}, false}} {
		r := s.ok(&command.Txn{Compares: tt.compares, Success: ops{put("won", "")}, Failure: ops{put("lost", "")}})
		if got := r.Body.(*TxnResult).Succeeded; got != tt.want {
			t.Errorf("%v: %v, want %v", tt.compares, got, tt.want)
		}
	}
	same(t, "written", s.all("l", "z"), []string{"lost", "won"})
}

// Operations run in order at one revision, and each sees those before it.
func TestTxnOrder(t *testing.T) {
	s := rangeStore(t) // at revision 9
	r := s.ok(&command.Txn{Success: ops{
		get("a"),
		del("nothing"),
		put("a", "new"),
		get("a"),
		&command.Range{Key: "a", Revision: 9},
		&command.DeleteRange{Key: "b", End: "d", PrevKV: true},
		&command.Range{Key: "a", End: "z", CountOnly: true},
		&command.Txn{Success: ops{&command.Put{Key: "e", PrevKV: true}}},
		&command.Put{Key: "a", Value: []byte("newer"), PrevKV: true},
		&command.Range{Key: "a", End: "z", Limit: 1},
	}})
	res := r.Body.(*TxnResult)
	kv := KeyValue{Key: "a", CreateRevision: 2, ModRevision: 10, Version: 2, Value: []byte("new")}
	newer := kv
	newer.Version, newer.Value = 3, []byte("newer")
	old := KeyValue{Key: "a", CreateRevision: 2, ModRevision: 2, Version: 1, Value: []byte("5")}
	same(t, "responses", res.Responses, []any{
		&RangeResult{KVs: []KeyValue{old}, Count: 1},
		&DeleteRangeResult{},
		&PutResult{},
		&RangeResult{KVs: []KeyValue{kv}, Count: 1},
		&RangeResult{KVs: []KeyValue{old}, Count: 1},
		&DeleteRangeResult{Deleted: 2, Prev: []KeyValue{
			{Key: "b", CreateRevision: 3, ModRevision: 8, Version: 2, Value: []byte("3")},
			{Key: "c", CreateRevision: 4, ModRevision: 6, Version: 2, Value: []byte("4"), Lease: 7},
		}},
		&RangeResult{Count: 2},
		&TxnResult{Succeeded: true, Responses: []any{&PutResult{}}, Revisions: []int64{10}},
		&PutResult{Prev: &kv},
		&RangeResult{KVs: []KeyValue{newer}, Count: 3, More: true},
	})
	same(t, "revisions", res.Revisions, []int64{9, 9, 10, 10, 10, 10, 10, 10, 10, 10})
	if r.Revision != 10 {
		t.Errorf("revision %d, want 10", r.Revision)
	}
	s.audit()
}

// What is checked before a txn is checked on the branch taken, against the state before it, and a refusal
// leaves nothing behind.
func TestTxnChecks(t *testing.T) {
	no := []command.Compare{{Key: "a", Target: command.CompareVersion, Number: 99}}
	tests := []struct {
		name string
		code Code
		txn  command.Txn
	}{
		{"unknown lease", LeaseNotFound, command.Txn{Success: ops{put("n", ""), &command.Put{Key: "m", Lease: 99}}}},
		{"session as lease", LeaseNotFound, command.Txn{Success: ops{&command.Put{Key: "m", Lease: 1}}}},
		{"unknown lease in the other branch", OK, command.Txn{Failure: ops{&command.Put{Key: "m", Lease: 99}}}},
		{"unknown lease in failure", LeaseNotFound, command.Txn{Compares: no, Failure: ops{&command.Put{Key: "m", Lease: 99}}}},
		{"unknown lease in a nested txn", LeaseNotFound, command.Txn{Success: ops{put("n", ""), &command.Txn{Success: ops{&command.Put{Key: "m", Lease: 99}}}}}},
		{"unknown lease in a nested branch not taken", OK, command.Txn{Success: ops{&command.Txn{Compares: no, Success: ops{&command.Put{Key: "m", Lease: 99}}}}}},
		{"ignore value of a key made before", KeyNotFound, command.Txn{Success: ops{put("n", ""), &command.Put{Key: "n", IgnoreValue: true}}}},
		{"ignore lease of nothing", KeyNotFound, command.Txn{Success: ops{&command.Put{Key: "n", IgnoreLease: true}}}},
		{"ignore value of a key deleted before", KeyNotFound, command.Txn{Success: ops{delTo("a", "\x00"), &command.Put{Key: "b", IgnoreValue: true}}}},
		{"future revision", FutureRevision, command.Txn{Success: ops{put("n", ""), &command.Range{Key: "a", Revision: 10}}}},
		{"present revision", OK, command.Txn{Success: ops{put("n", ""), &command.Range{Key: "a", Revision: 9}}}},
		{"compacted revision", Compacted, command.Txn{Success: ops{put("n", ""), &command.Range{Key: "a", Revision: 3}}}},
		{"floor", OK, command.Txn{Success: ops{&command.Range{Key: "a", Revision: 4}}}},
		{"negative revision", Compacted, command.Txn{Success: ops{&command.Range{Key: "a", Revision: -1}}}},
		{"negative revision, counting", Compacted, command.Txn{Success: ops{&command.Range{Key: "a", Revision: -1, CountOnly: true}}}},
		{"an operation that is none", BadArguments, command.Txn{Success: ops{put("n", ""), &command.Compact{}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := rangeStore(t)
			s.ok(&command.Compact{Revision: 4})
			if tt.code == OK {
				s.ok(&tt.txn)
			} else {
				s.refused(tt.code, &tt.txn)
			}
			s.audit()
		})
	}
}

// A negative revision in a txn is compared with the floor, which is -1 in a store never compacted.
func TestTxnNegativeRevisionInFreshStore(t *testing.T) {
	s := rangeStore(t)
	s.ok(&command.Txn{Success: ops{&command.Range{Key: "a", Revision: -1}}})
	s.refused(Compacted, &command.Txn{Success: ops{&command.Range{Key: "a", Revision: -2}}})
}

// Compares of nested txns are decided on the state before the outermost one.
func TestNestedComparesSeeTheStateBefore(t *testing.T) {
	s := rangeStore(t)
	absent := []command.Compare{{Key: "n", Target: command.CompareVersion, Result: command.CompareEqual}}
	r := s.ok(&command.Txn{Success: ops{
		put("n", "1"),
		&command.Txn{Compares: absent, Success: ops{put("yes", "")}, Failure: ops{put("no", "")}},
		&command.Txn{Success: ops{
			&command.Txn{Compares: []command.Compare{{Key: "a", Target: command.CompareMod, Number: 99}}, Failure: ops{get("n")}},
		}},
	}})
	res := r.Body.(*TxnResult)
	if !res.Responses[1].(*TxnResult).Succeeded {
		t.Error("a nested compare saw a put of the same txn")
	}
	inner := res.Responses[2].(*TxnResult).Responses[0].(*TxnResult)
	if inner.Succeeded || inner.Responses[0].(*RangeResult).Count != 1 {
		t.Errorf("innermost: %+v", inner)
	}
	same(t, "written", s.all("n", "z"), []string{"n", "yes"})
}

// A txn that only reads is answered from a view; one that would write is not.
func TestViewTxn(t *testing.T) {
	s := rangeStore(t)
	c := etcdCaller()
	v := s.m.View()
	s.put("a=later")
	res, code := v.Txn(&c, &command.Txn{Success: ops{get("a"), &command.Txn{Success: ops{get("b")}}}})
	if code != OK || string(res.Responses[0].(*RangeResult).KVs[0].Value) != "5" {
		t.Errorf("%v %+v", code, res)
	}
	same(t, "revisions", res.Revisions, []int64{9, 9})
	for _, op := range (ops{put("a", ""), del("a"), &command.Compact{}}) {
		if _, code := v.Txn(&c, &command.Txn{Success: ops{op}}); code != BadArguments {
			t.Errorf("%T in a read: %v, want bad arguments", op, code)
		}
	}
	if _, code := v.Txn(&c, &command.Txn{Success: ops{&command.Range{Key: "a", Revision: 10}}}); code != FutureRevision {
		t.Errorf("revision after the view: %v", code)
	}
}
