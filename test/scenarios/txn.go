package scenarios

import (
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func txnScenarios() []Scenario {
	return []Scenario{
		{Name: "txn branches", Run: txnBranches},
		{Name: "txn compares", Run: txnCompares},
		{Name: "txn over ranges", Run: txnRanges},
		{Name: "nested txn", Run: nestedTxn},
		{Name: "txn is atomic", Run: atomicTxn},
		{Name: "refused txn", Run: refusedTxn},
	}
}

func txnBranches(u *User) {
	txn := func() *clientv3.TxnResponse {
		response, err := u.Txn(u.Ctx).
			If(clientv3.Compare(clientv3.CreateRevision(u.key("a")), "=", 0)).
			Then(clientv3.OpPut(u.key("a"), "1"), clientv3.OpGet(u.key("a"))).
			Else(clientv3.OpGet(u.key("a")), clientv3.OpDelete(u.key("a"), clientv3.WithPrevKV())).
			Commit()
		u.ok(err)
		return response
	}
	first := txn()
	u.same("the first time", first.Succeeded, true)
	u.same("what it read after its write", u.pairs(first.Responses[1].GetResponseRange().Kvs), "a=1")
	u.same("the revision of its parts", first.Responses[0].GetResponsePut().Header.Revision, first.Header.Revision)
	second := txn()
	u.same("the second time", second.Succeeded, false)
	u.same("what it deleted", u.pairs(second.Responses[1].GetResponseDeleteRange().PrevKvs), "a=1")
	u.same("its revision", second.Header.Revision, first.Header.Revision+1)
	empty, err := u.Txn(u.Ctx).Commit()
	u.ok(err)
	u.same("an empty one", fmt.Sprint(empty.Succeeded, empty.Header.Revision), fmt.Sprint(true, second.Header.Revision))
}

func txnCompares(u *User) {
	created := u.put("a", "1")
	changed := u.put("a", "2")
	holds := func(c clientv3.Cmp) bool {
		response, err := u.Txn(u.Ctx).If(c).Commit()
		u.ok(err)
		return response.Succeeded
	}
	for _, c := range []struct {
		what string
		want bool
		cmp  clientv3.Cmp
	}{
		{"version = 2", true, clientv3.Compare(clientv3.Version(u.key("a")), "=", 2)},
		{"version > 2", false, clientv3.Compare(clientv3.Version(u.key("a")), ">", 2)},
		{"version < 3", true, clientv3.Compare(clientv3.Version(u.key("a")), "<", 3)},
		{"version != 2", false, clientv3.Compare(clientv3.Version(u.key("a")), "!=", 2)},
		{"create", true, clientv3.Compare(clientv3.CreateRevision(u.key("a")), "=", created)},
		{"mod", true, clientv3.Compare(clientv3.ModRevision(u.key("a")), "=", changed)},
		{"value", true, clientv3.Compare(clientv3.Value(u.key("a")), "=", "2")},
		{"value >", true, clientv3.Compare(clientv3.Value(u.key("a")), ">", "1")},
		{"lease", true, clientv3.Compare(clientv3.LeaseValue(u.key("a")), "=", 0)},
		{"no key: version = 0", true, clientv3.Compare(clientv3.Version(u.key("none")), "=", 0)},
		{"no key: value != x", false, clientv3.Compare(clientv3.Value(u.key("none")), "!=", "x")},
	} {
		u.same(c.what, holds(c.cmp), c.want)
	}
}

func txnRanges(u *User) {
	u.put("r/a", "1")
	u.put("r/b", "1")
	all := clientv3.Compare(clientv3.Value(u.key("r/")).WithPrefix(), "=", "1")
	for _, want := range []bool{true, false} {
		response, err := u.Txn(u.Ctx).If(all).Then(clientv3.OpPut(u.key("r/b"), "2")).
			Else(clientv3.OpDelete(u.key("r/"), clientv3.WithPrefix())).Commit()
		u.ok(err)
		u.same("whether all values are 1", response.Succeeded, want)
	}
	u.same("what is left", u.get("r/", clientv3.WithPrefix()).Count, 0)
	response, err := u.Txn(u.Ctx).If(clientv3.Compare(clientv3.CreateRevision(u.key("r/")).WithPrefix(), "=", 0)).Commit()
	u.ok(err)
	u.same("whether no key was created", response.Succeeded, true)
}

func nestedTxn(u *User) {
	u.put("a", "1")
	inner := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(u.key("b")), "=", "from outside")},
		[]clientv3.Op{clientv3.OpPut(u.key("c"), "from inside"), clientv3.OpGet(u.key("b"))},
		[]clientv3.Op{clientv3.OpPut(u.key("c"), "no")})
	response, err := u.Txn(u.Ctx).If(clientv3.Compare(clientv3.Value(u.key("a")), "=", "1")).
		Then(clientv3.OpPut(u.key("b"), "from outside"), inner).Commit()
	u.ok(err)
	nested := response.Responses[1].GetResponseTxn()
	// Compares are made before anything is written, those inside too.
	u.same("the nested compare", nested.Succeeded, false)
	u.same("what it wrote", u.pairs(u.get("c").Kvs), "c=no")
	b, c := u.get("b").Kvs[0], u.get("c").Kvs[0]
	u.same("the revision of both", fmt.Sprint(b.ModRevision, c.ModRevision), fmt.Sprint(response.Header.Revision, response.Header.Revision))
}

func atomicTxn(u *User) {
	revision := u.put("a", "1")
	_, err := u.Txn(u.Ctx).Then(clientv3.OpPut(u.key("b"), "x"), clientv3.OpPut(u.key("c"), "x", clientv3.WithLease(987654321))).Commit()
	u.refused(err, rpctypes.ErrLeaseNotFound)
	_, err = u.Txn(u.Ctx).Then(clientv3.OpPut(u.key("b"), "x"), clientv3.OpGet(u.key("a"), clientv3.WithRev(revision+10))).Commit()
	u.refused(err, rpctypes.ErrFutureRev)
	u.same("what refused txns have left", u.names(u.get("", clientv3.WithPrefix()).Kvs), "a")
	u.same("the revision", u.get("a").Header.Revision, revision)
}

func refusedTxn(u *User) {
	var ops []clientv3.Op
	for i := range 129 {
		ops = append(ops, clientv3.OpPut(u.key(fmt.Sprint(i)), "x"))
	}
	_, err := u.Txn(u.Ctx).Then(ops...).Commit()
	u.refused(err, rpctypes.ErrTooManyOps)
	_, err = u.Txn(u.Ctx).Then(ops[:128]...).Commit()
	u.ok(err)
	for _, c := range []struct {
		what string
		ops  []clientv3.Op
	}{
		{"two puts", []clientv3.Op{clientv3.OpPut(u.key("a"), "1"), clientv3.OpPut(u.key("a"), "2")}},
		{"a put and a delete", []clientv3.Op{clientv3.OpPut(u.key("a"), "1"), clientv3.OpDelete(u.key("a"))}},
		{"a delete of a range and a put", []clientv3.Op{clientv3.OpDelete(u.key(""), clientv3.WithPrefix()), clientv3.OpPut(u.key("a"), "1")}},
	} {
		_, err = u.Txn(u.Ctx).Then(c.ops...).Commit()
		if err == nil || !strings.Contains(err.Error(), rpctypes.ErrDuplicateKey.Error()) {
			u.Errorf("%s: the error is %v", c.what, err)
		}
	}
	_, err = u.Txn(u.Ctx).Then(clientv3.OpDelete(u.key("a")), clientv3.OpDelete(u.key("a"))).Commit()
	u.ok(err)
}
