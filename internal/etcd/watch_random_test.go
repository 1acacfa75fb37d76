package etcd

import (
	"bytes"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// history is what really happened: the events of each revision, in order, with what was before.
type history struct {
	now    map[string]*mvccpb.KeyValue
	events [][]*mvccpb.Event // by revision
	floor  int64
}

func newHistory() *history {
	return &history{now: map[string]*mvccpb.KeyValue{}, events: make([][]*mvccpb.Event, 2), floor: -1}
}

func (h *history) head() int64 { return int64(len(h.events) - 1) }

// commit notes one revision; an empty value stands for a deletion.
func (h *history) commit(writes []write) {
	revision := int64(len(h.events))
	var events []*mvccpb.Event
	for _, w := range writes {
		before := h.now[w.key]
		if w.value == nil {
			delete(h.now, w.key)
			events = append(events, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(w.key), ModRevision: revision}, PrevKv: before})
			continue
		}
		kv := &mvccpb.KeyValue{Key: []byte(w.key), CreateRevision: revision, ModRevision: revision, Version: 1, Value: w.value}
		if before != nil {
			kv.CreateRevision, kv.Version = before.CreateRevision, before.Version+1
		}
		h.now[w.key] = kv
		events = append(events, &mvccpb.Event{Kv: kv, PrevKv: before})
	}
	h.events = append(h.events, events)
}

type write struct {
	key   string
	value []byte
}

// told is what one watch must be told from a revision on, up to another.
func (h *history) told(w *clientWatch, from, to int64) (out []*mvccpb.Event) {
	span := watch.Span{Key: string(w.ask.Key), End: string(w.ask.RangeEnd)}
	for _, revision := range h.events[min(from, h.head()+1) : min(to, h.head())+1] {
		for _, e := range revision {
			put := e.Type == mvccpb.Event_PUT
			if !span.Contains(string(e.Kv.Key)) ||
				put && slices.Contains(w.ask.Filters, pb.WatchCreateRequest_NOPUT) ||
				!put && slices.Contains(w.ask.Filters, pb.WatchCreateRequest_NODELETE) {
				continue
			}
			out = append(out, e)
		}
	}
	return out
}

// clientWatch is a watch as its client sees it.
type clientWatch struct {
	ask     *pb.WatchCreateRequest
	created bool
	over    bool
	expired bool  // and not yet cancelled by its client
	start   int64 // the first revision to be told of
	got     []*mvccpb.Event
	chain   bool // a fragment has come that is not the last
}

// reading is a stream whose client reads as it is let.
type reading struct {
	*watching
	watches map[int64]*clientWatch
	tokens  chan int     // how many responses to read next; closed: all
	goal    atomic.Int64 // a bookmark at this revision is the last response to read
	ended   chan struct{}
	all     []*pb.WatchResponse // until ended is closed, the reader's
}

// run reads until the stream has ended or the goal is reached.
func (r *reading) run() {
	defer close(r.ended)
	for n := range r.tokens {
		for range n {
			if !r.readOne() {
				return
			}
		}
	}
	for r.readOne() {
	}
}

func (r *reading) readOne() bool {
	response, err := r.stream.Recv()
	if err != nil {
		return false
	}
	r.all = append(r.all, response)
	return response.WatchId != noWatch || response.Created || response.Header.Revision < r.goal.Load()
}

// verify goes through all that came, in order.
func (r *reading) verify(t *rapid.T, h *history) {
	chained := int64(noWatch)
	for i, response := range r.all {
		id := response.WatchId
		if chained != noWatch && id != chained {
			t.Fatalf("response %d is between the fragments of watch %d: %v", i, chained, response)
		}
		if id == noWatch {
			r.verifyBookmark(t, h, response.Header.Revision, r.watches)
			continue
		}
		w := r.watches[id]
		if w != nil && w.expired && response.Canceled {
			w.expired = false // its client has cancelled it too
			continue
		}
		if w == nil || w.over || !w.created && !response.Created {
			t.Fatalf("response %d is to no watch: %v", i, response)
		}
		chained = noWatch
		if response.Fragment {
			chained = id
		}
		switch {
		case response.Created:
			w.created = true
			if w.start = w.ask.StartRevision; w.start == 0 {
				w.start = response.Header.Revision + 1
			}
		case response.Canceled:
			w.over, w.expired = true, response.CompactRevision != 0
			next := w.start
			if n := len(w.got); n > 0 {
				next = w.got[n-1].Kv.ModRevision + 1
			}
			if c := response.CompactRevision; c != 0 && (c > h.floor || next >= c) {
				t.Fatalf("watch %d was cancelled with %d, but goes on at %d", id, c, next)
			}
		case len(response.Events) == 0:
			r.verifyBookmark(t, h, response.Header.Revision, map[int64]*clientWatch{id: w})
		default:
			r.verifyEvents(t, h, w, response)
		}
	}
}

