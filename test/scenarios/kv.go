package scenarios

import (
	"bytes"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

func kvScenarios() []Scenario {
	return []Scenario{
		{Name: "put and get", Run: putAndGet},
		{Name: "put options", Run: putOptions},
		{Name: "ranges", Run: ranges},
		{Name: "sorted ranges", Run: sortedRanges},
		{Name: "filtered ranges", Run: filteredRanges},
		{Name: "old revisions", Run: oldRevisions},
		{Name: "delete", Run: deletes},
		{Name: "compact", Run: compacts},
		{Name: "sizes", Run: sizes},
		{Name: "refused requests", Run: refusedRequests},
		{Name: "ops", Run: opsOfEveryKind},
		{Name: "namespace", Run: namespaces},
		{Name: "ordering", Run: orderedReads},
	}
}

func putAndGet(u *User) {
	first := u.put("a", "1")
	second := u.put("a", "2")
	u.same("the second revision", second, first+1)
	response := u.get("a")
	u.same("count", response.Count, 1)
	u.same("the revision of the store", response.Header.Revision, second)
	kv := response.Kvs[0]
	u.same("the key-value", fmt.Sprintf("%s=%s create %d mod %d version %d lease %d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease),
		fmt.Sprintf("%s=2 create %d mod %d version 2 lease 0", u.key("a"), first, second))
	u.same("no key", len(u.get("none").Kvs), 0)
	u.put("empty", "")
	u.same("an empty value", u.pairs(u.get("empty").Kvs), "empty=")
	u.put("binary", "\x00\xff\n")
	u.same("a binary value", fmt.Sprintf("%q", u.get("binary").Kvs[0].Value), `"\x00\xff\n"`)
	if response.Header.ClusterId == 0 || response.Header.MemberId == 0 || response.Header.RaftTerm == 0 {
		u.Errorf("the header is %v", response.Header)
	}
	u.same("a serializable read", u.pairs(u.get("a", clientv3.WithSerializable()).Kvs), "a=2")
}

func putOptions(u *User) {
	response, err := u.Put(u.Ctx, u.key("a"), "1", clientv3.WithPrevKV())
	u.ok(err)
	if response.PrevKv != nil {
		u.Errorf("before the first put there was %v", response.PrevKv)
	}
	response, err = u.Put(u.Ctx, u.key("a"), "2", clientv3.WithPrevKV())
	u.ok(err)
	u.same("the value before", string(response.PrevKv.Value), "1")
	u.put("a", "", clientv3.WithIgnoreValue())
	kv := u.get("a").Kvs[0]
	u.same("after a put that ignores the value", fmt.Sprintf("%s version %d", kv.Value, kv.Version), "2 version 3")
	u.put("a", "3", clientv3.WithIgnoreLease())
	_, err = u.Put(u.Ctx, u.key("none"), "", clientv3.WithIgnoreValue())
	u.refused(err, rpctypes.ErrKeyNotFound)
	_, err = u.Put(u.Ctx, u.key("none"), "x", clientv3.WithIgnoreLease())
	u.refused(err, rpctypes.ErrKeyNotFound)
	_, err = u.Put(u.Ctx, u.key("a"), "x", clientv3.WithIgnoreValue())
	u.refused(err, rpctypes.ErrValueProvided)
	_, err = u.Put(u.Ctx, u.key("a"), "x", clientv3.WithLease(12345))
	u.refused(err, rpctypes.ErrLeaseNotFound)
}

func ranges(u *User) {
	for _, name := range strings.Fields("a a/1 a/2 a/3 b c") {
		u.put(name, "v"+name)
	}
	for _, c := range []struct {
		what string
		want string
		got  *clientv3.GetResponse
	}{
		{"a prefix", "a/1 a/2 a/3", u.get("a/", clientv3.WithPrefix())},
		{"a range", "a/2 a/3 b", u.get("a/2", clientv3.WithRange(u.key("c")))},
		{"an empty range", "", u.get("b", clientv3.WithRange(u.key("a")))},
		{"a limit", "a a/1", u.get("", clientv3.WithPrefix(), clientv3.WithLimit(2))},
		{"a limit and descending", "c b", u.get("", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))},
		{"the first key", "a", u.get("", clientv3.WithFirstKey()...)},
		{"the last key", "c", u.get("", clientv3.WithLastKey()...)},
	} {
		u.same(c.what, u.names(c.got.Kvs), c.want)
	}
	limited := u.get("", clientv3.WithPrefix(), clientv3.WithLimit(4))
	u.same("more and count of a limited range", fmt.Sprint(limited.More, limited.Count), "true 6")
	whole := u.get("", clientv3.WithPrefix(), clientv3.WithLimit(6))
	u.same("more and count of a whole range", fmt.Sprint(whole.More, whole.Count), "false 6")
	counted := u.get("", clientv3.WithPrefix(), clientv3.WithCountOnly())
	u.same("a count", fmt.Sprint(counted.Count, len(counted.Kvs)), "6 0")
	keys := u.get("", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	u.same("keys only", u.pairs(keys.Kvs), "a= a/1= a/2= a/3= b= c=")
	from := u.get("c", clientv3.WithFromKey(), clientv3.WithLimit(1))
	u.same("from a key on", u.names(from.Kvs), "c")
}

func sortedRanges(u *User) {
	u.put("x", "3") // create 1st, mod 4th, version 1
	u.put("y", "9") // create 2nd, mod 5th, version 2
	u.put("z", "2") // create 3rd, mod 3rd, version 3
	u.put("z", "2")
	u.put("z", "1")
	u.put("y", "2")
	for _, c := range []struct {
		target clientv3.SortTarget
		want   string
	}{
		{clientv3.SortByKey, "x y z"},
		{clientv3.SortByVersion, "x y z"},
		{clientv3.SortByCreateRevision, "x y z"},
		{clientv3.SortByModRevision, "x z y"},
		{clientv3.SortByValue, "z y x"},
	} {
		up := u.get("", clientv3.WithPrefix(), clientv3.WithSort(c.target, clientv3.SortAscend))
		u.same(fmt.Sprint("ascending by ", c.target), u.names(up.Kvs), c.want)
		down := u.get("", clientv3.WithPrefix(), clientv3.WithSort(c.target, clientv3.SortDescend))
		names := strings.Fields(c.want)
		u.same(fmt.Sprint("descending by ", c.target), u.names(down.Kvs), strings.Join([]string{names[2], names[1], names[0]}, " "))
	}
	for _, c := range []struct {
		what, want string
		options    []clientv3.OpOption
	}{
		{"the first created", "x", clientv3.WithFirstCreate()},
		{"the last created", "z", clientv3.WithLastCreate()},
		{"the first changed", "x", clientv3.WithFirstRev()},
		{"the last changed", "y", clientv3.WithLastRev()},
	} {
		u.same(c.what, u.names(u.get("", c.options...).Kvs), c.want)
	}
}

func filteredRanges(u *User) {
	var at []int64
	for _, name := range strings.Fields("a b c d") {
		at = append(at, u.put(name, name))
	}
	changed := u.put("a", "again")
	for _, c := range []struct {
		what, want string
		option     clientv3.OpOption
	}{
		{"changed since c", "a c d", clientv3.WithMinModRev(at[2])},
		{"changed until c", "b c", clientv3.WithMaxModRev(at[2])},
		{"changed last", "a", clientv3.WithMinModRev(changed)},
		{"created since c", "c d", clientv3.WithMinCreateRev(at[2])},
		{"created until b", "a b", clientv3.WithMaxCreateRev(at[1])},
	} {
		response := u.get("", clientv3.WithPrefix(), c.option)
		u.same(c.what, u.names(response.Kvs), c.want)
		u.same(c.what+": count", response.Count, 4)
	}
}

func oldRevisions(u *User) {
	first := u.put("a", "1")
	second := u.put("a", "2")
	u.put("b", "1")
	_, err := u.Delete(u.Ctx, u.key("a"))
	u.ok(err)
	u.same("at the first revision", u.pairs(u.get("", clientv3.WithPrefix(), clientv3.WithRev(first)).Kvs), "a=1")
	old := u.get("", clientv3.WithPrefix(), clientv3.WithRev(second))
	u.same("at the second revision", u.pairs(old.Kvs), "a=2")
	u.same("the header of an old read", old.Header.Revision, second+2)
	u.same("now", u.pairs(u.get("", clientv3.WithPrefix()).Kvs), "b=1")
	_, err = u.Get(u.Ctx, u.key("a"), clientv3.WithRev(second+3))
	u.refused(err, rpctypes.ErrFutureRev)
}

func deletes(u *User) {
	for _, name := range strings.Fields("a a/1 a/2 b c d") {
		u.put(name, "v"+name)
	}
	response, err := u.Delete(u.Ctx, u.key("a"), clientv3.WithPrevKV())
	u.ok(err)
	u.same("one key", fmt.Sprint(response.Deleted, u.pairs(response.PrevKvs)), "1a=va")
	revision := response.Header.Revision
	response, err = u.Delete(u.Ctx, u.key("a"))
	u.ok(err)
	u.same("no key", fmt.Sprint(response.Deleted, response.Header.Revision), fmt.Sprint(0, revision))
	response, err = u.Delete(u.Ctx, u.key("a/"), clientv3.WithPrefix(), clientv3.WithPrevKV())
	u.ok(err)
	u.same("a prefix", fmt.Sprint(response.Deleted, " ", u.pairs(response.PrevKvs)), "2 a/1=va/1 a/2=va/2")
	response, err = u.Delete(u.Ctx, u.key("b"), clientv3.WithRange(u.key("d")))
	u.ok(err)
	u.same("a range", response.Deleted, 2)
	u.same("what is left", u.names(u.get("", clientv3.WithPrefix()).Kvs), "d")
	u.put("a", "back")
	u.same("a key that came back", u.get("a").Kvs[0].Version, 1)
}

func compacts(u *User) {
	first := u.put("a", "1")
	second := u.put("a", "2")
	third := u.put("a", "3")
	_, err := u.Compact(u.Ctx, second)
	u.ok(err)
	_, err = u.Get(u.Ctx, u.key("a"), clientv3.WithRev(first))
	u.refused(err, rpctypes.ErrCompacted)
	u.same("at the compacted revision", u.pairs(u.get("a", clientv3.WithRev(second)).Kvs), "a=2")
	_, err = u.Compact(u.Ctx, second)
	u.refused(err, rpctypes.ErrCompacted)
	_, err = u.Compact(u.Ctx, third+1)
	u.refused(err, rpctypes.ErrFutureRev)
	_, err = u.Compact(u.Ctx, third, clientv3.WithCompactPhysical())
	u.ok(err)
	u.same("after all", u.pairs(u.get("a").Kvs), "a=3")
}

// maxRequestBytes is the limit that servers have by default.
const maxRequestBytes = 1536 << 10

func sizes(u *User) {
	value := strings.Repeat("v", maxRequestBytes-1000)
	u.put("large", value)
	if !bytes.Equal(u.get("large").Kvs[0].Value, []byte(value)) {
		u.Errorf("a large value came back changed")
	}
	_, err := u.Put(u.Ctx, u.key("larger"), value+strings.Repeat("v", 1000))
	u.refused(err, rpctypes.ErrRequestTooLarge)
	for i := range 4 {
		u.put(fmt.Sprint("large", i), value)
	}
	u.same("a response of more than the default of gRPC", u.get("large", clientv3.WithPrefix()).Count, 5)
	_, err = u.Delete(u.Ctx, u.key("large"), clientv3.WithPrefix())
	u.ok(err)
}

func refusedRequests(u *User) {
	_, err := u.Put(u.Ctx, "", "x")
	u.refused(err, rpctypes.ErrEmptyKey)
	_, err = u.Get(u.Ctx, "")
	u.refused(err, rpctypes.ErrEmptyKey)
	_, err = u.Delete(u.Ctx, "")
	u.refused(err, rpctypes.ErrEmptyKey)
	_, err = u.Get(u.Ctx, u.key("a"), clientv3.WithSort(clientv3.SortTarget(9), clientv3.SortAscend))
	if err == nil {
		u.Error("a range with an unknown way of sorting was answered")
	}
	_, err = u.Txn(u.Ctx).Then(clientv3.OpPut("", "x")).Commit()
	u.refused(err, rpctypes.ErrEmptyKey)
}

func opsOfEveryKind(u *User) {
	put, err := u.Do(u.Ctx, clientv3.OpPut(u.key("a"), "1"))
	u.ok(err)
	get, err := u.Do(u.Ctx, clientv3.OpGet(u.key("a")))
	u.ok(err)
	u.same("what an op reads", u.pairs(get.Get().Kvs), "a=1")
	u.same("at which revision", get.Get().Header.Revision, put.Put().Header.Revision)
	txn, err := u.Do(u.Ctx, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(u.key("a"))}, nil))
	u.ok(err)
	u.same("what a txn as an op deletes", txn.Txn().Responses[0].GetResponseDeleteRange().Deleted, 1)
	deleted, err := u.Do(u.Ctx, clientv3.OpDelete(u.key("a")))
	u.ok(err)
	u.same("what is left to delete", deleted.Del().Deleted, 0)
}

func namespaces(u *User) {
	kv := namespace.NewKV(u.KV, u.key("inner/"))
	_, err := kv.Put(u.Ctx, "a", "1")
	u.ok(err)
	response, err := kv.Get(u.Ctx, "", clientv3.WithFromKey())
	u.ok(err)
	u.same("all keys of a namespace", fmt.Sprintf("%s %d", response.Kvs[0].Key, response.Count), "a 1")
	u.same("the key behind it", u.names(u.get("", clientv3.WithPrefix()).Kvs), "inner/a")
	txn, err := kv.Txn(u.Ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpGet("a")).Commit()
	u.ok(err)
	u.same("a txn in a namespace", fmt.Sprintf("%v %s", txn.Succeeded, txn.Responses[0].GetResponseRange().Kvs[0].Key), "true a")
}

func orderedReads(u *User) {
	kv := ordering.NewKV(u.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return fmt.Errorf("a read went back in time") })
	for i := range 5 {
		u.put("a", fmt.Sprint(i))
		response, err := kv.Get(u.Ctx, u.key("a"), clientv3.WithSerializable())
		u.ok(err)
		u.same("what is read after a write", u.pairs(response.Kvs), fmt.Sprint("a=", i))
	}
}
