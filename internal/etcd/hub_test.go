package etcd

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// hooked is a fake replica with something that happens right after a read.
type hooked struct {
	*fakeReplica
	after func()
}

func (h *hooked) Read(fn func(state.View)) {
	h.fakeReplica.Read(fn)
	if after := h.after; after != nil {
		h.after = nil
		after()
	}
}

// hubFixture is a hub that the test steps itself, with one stream.
type hubFixture struct {
	t       *testing.T
	replica *hooked
	hub     *hub
	stream  *watchStream
}

func newHubFixture(t *testing.T) *hubFixture {
	f := &hubFixture{t: t, replica: &hooked{fakeReplica: newFakeReplica()}}
	f.hub = newHub(f.replica)
	f.stream = &watchStream{work: make(chan struct{}, 1), watches: map[int64]*watcher{}}
	return f
}

func (f *hubFixture) apply(commands ...command.Command) {
	f.t.Helper()
	f.replica.set(func() {
		for _, c := range commands {
			if r := f.replica.apply(c); r.Code != state.OK {
				f.t.Fatalf("%T: %v", c, r.Code)
			}
		}
	})
}

// join adds a watch of keys from key on that begins with revision start.
func (f *hubFixture) join(key string, tree bool, start int64) *watcher {
	w := &watcher{stream: f.stream, id: int64(len(f.stream.watches)), tree: tree, start: start}
	w.cursor = watch.NewCursor(watch.Span{Key: key}, start, 0)
	f.hub.join(w, func(reached int64) {
		f.stream.watches[w.id] = w
		if start <= reached {
			f.stream.markLocked(w, start, reached)
		}
	})
	return w
}

// steps steps the hub to the end and checks the pin.
func (f *hubFixture) steps() (n int) {
	for more := true; more; n++ {
		more = f.hub.step()
		if kept := f.hub.kept.Load(); kept != nil && f.replica.feeds[0].kept > kept.seq {
			f.t.Errorf("what is after %d is said to be kept, but the pin is at %d", kept.seq, f.replica.feeds[0].kept)
		}
	}
	return n
}

// want takes the marks of a watch and compares them, as "2-4", "" for none.
func (f *hubFixture) want(name string, w *watcher, want string) {
	f.t.Helper()
	got := ""
	if w.to > 0 {
		got = fmt.Sprintf("%d-%d", w.from, w.to)
	}
	w.from, w.to = 0, 0
	if got != want {
		f.t.Errorf("%s: marked %q, want %q", name, got, want)
	}
}

func TestHubMarks(t *testing.T) {
	f := newHubFixture(t)
	f.apply(put1("a", "1"), put1("b", "1")) // 2, 3
	a, future, past := f.join("a", false, 4), f.join("a", false, 6), f.join("b", false, 2)
	znode := f.join("/zk/n", true, 4)
	f.want("who begins in the past", past, "2-3")
	f.apply(put1("a", ""), put1("/zk/n", "1"), put1("a", ""), put1("c", "")) // 4 to 7
	if n := f.steps(); n != 1 {
		t.Errorf("%d steps", n)
	}
	f.want("two changes", a, "4-6")
	f.want("from its start on", future, "6-6")
	f.want("of other keys", past, "")
	f.want("in the tree", znode, "5-5")
	if done := f.hub.done.Load(); done != 7 {
		t.Errorf("done is %d, want 7", done)
	}
	f.hub.leave(a)
	f.hub.leave(a)
	f.apply(put1("a", "")) // 8
	f.steps()
	f.want("gone", a, "")
	f.want("still there", future, "8-8")
	for _, w := range []*watcher{future, past, znode} {
		f.hub.leave(w)
	}
	if f.hub.feed != nil || len(f.replica.feeds) != 0 || f.hub.kept.Load() != nil {
		t.Error("the hub follows although nobody watches")
	}
	f.apply(put1("a", "")) // 9
	f.steps()
	again := f.join("a", false, 10)
	f.apply(put1("a", "")) // 10
	f.steps()
	f.want("who comes later", again, "10-10")
}

