package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func watchScenarios() []Scenario {
	return []Scenario{
		{Name: "watch a key", Run: watchKey},
		{Name: "watch a prefix", Run: watchPrefix},
		{Name: "watch the past", Run: watchPast},
		{Name: "watch the future", Run: watchFuture},
		{Name: "watch with filters", Run: watchFilters},
		{Name: "watch a txn", Run: watchTxn},
		{Name: "watch what is compacted", Run: watchCompacted},
		{Name: "watch progress", Run: watchProgress},
		{Name: "watch in fragments", Run: watchFragments},
		{Name: "many watches", Run: manyWatches},
		{Name: "cancel a watch", Run: cancelWatch},
	}
}

// watch makes a watch and returns once it is made.
func (u *User) watch(name string, options ...clientv3.OpOption) clientv3.WatchChan {
	u.Helper()
	watch := u.Client.Watch(u.Ctx, u.key(name), append(options, clientv3.WithCreatedNotify())...)
	created := receive(u, "the watch", watch)
	u.same("whether the watch is made", created.Created, true)
	return watch
}

// next takes n events from a watch, as text.
func (u *User) next(watch clientv3.WatchChan, n int) string {
	u.Helper()
	var out []string
	for len(out) < n {
		response := receive(u, fmt.Sprintf("event %d of %d", len(out)+1, n), watch)
		u.ok(response.Err())
		for _, e := range response.Events {
			out = append(out, u.event(e))
		}
	}
	return strings.Join(out, " ")
}

// event is an event as text.
func (u *User) event(e *clientv3.Event) string {
	name := strings.TrimPrefix(string(e.Kv.Key), u.prefix)
	text := fmt.Sprintf("put:%s=%s", name, e.Kv.Value)
	if e.Type == mvccpb.DELETE {
		text = "delete:" + name
	}
	if e.PrevKv != nil {
		text += fmt.Sprintf("(%s)", e.PrevKv.Value)
	}
	return text
}

func watchKey(u *User) {
	watch := u.watch("a")
	u.put("a", "1")
	u.put("b", "1")
	u.put("a", "2")
	_, err := u.Delete(u.Ctx, u.key("a"))
	u.ok(err)
	u.same("the events", u.next(watch, 3), "put:a=1 put:a=2 delete:a")
}

func watchPrefix(u *User) {
	watch := u.watch("p/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	u.put("p/a", "1")
	u.put("q", "1")
	u.put("p/a", "2")
	u.put("p/b", "1")
	_, err := u.Delete(u.Ctx, u.key("p/"), clientv3.WithPrefix())
	u.ok(err)
	u.same("the events", u.next(watch, 5), "put:p/a=1 put:p/a=2(1) put:p/b=1 delete:p/a(2) delete:p/b(1)")
}

func watchPast(u *User) {
	first := u.put("a", "1")
	u.put("a", "2")
	u.put("b", "1")
	watch := u.watch("", clientv3.WithPrefix(), clientv3.WithRev(first))
	u.same("the past", u.next(watch, 3), "put:a=1 put:a=2 put:b=1")
	u.put("c", "1")
	u.same("and what comes then", u.next(watch, 1), "put:c=1")
}

func watchFuture(u *User) {
	revision := u.put("a", "1")
	watch := u.watch("", clientv3.WithPrefix(), clientv3.WithRev(revision+3))
	u.put("a", "2")
	u.put("a", "3")
	u.put("a", "4")
	u.put("a", "5")
	u.same("the events from then on", u.next(watch, 2), "put:a=4 put:a=5")
}

func watchFilters(u *User) {
	puts := u.watch("a", clientv3.WithFilterDelete())
	deletes := u.watch("a", clientv3.WithFilterPut(), clientv3.WithPrevKV())
	for i := range 2 {
		u.put("a", fmt.Sprint(i))
		_, err := u.Delete(u.Ctx, u.key("a"))
		u.ok(err)
	}
	u.same("puts alone", u.next(puts, 2), "put:a=0 put:a=1")
	u.same("deletes alone", u.next(deletes, 2), "delete:a(0) delete:a(1)")
}

// watchTxn sees all that a txn does in one response.
func watchTxn(u *User) {
	u.put("b", "1")
	watch := u.watch("", clientv3.WithPrefix())
	response, err := u.Txn(u.Ctx).Then(clientv3.OpPut(u.key("c"), "1"), clientv3.OpDelete(u.key("b")), clientv3.OpPut(u.key("a"), "1")).Commit()
	u.ok(err)
	got := receive(u, "the txn", watch)
	var events []string
	for _, e := range got.Events {
		u.same("the revision of an event", e.Kv.ModRevision, response.Header.Revision)
		events = append(events, u.event(e))
	}
	u.same("the events of a txn", strings.Join(events, " "), "put:c=1 delete:b put:a=1")
}

func watchCompacted(u *User) {
	first := u.put("a", "1")
	u.put("a", "2")
	third := u.put("a", "3")
	_, err := u.Compact(u.Ctx, third)
	u.ok(err)
	watch := u.Client.Watch(u.Ctx, u.key("a"), clientv3.WithRev(first))
	response := receive(u, "the refusal", watch)
	u.same("the compacted revision", response.CompactRevision, third)
	u.refused(response.Err(), rpctypes.ErrCompacted)
	if _, open := <-watch; open {
		u.Error("a watch goes on after it was refused")
	}
	u.same("from the compacted revision", u.next(u.watch("a", clientv3.WithRev(third)), 1), "put:a=3")
}

func watchProgress(u *User) {
	watch := u.watch("a")
	revision := u.put("b", "1")
	u.ok(u.RequestProgress(u.Ctx))
	response := receive(u, "progress", watch)
	u.same("whether it is a notice of progress", response.IsProgressNotify(), true)
	if response.Header.Revision < revision {
		u.Errorf("progress says revision %d after a write at %d", response.Header.Revision, revision)
	}
}

// watchFragments gets more at once than one message may hold.
func watchFragments(u *User) {
	value := strings.Repeat("v", 1<<20)
	for i := range 3 {
		u.put(fmt.Sprint("large", i), value)
	}
	watch := u.watch("large", clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithPrevKV())
	_, err := u.Delete(u.Ctx, u.key("large"), clientv3.WithPrefix())
	u.ok(err)
	response := receive(u, "the delete", watch)
	u.same("how many events come together", len(response.Events), 3)
	for _, e := range response.Events {
		u.same("the size of what was deleted", len(e.PrevKv.Value), len(value))
	}
}

func manyWatches(u *User) {
	var watches []clientv3.WatchChan
	for i := range 100 {
		watches = append(watches, u.watch(fmt.Sprint("k", i)))
	}
	for i := range watches {
		u.put(fmt.Sprint("k", i), fmt.Sprint(i))
	}
	for i, watch := range watches {
		u.same("an event", u.next(watch, 1), fmt.Sprintf("put:k%d=%d", i, i))
	}
}

func cancelWatch(u *User) {
	ctx, cancel := context.WithCancel(u.Ctx)
	watch := u.Client.Watch(ctx, u.key("a"), clientv3.WithCreatedNotify())
	receive(u, "the watch", watch)
	other := u.watch("a")
	cancel()
	for response := range watch {
		if err := response.Err(); err != nil && !errors.Is(err, context.Canceled) {
			u.Errorf("a watch that was cancelled ends with %v", err)
		}
	}
	u.put("a", "1")
	u.same("another watch of the same key", u.next(other, 1), "put:a=1")
}