// verifyEvents checks that the events of a response are the next ones, and of whole revisions.
func (r *reading) verifyEvents(t *rapid.T, h *history, w *clientWatch, response *pb.WatchResponse) {
	first, last := response.Events[0].Kv.ModRevision, response.Events[len(response.Events)-1].Kv.ModRevision
	if n := len(w.got); n > 0 && first <= w.got[n-1].Kv.ModRevision && !w.chain {
		t.Fatalf("watch %d is told revision %d after %d", response.WatchId, first, w.got[n-1].Kv.ModRevision)
	}
	if response.Header.Revision < last {
		t.Fatalf("a response at revision %d has an event of %d", response.Header.Revision, last)
	}
	w.got = append(w.got, response.Events...)
	w.chain = response.Fragment
	if response.Fragment && !w.ask.Fragment {
		t.Fatalf("watch %d gets fragments", response.WatchId)
	}
	want := h.told(w, w.start, last)
	if len(w.got) > len(want) || !response.Fragment && len(w.got) != len(want) {
		t.Fatalf("watch %d has %d events up to revision %d, want %d", response.WatchId, len(w.got), last, len(want))
	}
	for i := len(w.got) - len(response.Events); i < len(w.got); i++ {
		if text := differs(w, w.got[i], want[i], h.floor); text != "" {
			t.Fatalf("watch %d, event %d: %s\ngot  %.300v\nwant %.300v", response.WatchId, i, text, w.got[i], want[i])
		}
	}
}

// differs says how an event differs from what it should be; what was before may be missing only where history was
// compacted, and where nobody asked for it.
func differs(w *clientWatch, got, want *mvccpb.Event, floor int64) string {
	switch {
	case got.Type != want.Type || !proto.Equal(got.Kv, want.Kv):
		return "another one"
	case got.PrevKv == nil && (!w.ask.PrevKv || want.PrevKv == nil || want.Kv.ModRevision <= floor):
		return ""
	case !w.ask.PrevKv || !proto.Equal(got.PrevKv, want.PrevKv):
		return "another one before"
	}
	return ""
}

// verifyBookmark checks that everything up to a revision has been told.
func (r *reading) verifyBookmark(t *rapid.T, h *history, revision int64, watches map[int64]*clientWatch) {
	for id, w := range watches {
		if !w.created || w.over {
			continue
		}
		if revision < w.start-1 {
			t.Fatalf("a bookmark at %d comes to watch %d, which starts at %d", revision, id, w.start)
		}
		if want := h.told(w, w.start, revision); len(w.got) < len(want) {
			t.Fatalf("a bookmark at %d comes before the event of %d that watch %d waits for", revision, want[len(w.got)].Kv.ModRevision, id)
		}
	}
}

// randomWatches is one run: a server, what happens to it, and clients that watch.
type randomWatches struct {
	tb      testing.TB
	s       *running
	history *history
	streams []*reading
}

var randomKeys = []string{"a", "b", "c", "d", "e"}

// apply runs commands on the fake; the hub sees nothing in between.
func (r *randomWatches) apply(commands ...command.Command) {
	r.s.replica.set(func() {
		for _, c := range commands {
			if res := r.s.replica.apply(c); res.Code != state.OK {
				r.tb.Fatalf("%T: %v", c, res.Code)
			}
		}
	})
}