// A watch that joins while the hub looks or marks misses nothing.
func TestHubJoinInBetween(t *testing.T) {
	f := newHubFixture(t)
	f.join("/zk/other", true, 2)
	f.apply(put1("a", "1")) // 2
	var first *watcher
	f.replica.after = func() { first = f.join("a", false, 2) } // nobody has looked at plain keys
	f.steps()
	f.want("the first of its log", first, "2-2")
	f.apply(put1("a", "2"), put1("a", "3")) // 3, 4
	var second *watcher
	f.replica.after = func() { second = f.join("a", false, 3) }
	f.steps()
	f.want("another", second, "3-4")
	f.want("the first", first, "3-4")

	// Who joins between two marks may have missed the first.
	f.apply(put1("b", "1")) // 5
	f.hub.mark(&touch{"b", 5, logPlain})
	between := f.join("b", false, 5)
	f.want("between two marks", between, "5-5")
	f.steps()

	// In the midst of a large revision, who joins reads it by itself.
	var large []command.Command
	for i := range 2*stepEntries + 10 {
		large = append(large, put1(fmt.Sprintf("large%04d", i), ""))
	}
	f.apply(&command.Txn{Success: large}) // 6
	if !f.hub.step() {
		t.Fatal("all was looked at in one step")
	}
	third, future := f.join("large0000", false, 6), f.join("large0000", false, 7)
	f.steps()
	f.want("midway", third, "6-6")
	f.want("of the future", future, "")
	if done := f.hub.done.Load(); done != 6 {
		t.Errorf("done is %d, want 6", done)
	}
}

// The last versions stay for those who were marked, and no more than that.
func TestHubKeeps(t *testing.T) {
	f := newHubFixture(t)
	f.join("k", false, 2)
	for i := range 20 {
		var commands []command.Command
		for range 100 + i {
			commands = append(commands, put1("k", ""))
		}
		f.apply(commands...)
		f.steps()
		kept, head := f.hub.kept.Load().seq, f.replica.machine.View().Seq()
		if i > 12 && (head-kept < keptVersions || head-kept > 2*keptVersions+200) {
			t.Errorf("the last %d versions are kept", head-kept)
		}
	}
}

// Changes that an installed snapshot no longer has are marked as lost, for those of whose log they are.
func TestHubInstalledSnapshot(t *testing.T) {
	f := newHubFixture(t)
	plain, later, znode := f.join("a", false, 2), f.join("a", false, 9), f.join("/zk/n", true, 2)
	f.apply(put1("a", "1"), put1("/zk/n", "")) // 2, 3
	f.steps()
	f.want("before", plain, "2-2")
	f.want("before", znode, "3-3")
	f.apply(put1("a", "2"), put1("/zk/n", "1"), put1("a", "3"), &command.Compact{Revision: 6}) // 4, 5, 6
	f.replica.feeds[0].kept = f.replica.machine.View().Seq()
	f.replica.reinstall(t)
	f.steps()
	f.want("from the first that was not looked at", plain, "4-6")
	f.want("of the future", later, "")
	f.want("the tree has all", znode, "5-5")
	if !plain.behind || znode.behind {
		t.Errorf("behind: plain %v, tree %v", plain.behind, znode.behind)
	}
	f.apply(put1("a", "4")) // 7
	f.steps()
	f.want("afterwards", plain, "7-7")
}

func TestQueue(t *testing.T) {
	var q queue
	a, b, c := &watcher{id: 1}, &watcher{id: 2}, &watcher{id: 3}
	var got []int64
	pop := func(n int) {
		for range n {
			w := q.pop()
			if w == nil || w.queued || w.next != nil {
				t.Fatalf("popped %+v", w)
			}
			got = append(got, w.id)
		}
	}
	q.push(a)
	q.push(b)
	pop(1)
	q.push(c)
	q.push(a)
	pop(3)
	q.push(b)
	pop(1)
	if q.pop() != nil {
		t.Error("there is one more")
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 1, 2}, got); diff != "" || slices.Contains(got, 0) {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
