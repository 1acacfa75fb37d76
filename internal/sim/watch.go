package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// watcher is an etcd client that watches plain keys through one member after the other, and goes on where it stood. It
// reads the change log as the door does, and is woken as the door is.
//
// Its chance is drawn from a source of its own, so that what else a seed does is the same with and without
// watchers.
type watcher struct {
	world *World
	name  int
	rng   *rand.Rand
	span  watch.Span
	at    *node
	epoch int // of at's process

	cursor watch.Cursor
	reader watch.Reader[state.KeyValue]
	woken  bool         // a read is scheduled
	told   []watchEvent // everything, in order
	since  int64        // the first revision that it must be told of
	upTo   int64        // bookmark: everything up to it was told
}

// watchEvent is what a watcher is told of one key at one revision.
type watchEvent struct {
	Revision   int64
	Key, Value string
	Deleted    bool
}

func newWatcher(w *World, name int) *watcher {
	c := &watcher{world: w, name: name, rng: rand.New(rand.NewPCG(w.cfg.Seed, 0x7761746368<<8|uint64(name))), since: 1}
	c.span = watch.Span{Key: "k", End: "o"}
	if name%2 == 1 {
		c.span = watch.Span{Key: fmt.Sprintf("k%d", c.rng.IntN(5))}
	}
	w.after(c.between(0, second), c.connect)
	return c
}

func (c *watcher) between(lo, hi int64) int64 { return lo + c.rng.Int64N(hi-lo) }

// connect begins a watch at some member, from where the last one ended, and leaves it again after a while.
func (c *watcher) connect() {
	w := c.world
	n := w.nodes[c.rng.IntN(len(w.nodes))]
	stay := c.between(second/2, 6*second)
	switch {
	case !n.up || !n.serving:
		c.at = nil
		w.after(c.between(0, 300*millisecond), c.connect)
		return
	case !w.healed:
		w.after(stay, c.connect)
	}
	c.at, c.epoch = n, n.epoch
	c.cursor = watch.NewCursor(c.span, max(c.since, c.upTo+1), 0)
	if w.cfg.Bug == WatchFromHead {
		n.store.Read(func(v state.View) { c.cursor.Skip(v.Revision() + 1) })
	}
	c.reader.Reset()
	c.wake()
}

// wake has the watcher read soon.
func (c *watcher) wake() {
	if c.woken {
		return
	}
	c.woken = true
	c.world.after(c.between(0, 100*millisecond), func() {
		c.woken = false
		c.read()
	})
}

// read takes some changes from the log of its member.
func (c *watcher) read() {
	n, w := c.at, c.world
	if n == nil || !n.up || n.epoch != c.epoch {
		return // it finds out when it connects again
	}
	if n.pausedUntil > w.now {
		c.wake()
		return
	}
	var changes []watch.Change[state.KeyValue]
	var err error
	head := int64(0)
	b := watch.Bounds{Changes: 1 + c.rng.IntN(5), Entries: 1 + c.rng.IntN(20)}
	if w.healed { // then it has to come to the end of the log, however much is still written
		b.Changes, b.Entries = 10*b.Changes, 10*b.Entries
	}
	n.store.Read(func(v state.View) {
		log := simLog{v.Log(false)}
		head = log.Head()
		changes, err = c.reader.Read(&c.cursor, log, b, nil)
	})
	if err != nil {
		w.fail("watcher %d: %v, though nothing was compacted", c.name, err)
		return
	}
	for _, ch := range changes {
		c.tell(watchEvent{ch.Revision, ch.Key, string(ch.Version.Value), ch.Deleted})
	}
	c.upTo = max(c.upTo, c.cursor.Next()-1)
	if c.cursor.Next() <= head {
		c.wake()
	}
}

// tell checks that events are in order and none is told again.
func (c *watcher) tell(e watchEvent) {
	if e.Revision <= c.upTo {
		c.world.fail("watcher %d is told revision %d, though it was told everything up to %d", c.name, e.Revision, c.upTo)
	}
	if n := len(c.told); n > 0 && e.Revision < c.told[n-1].Revision {
		c.world.fail("watcher %d is told revision %d after %d", c.name, e.Revision, c.told[n-1].Revision)
	}
	c.told = append(c.told, e)
}

// watchesMatch checks that each watcher was told the history of its keys, and all of it.
func (c *checks) watchesMatch(v state.View) {
	for _, p := range c.world.watchers {
		var want []watchEvent
		v.Log(false).Each(p.since, func(ch *state.Change) bool {
			kv := ch.KeyValue()
			if p.span.Contains(ch.Key) {
				want = append(want, watchEvent{ch.Revision, ch.Key, string(kv.Value), ch.Deleted})
			}
			return true
		})
		if p.upTo != v.Revision() {
			c.world.fail("watcher %d has been told everything up to revision %d of %d after the faults have ended", p.name, p.upTo, v.Revision())
		}
		if diff := cmp.Diff(want, p.told); diff != "" {
			c.world.fail("watcher %d was told other than what happened (-want +got):\n%.2000s", p.name, diff)
		}
		c.watched += len(p.told)
	}
}

// published wakes those who watch through a member.
func (w *World) published(n *node) {
	for _, c := range w.watchers {
		if c.at == n && c.epoch == n.epoch {
			c.wake()
		}
	}
}

// simLog is the log of plain keys as a watch.Log.
type simLog struct{ log state.ChangeLog }

// Floor implements watch.Log.
func (l simLog) Floor() int64 { return l.log.Floor() }

// Head implements watch.Log.
func (l simLog) Head() int64 { return l.log.Head() }

// Changes implements watch.Log.
func (l simLog) Changes(revision int64, after uint64, fn func(*watch.Entry[state.KeyValue]) bool) {
	each := func(ch *state.Change, seq uint64) bool {
		e := watch.Entry[state.KeyValue]{
			Key: ch.Key, Revision: ch.Revision, Seq: seq, Deleted: ch.Deleted, Version: ch.KeyValue(),
			Hidden: !ch.ReadableBy(&command.Caller{Protocol: command.Etcd}),
		}
		_, e.Live = ch.Before()
		return fn(&e)
	}
	if after > 0 {
		l.log.EachAfter(after, each)
		return
	}
	l.log.EachFrom(revision, each)
}