// writeSome makes some revisions, sometimes with a compaction right behind.
func (r *randomWatches) writeSome(t *rapid.T) {
	var commands []command.Command
	for range rapid.IntRange(1, 6).Draw(t, "revisions") {
		var writes []write
		var ops []command.Command
		for _, key := range randomKeys {
			value := bytes.Repeat([]byte{byte(r.history.head())}, rapid.SampledFrom([]int{1, 100, 1 << 10, 6 << 10}).Draw(t, "size"))
			switch rapid.IntRange(0, 4).Draw(t, "write") {
			case 0:
				writes, ops = append(writes, write{key, value}), append(ops, &command.Put{Key: key, Value: value})
			case 1:
				if r.history.now[key] != nil {
					writes = append(writes, write{key, nil})
				}
				ops = append(ops, &command.DeleteRange{Key: key})
			}
		}
		if len(writes) > 0 {
			r.history.commit(writes)
			commands = append(commands, &command.Txn{Success: ops})
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "compact") == 0 && r.history.head() > max(1, r.history.floor) {
		r.history.floor = rapid.Int64Range(max(1, r.history.floor+1), r.history.head()).Draw(t, "floor")
		commands = append(commands, &command.Compact{Revision: r.history.floor})
	}
	r.apply(commands...)
}

func (r *randomWatches) openStream(t *rapid.T) {
	if len(r.streams) >= 3 {
		return
	}
	s := &reading{watching: r.s.watch(r.tb), watches: map[int64]*clientWatch{}, tokens: make(chan int, 1000), ended: make(chan struct{})}
	s.goal.Store(math.MaxInt64)
	go s.run()
	r.streams = append(r.streams, s)
}

// stream draws one of the streams; nil if there is none.
func (r *randomWatches) stream(t *rapid.T) *reading {
	if len(r.streams) == 0 {
		return nil
	}
	return rapid.SampledFrom(r.streams).Draw(t, "stream")
}

func (r *randomWatches) createWatch(t *rapid.T) {
	s := r.stream(t)
	if s == nil {
		return
	}
	r.begin(s, &pb.WatchCreateRequest{
		Key: []byte(rapid.SampledFrom(randomKeys).Draw(t, "key")), RangeEnd: []byte(rapid.SampledFrom([]string{"", "z", "\x00"}).Draw(t, "end")),
		StartRevision: max(0, rapid.Int64Range(-3, r.history.head()+3).Draw(t, "start")),
		PrevKv:        rapid.Bool().Draw(t, "prev"), Fragment: rapid.Bool().Draw(t, "fragment"), ProgressNotify: rapid.Bool().Draw(t, "progress"),
		Filters: rapid.SampledFrom([][]pb.WatchCreateRequest_FilterType{nil, nil, {pb.WatchCreateRequest_NOPUT}, {pb.WatchCreateRequest_NODELETE}}).Draw(t, "filters"),
	})
}

func (r *randomWatches) begin(s *reading, ask *pb.WatchCreateRequest) {
	id := int64(len(s.watches) + 1)
	ask.WatchId = id
	s.watches[id] = &clientWatch{ask: ask}
	s.create(ask)
}

// resume drops a stream and goes on in a new one, where each watch stood.
func (r *randomWatches) resume(t *rapid.T) {
	old := r.stream(t)
	if old == nil {
		return
	}
	r.streams = slices.DeleteFunc(r.streams, func(s *reading) bool { return s == old })
	old.watching.cancel()
	close(old.tokens)
	<-old.ended
	old.verify(t, r.history)
	r.openStream(t)
	s := r.streams[len(r.streams)-1]
	for id := range int64(len(old.watches)) {
		w := old.watches[id+1]
		if !w.created || w.over || w.chain {
			continue
		}
		ask := proto.Clone(w.ask).(*pb.WatchCreateRequest)
		ask.StartRevision = w.start
		if n := len(w.got); n > 0 {
			ask.StartRevision = w.got[n-1].Kv.ModRevision + 1
		}
		r.begin(s, ask)
	}
}

// finish lets everybody read to the end, and verifies what they have been told.
func (r *randomWatches) finish(t *rapid.T) {
	for range 4 { // beyond every start in the future
		r.history.commit([]write{{"a", []byte("end")}})
		r.apply(put1("a", "end"))
	}
	for _, s := range r.streams {
		s.goal.Store(r.history.head())
		close(s.tokens)
		r.begin(s, &pb.WatchCreateRequest{Key: []byte("fence")}) // so that there is somebody to be told of progress
		eventually(r.tb, "a bookmark at the end", func() bool {
			select {
			case <-s.ended:
				return true
			default:
				s.progress()
				return false
			}
		})
		s.verify(t, r.history)
		for id, w := range s.watches {
			if want := r.history.told(w, w.start, r.history.head()); w.created && !w.over && len(w.got) != len(want) {
				t.Fatalf("watch %d was told %d events in the end, want %d", id, len(w.got), len(want))
			}
		}
		s.watching.cancel()
	}
}

// TestWatchRandom: whatever happens, what a watch is told is the history of its keys from its start on: in order, nothing
// twice, nothing left out, revisions whole, bookmarks never early, and a compaction is reported.
func TestWatchRandom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := serve(t, func(o *Options) { o.MaxRequestBytes, o.WatchProgressInterval = 8<<10, time.Millisecond })
		r := &randomWatches{tb: t, s: s, history: newHistory()}
		defer s.end()
		rt.Repeat(map[string]func(*rapid.T){
			"write":  r.writeSome,
			"write2": r.writeSome,
			"stream": r.openStream,
			"create": r.createWatch,
			"resume": r.resume,
			"cancel": func(t *rapid.T) {
				if s := r.stream(t); s != nil && len(s.watches) > 0 {
					s.cancelWatch(rapid.Int64Range(1, int64(len(s.watches))).Draw(t, "id"))
				}
			},
			"progress": func(t *rapid.T) {
				if s := r.stream(t); s != nil {
					s.progress()
				}
			},
			"read": func(t *rapid.T) {
				if s := r.stream(t); s != nil {
					s.tokens <- rapid.IntRange(1, 5).Draw(t, "responses")
				}
			},
			"install": func(*rapid.T) { r.s.replica.reinstall(r.tb) },
		})
		r.finish(rt)
	})
}
