package etcd

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// watching is the client's side of a watch stream.
type watching struct {
	t      testing.TB
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
}

// watchPatience bounds a whole stream, so that a response that never comes fails the test.
const watchPatience = time.Minute

func (r *running) watch(t testing.TB, metadataPairs ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), metadataPairs...), watchPatience)
	t.Cleanup(cancel)
	stream, err := pb.NewWatchClient(r.conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &watching{t, stream, cancel}
}

func (w *watching) send(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) create(r *pb.WatchCreateRequest) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

// created is create with the answer.
func (w *watching) created(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.t.Helper()
	w.create(r)
	answer := w.next()
	if !answer.Created {
		w.t.Fatalf("%v was answered by %.500v", r, answer)
	}
	return answer
}

func (w *watching) cancelWatch(id int64) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) progress() {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

func (w *watching) next() *pb.WatchResponse {
	w.t.Helper()
	r, err := w.stream.Recv()
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	return r
}

// want checks the next response.
func (w *watching) want(name string, want *pb.WatchResponse) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.next(), protocmp.Transform()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// wantEnd checks how the stream ends, once the responses that were under way are read.
func (w *watching) wantEnd(name string, code codes.Code, text string) {
	w.t.Helper()
	for {
		if _, err := w.stream.Recv(); err != nil {
			sameStatus(w.t, name, err, code, text)
			return
		}
	}
}

func putEvent(key, value string, create, mod, version int64) *mvccpb.Event {
	return &mvccpb.Event{Kv: keyValue(key, value, create, mod, version)}
}

func deleteEvent(key string, mod int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: mod}}
}

func keyValue(key, value string, create, mod, version int64) *mvccpb.KeyValue {
	kv := &mvccpb.KeyValue{Key: []byte(key), CreateRevision: create, ModRevision: mod, Version: version}
	if value != "" {
		kv.Value = []byte(value)
	}
	return kv
}

func watchKey(key string) *pb.WatchCreateRequest { return &pb.WatchCreateRequest{Key: []byte(key)} }

func watchFrom(key, end string, revision int64) *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), StartRevision: revision}
}

func put1(key, value string) command.Command { return &command.Put{Key: key, Value: []byte(value)} }

func TestWatchADay(t *testing.T) {
	s := serve(t, nil)
	s.apply(t, put1("k", "0"))
	w := s.watch(t)
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true})
	w.want("created", &pb.WatchResponse{Header: at(2), Created: true})
	s.apply(t, put1("k", "1"))
	event := putEvent("k", "1", 2, 3, 2)
	event.PrevKv = keyValue("k", "0", 2, 2, 1)
	w.want("put", &pb.WatchResponse{Header: at(3), Events: []*mvccpb.Event{event}})
	s.apply(t, put1("other", "1"))
	s.apply(t, &command.DeleteRange{Key: "k"})
	event = deleteEvent("k", 5)
	event.PrevKv = keyValue("k", "1", 2, 3, 2)
	w.want("delete", &pb.WatchResponse{Header: at(5), Events: []*mvccpb.Event{event}})
	s.apply(t, put1("k", ""))
	w.want("created anew", &pb.WatchResponse{Header: at(6), Events: []*mvccpb.Event{putEvent("k", "", 6, 6, 1)}})

	w.create(watchFrom("a", "z", 0))
	w.want("a second one", &pb.WatchResponse{Header: at(6), WatchId: 1, Created: true})
	w.cancelWatch(77) // nothing is answered
	w.cancelWatch(0)
	w.want("cancelled", &pb.WatchResponse{Header: at(6), Canceled: true})
	w.cancelWatch(0)
	s.apply(t, &command.Txn{Success: []command.Command{put1("b", "1"), put1("k", "2"), &command.DeleteRange{Key: "other"}}})
	w.want("a transaction", &pb.WatchResponse{Header: at(7), WatchId: 1, Events: []*mvccpb.Event{
		putEvent("b", "1", 7, 7, 1), putEvent("k", "2", 6, 7, 2), deleteEvent("other", 7),
	}})
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 9})
	w.want("an id of its own", &pb.WatchResponse{Header: at(7), WatchId: 9, Created: true})
	w.create(watchKey("k"))
	w.want("ids are not used again", &pb.WatchResponse{Header: at(7), WatchId: 2, Created: true})
}

func TestWatchIDs(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	for _, c := range []struct{ ask, want int64 }{{1, 1}, {0, 0}, {0, 2}, {-5, -5}, {math.MaxInt64, math.MaxInt64}, {0, 3}} {
		w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: c.ask})
		w.want(fmt.Sprint("asked for ", c.ask), &pb.WatchResponse{Header: at(1), WatchId: c.want, Created: true})
	}
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 2})
	w.want("in use", &pb.WatchResponse{Header: at(1), WatchId: -1, Created: true, Canceled: true,
		CancelReason: "mvcc: duplicate watch ID provided on the WatchStream"})
	w.cancelWatch(2)
	w.want("cancelled", &pb.WatchResponse{Header: at(1), WatchId: 2, Canceled: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 2})
	w.want("free again", &pb.WatchResponse{Header: at(1), WatchId: 2, Created: true})
}

// A watch that is refused gets one response, and the stream goes on.
func TestWatchRefusals(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxWatchesPerStream = 4 })
	w := s.watch(t)
	refused := func(name, reason string, r *pb.WatchCreateRequest) {
		t.Helper()
		w.create(r)
		w.want(name, &pb.WatchResponse{Header: at(1), WatchId: -1, Created: true, Canceled: true, CancelReason: reason})
	}
	refused("negative", "etcdserver: mvcc: required revision has been compacted", watchFrom("k", "", -1))
	refused("empty range", "mvcc: watcher range is empty", watchFrom("k", "k", 0))
	refused("range backwards", "mvcc: watcher range is empty", watchFrom("k", "j", 0))
	refused("negative, of an empty range", "etcdserver: mvcc: required revision has been compacted", watchFrom("k", "j", -1))
	refused("long keys count for more", "okapi: too many watches on one stream", watchKey(strings.Repeat("k", 4*weightBytes)))
	w.created(watchKey("k"))
	w.created(watchKey(strings.Repeat("k", 2*weightBytes)))
	refused("full", "okapi: too many watches on one stream", watchKey("k"))
	w.cancelWatch(2)
	w.want("cancelled", &pb.WatchResponse{Header: at(1), WatchId: 2, Canceled: true})
	w.create(watchKey("k"))
	w.want("room again", &pb.WatchResponse{Header: at(1), WatchId: 4, Created: true})
}

// A watch may start in the past, at the floor, and in the future.
func TestWatchStarts(t *testing.T) {
	s := serve(t, nil)
	for i := range 4 {
		s.apply(t, put1("k", fmt.Sprint(i)))
	}
	w := s.watch(t)
	w.create(watchFrom("k", "", 3))
	w.want("past", &pb.WatchResponse{Header: at(5), Created: true})
	w.want("history has the revision of the store", &pb.WatchResponse{Header: at(5), Events: []*mvccpb.Event{
		putEvent("k", "1", 2, 3, 2), putEvent("k", "2", 2, 4, 3), putEvent("k", "3", 2, 5, 4),
	}})
	s.apply(t, put1("k", "live"))
	w.want("then live", &pb.WatchResponse{Header: at(6), Events: []*mvccpb.Event{putEvent("k", "live", 2, 6, 5)}})

	s.apply(t, &command.Compact{Revision: 4})
	w.create(watchFrom("k", "", 3))
	w.want("below the floor", &pb.WatchResponse{Header: at(6), WatchId: 1, Created: true})
	w.want("below the floor", &pb.WatchResponse{Header: at(0), WatchId: 1, Canceled: true, CompactRevision: 4})
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: 1})
	w.want("its id stays in use", &pb.WatchResponse{Header: at(6), WatchId: -1, Created: true, Canceled: true, CancelReason: reasonDuplicateID})
	w.cancelWatch(1)
	w.want("until it is cancelled too", &pb.WatchResponse{Header: at(6), WatchId: 1, Canceled: true})

	w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 4, PrevKv: true})
	w.want("at the floor", &pb.WatchResponse{Header: at(6), WatchId: 2, Created: true})
	second, third := putEvent("k", "3", 2, 5, 4), putEvent("k", "live", 2, 6, 5)
	second.PrevKv, third.PrevKv = keyValue("k", "2", 2, 4, 3), keyValue("k", "3", 2, 5, 4)
	w.want("what was before the floor is not told", &pb.WatchResponse{Header: at(6), WatchId: 2, Events: []*mvccpb.Event{
		putEvent("k", "2", 2, 4, 3), second, third,
	}})
	w.cancelWatch(0)
	w.want("cancelled", &pb.WatchResponse{Header: at(6), Canceled: true})
	w.cancelWatch(2)
	w.want("cancelled", &pb.WatchResponse{Header: at(6), WatchId: 2, Canceled: true})

	w.create(watchFrom("k", "", 8))
	w.want("future", &pb.WatchResponse{Header: at(6), WatchId: 3, Created: true})
	s.apply(t, put1("k", "early"))
	s.apply(t, put1("k", "due"))
	w.want("it comes", &pb.WatchResponse{Header: at(8), WatchId: 3, Events: []*mvccpb.Event{putEvent("k", "due", 2, 8, 7)}})
}

// A tombstone at the floor can be seen, also after a snapshot that knows nothing of what was before it.
func TestWatchDeletionAtTheFloor(t *testing.T) {
	for _, installed := range []bool{false, true} {
		s := serve(t, nil)
		s.apply(t, put1("k", "1"))
		s.apply(t, &command.DeleteRange{Key: "k"})
		s.apply(t, &command.Compact{Revision: 3})
		if installed {
			s.replica.reinstall(t)
		}
		w := s.watch(t)
		w.created(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 3, PrevKv: true})
		w.want(fmt.Sprint("installed ", installed), &pb.WatchResponse{Header: at(3), Events: []*mvccpb.Event{deleteEvent("k", 3)}})
	}
}

// An empty key is the least one; the end "\0" is none.
func TestWatchRanges(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(watchFrom("", "\x00", 0))
	w.created(watchFrom("b", "\x00", 0))
	w.created(watchFrom("b", "d", 0))
	w.created(watchKey("c"))
	for i, c := range []struct {
		key  string
		want []int64
	}{{"a", []int64{0}}, {"b", []int64{0, 1, 2}}, {"c", []int64{0, 1, 2, 3}}, {"d", []int64{0, 1}}, {"\xff", []int64{0, 1}}} {
		s.apply(t, put1(c.key, ""))
		got := map[int64]bool{}
		for range c.want {
			r := w.next()
			got[r.WatchId] = len(r.Events) == 1 && string(r.Events[0].Kv.Key) == c.key && r.Header.Revision == int64(i+2)
		}
		for _, id := range c.want {
			if !got[id] {
				t.Errorf("%q was not told to watch %d", c.key, id)
			}
		}
	}
}

// A response of which the filters leave nothing is not sent.
func TestWatchFilters(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}})
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE, 9}})
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), Filters: []pb.WatchCreateRequest_FilterType{1, 0}})
	s.apply(t, put1("k", "1"))
	w.want("put", &pb.WatchResponse{Header: at(2), WatchId: 1, Events: []*mvccpb.Event{putEvent("k", "1", 2, 2, 1)}})
	s.apply(t, &command.DeleteRange{Key: "k"})
	w.want("delete", &pb.WatchResponse{Header: at(3), Events: []*mvccpb.Event{deleteEvent("k", 3)}})
	w.progress()
	w.want("nothing more", &pb.WatchResponse{Header: at(3), WatchId: -1})
}

// Progress is told on request if all watches of the stream are synced, with the revision of the store; otherwise
// never.
func TestWatchProgressOnRequest(t *testing.T) {
	s := serve(t, nil)
	s.apply(t, put1("k", "1"))
	w := s.watch(t)
	w.progress()
	w.created(watchKey("k")) // nothing came before it
	w.progress()
	w.progress()
	w.want("first", &pb.WatchResponse{Header: at(2), WatchId: -1})
	w.want("second", &pb.WatchResponse{Header: at(2), WatchId: -1})
	for i := range 100 {
		s.apply(t, put1("other", ""))
		w.progress()
		w.want("each time", &pb.WatchResponse{Header: at(int64(3 + i)), WatchId: -1})
	}
	s.apply(t, put1("k", "2"))
	w.progress()
	w.want("events first", &pb.WatchResponse{Header: at(103), Events: []*mvccpb.Event{putEvent("k", "2", 2, 103, 2)}})
	w.want("then progress", &pb.WatchResponse{Header: at(103), WatchId: -1})

	w.created(watchFrom("future", "", 104))
	w.progress()
	w.cancelWatch(1)
	w.want("the future blocks progress", &pb.WatchResponse{Header: at(103), WatchId: 1, Canceled: true})
	w.progress()
	w.want("and then not", &pb.WatchResponse{Header: at(103), WatchId: -1})

	w.created(watchFrom("k", "", 2))
	w.cancelWatch(2)
	w.cancelWatch(0)
	for r := w.next(); !r.Canceled || r.WatchId != 0; r = w.next() {
		if r.WatchId < 0 {
			t.Errorf("unasked for: %v", r)
		}
	}
	w.progress()
	w.created(watchKey("k")) // nothing came before it
}

// What a compaction has ended does not keep the others from being told how far they are.
func TestWatchProgressBesideACompactedWatch(t *testing.T) {
	s := serve(t, nil)
	for range 3 {
		s.apply(t, put1("k", ""))
	}
	s.apply(t, &command.Compact{Revision: 4})
	w := s.watch(t)
	w.created(watchFrom("k", "", 2))
	w.next() // it is cancelled
	w.progress()
	w.created(watchKey("k")) // nothing came before it
	w.progress()
	w.want("progress", &pb.WatchResponse{Header: at(4), WatchId: -1})
}

// advance moves a manual clock once as many timers wait as there should be.
func advance(t *testing.T, c *clock.Manual, timers int, d time.Duration) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d timers", timers), func() bool { return c.Waiting() == timers })
	c.Advance(d)
}

// eventually polls what happens behind the scenes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), watchPatience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, watchPatience)
		case <-tick.C:
		}
	}
}

// Watches that want to know are told after each interval without events how far they are.
func TestWatchProgressByInterval(t *testing.T) {
	manual := clock.NewManual(time.Now())
	s := serve(t, func(o *Options) { o.Clock, o.WatchProgressInterval = manual, time.Minute })
	w := s.watch(t)
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true})
	w.created(watchKey("k"))
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), ProgressNotify: true, StartRevision: 50})
	const timers = 2 // the stream's, and that of the look for a leader
	whole := time.Minute + time.Minute/10
	s.apply(t, put1("other", ""))
	eventually(t, "the hub", func() bool { return s.server.watch.hub.done.Load() == 2 })
	advance(t, manual, timers, whole)
	w.want("nothing had been told", &pb.WatchResponse{Header: at(2)})
	s.apply(t, put1("k", "1"))
	for _, id := range []int64{w.next().WatchId, w.next().WatchId} {
		if id > 1 {
			t.Errorf("watch %d is of the future", id)
		}
	}
	advance(t, manual, timers, whole)
	w.progress() // events were told; the future one blocks this
	advance(t, manual, timers, whole)
	w.want("nothing since the last time", &pb.WatchResponse{Header: at(3)})
	s.apply(t, put1("other", ""))
	w.cancelWatch(0)
	w.want("cancelled", &pb.WatchResponse{Header: at(4), Canceled: true})
}

// The interval is lengthened by at most a tenth.
func TestWatchProgressJitter(t *testing.T) {
	w := &watchServer{progressInterval: time.Minute}
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := w.interval()
		if d < time.Minute || d > 66*time.Second {
			t.Fatalf("an interval of %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 2 {
		t.Error("there is no jitter")
	}
	(&watchServer{progressInterval: 1}).interval()
}

// A response is as large as a request may be, more or less, and never ends within a revision; larger ones are split into
// fragments for those who can put them together.
func TestWatchSizes(t *testing.T) {
	const kib = 1 << 10
	s := serve(t, func(o *Options) { o.MaxRequestBytes = 100 * kib })
	value := strings.Repeat("v", 30*kib)
	for range 10 {
		s.apply(t, put1("small", value))
	}
	large := make([]command.Command, 40)
	for i := range large {
		large[i] = put1(fmt.Sprintf("large%02d", i), value)
	}
	s.apply(t, &command.Txn{Success: large})
	s.apply(t, put1("small", ""))

	w := s.watch(t)
	w.created(watchFrom("\x00", "\x00", 1))
	var sizes []int
	for n := 0; n < 51; {
		r := w.next()
		if r.Fragment || r.Header.Revision != 13 {
			t.Errorf("fragment %v, revision %d", r.Fragment, r.Header.Revision)
		}
		sizes = append(sizes, len(r.Events))
		n += len(r.Events)
	}
	if diff := cmp.Diff([]int{3, 3, 3, 1, 40, 1}, sizes); diff != "" {
		t.Errorf("whole (-want +got):\n%s", diff)
	}

	w = s.watch(t)
	w.created(&pb.WatchCreateRequest{Key: []byte("large"), RangeEnd: []byte("m"), StartRevision: 1, Fragment: true})
	w.create(watchKey("elsewhere"))
	var chain []string
	for n := 0; n < 40; {
		r := w.next()
		if r.Created {
			continue
		}
		chain = append(chain, fmt.Sprintf("%d %v", len(r.Events), r.Fragment))
		n += len(r.Events)
	}
	// The limit is 612 KiB, as 512 KiB come on top.
	if diff := cmp.Diff([]string{"20 true", "20 false"}, chain); diff != "" {
		t.Errorf("in fragments (-want +got):\n%s", diff)
	}
}

// A long history comes in turns, and one revision of many keys in several looks at the log, and whole.
func TestWatchLongHistory(t *testing.T) {
	s := serve(t, nil)
	const revisions = 5*turnChanges + 3
	for i := range revisions {
		s.apply(t, put1(fmt.Sprint(i%2), ""))
	}
	large := make([]command.Command, 3*turnEntries)
	for i := range large {
		large[i] = put1(fmt.Sprintf("large%04d", i), "")
	}
	s.apply(t, &command.Txn{Success: large})
	w := s.watch(t)
	w.create(watchFrom("\x00", "\x00", 1))
	w.create(watchFrom("1", "", 1))
	next := [2]int64{2, 3}
	largest := 0
	for next[0] <= revisions+2 || next[1] <= revisions {
		r := w.next()
		if r.Header.Revision != revisions+2 {
			t.Errorf("history comes at revision %d, want %d", r.Header.Revision, revisions+2)
		}
		if r.Created {
			continue
		}
		largest = max(largest, len(r.Events))
		for i, e := range r.Events {
			if e.Kv.ModRevision == revisions+2 && i > 0 && r.Events[i-1].Kv.ModRevision == revisions+2 {
				continue // of the large one
			}
			if e.Kv.ModRevision != next[r.WatchId] {
				t.Fatalf("watch %d is told revision %d, want %d", r.WatchId, e.Kv.ModRevision, next[r.WatchId])
			}
			next[r.WatchId] += 1 + r.WatchId
		}
	}
	if largest < len(large) {
		t.Errorf("the large revision came in parts: at most %d events at once", largest)
	}
	w.cancelWatch(0)
	w.want("one is enough", &pb.WatchResponse{Header: at(revisions + 2), Canceled: true})
	s.apply(t, put1("1", ""))
	w.want("then live", &pb.WatchResponse{Header: at(revisions + 3), WatchId: 1, Events: []*mvccpb.Event{putEvent("1", "", 3, revisions+3, revisions/2+1)}})
}

// Changes that are compacted before the hub or a stream has looked are told all the same to those who watched.
func TestWatchSurvivesACompactionRightBehind(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(watchFrom("a", "z", 0))
	w.created(&pb.WatchCreateRequest{Key: []byte("k"), PrevKv: true})
	revision := int64(1)
	for round := range 30 {
		s.replica.set(func() { // the hub sees nothing in between
			for i := range 1 + round*5 {
				s.replica.apply(put1("k", fmt.Sprint(i)))
			}
			s.replica.apply(put1("last", ""))
			s.replica.apply(&command.Compact{Revision: s.replica.machine.View().Revision()})
		})
		head := revision + int64(1+round*5) + 1
		next := [2]int64{revision + 1, revision + 1}
		for next[0] <= head || next[1] < head {
			r := w.next()
			if r.Canceled {
				t.Fatalf("cancelled: %v", r)
			}
			for _, e := range r.Events {
				if e.Kv.ModRevision != next[r.WatchId] || e.PrevKv != nil {
					t.Fatalf("watch %d was told %v, want revision %d", r.WatchId, e, next[r.WatchId])
				}
				next[r.WatchId]++
			}
		}
		revision = head
	}
	hub := s.server.watch.hub
	eventually(t, "the pin", func() bool {
		s.replica.mu.Lock()
		defer s.replica.mu.Unlock()
		return s.replica.feeds[0].kept+3*keptVersions > s.replica.machine.View().Seq() && s.replica.feeds[0].kept > keptVersions
	})
	if kept := hub.kept.Load(); kept.revision <= 2 {
		t.Errorf("all is kept from revision %d on", kept.revision)
	}
}

// A snapshot that holds what a watch needs goes unnoticed; one that does not ends the watch.
func TestWatchAndInstalledSnapshots(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(watchKey("k"))
	w.created(watchFrom("k", "", 100))
	s.apply(t, put1("k", "1"))
	w.want("before", &pb.WatchResponse{Header: at(2), Events: []*mvccpb.Event{putEvent("k", "1", 2, 2, 1)}})
	s.apply(t, put1("k", "2"))
	s.replica.reinstall(t)
	s.apply(t, put1("k", "3"))
	var got []*mvccpb.Event
	for len(got) < 2 {
		got = append(got, w.next().Events...)
	}
	want := []*mvccpb.Event{putEvent("k", "2", 2, 3, 2), putEvent("k", "3", 2, 4, 3)}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}

	eventually(t, "the hub", func() bool { return s.server.watch.hub.done.Load() == 4 })
	s.lag(t, put1("k", "4"), &command.Compact{Revision: 5})
	w.want("at the floor", &pb.WatchResponse{Header: at(5), Events: []*mvccpb.Event{putEvent("k", "4", 2, 5, 4)}})
	s.apply(t, put1("other", ""))
	eventually(t, "the hub", func() bool { return s.server.watch.hub.done.Load() == 6 })
	s.lag(t, put1("k", "5"), put1("k", "6"), &command.Compact{Revision: 8})
	w.want("below the floor", &pb.WatchResponse{Header: at(0), Canceled: true, CompactRevision: 8})
	w.created(watchKey("k"))
	w.progress()
	w.cancelWatch(1)
	w.want("the one of the future goes on", &pb.WatchResponse{Header: at(8), WatchId: 1, Canceled: true})
	s.apply(t, put1("k", "7"))
	w.want("so does the stream", &pb.WatchResponse{Header: at(9), WatchId: 2, Events: []*mvccpb.Event{putEvent("k", "7", 2, 9, 7)}})
}

// lag applies commands elsewhere and installs the outcome as a snapshot, with nothing seen in between.
func (r *running) lag(t testing.TB, commands ...command.Command) {
	t.Helper()
	f := r.replica
	f.mu.Lock()
	feeds := f.feeds
	f.feeds = nil // the others hold nothing, and nobody is told
	machine := f.machine
	for _, c := range commands {
		f.apply(c)
	}
	var records recordSink
	if err := f.machine.Export(f.machine.View(), &records); err != nil {
		t.Fatal(err)
	}
	installed, err := state.Load(&records, 1)
	if err != nil || installed == machine {
		t.Fatal(err)
	}
	f.feeds, f.machine = feeds, installed
	for _, feed := range feeds {
		feed.wake()
	}
	f.mu.Unlock()
}

// A client that does not read loses nothing but time, and history that it comes too late for is reported.
func TestWatchSlowReader(t *testing.T) {
	s := serve(t, nil)
	slow, fast := s.watch(t), s.watch(t)
	slow.created(watchKey("k"))
	fast.created(watchKey("k"))
	value := bytes.Repeat([]byte("v"), 32<<10)
	const n = 3 * keptVersions
	for i := range n {
		s.apply(t, &command.Put{Key: "k", Value: value})
		if r := fast.next(); r.Events[0].Kv.ModRevision != int64(i+2) {
			t.Fatalf("told %v, want revision %d", r, i+2)
		}
	}
	s.apply(t, &command.Compact{Revision: n})
	next := int64(2)
	for {
		r := slow.next()
		if r.Canceled {
			if r.CompactRevision != n {
				t.Errorf("cancelled with %d, want %d", r.CompactRevision, n)
			}
			break
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("told %d, want %d", e.Kv.ModRevision, next)
			}
			next++
		}
	}
	if next >= n {
		t.Errorf("everything was told, up to %d: the test does not test", next)
	}
	slow.created(watchFrom("k", "", n))
	if r := slow.next(); r.Events[0].Kv.ModRevision != n {
		t.Errorf("resumed with %v", r)
	}
}

// Watches inside the tree's prefix are told of znodes, but not of those that they may not read.
func TestWatchTheTree(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(watchFrom("/zk/", "/zk0", 0))
	w.created(watchFrom("\x00", "\x00", 0))
	s.apply(t, put1("/zk/a/b", "1")) // with its parent
	w.want("made", &pb.WatchResponse{Header: at(2), Events: []*mvccpb.Event{
		putEvent("/zk/a", "", 2, 2, 1), putEvent("/zk/a/b", "1", 2, 2, 1),
	}})
	s.apply(t, put1("plain", ""))
	w.want("everything else", &pb.WatchResponse{Header: at(3), WatchId: 1, Events: []*mvccpb.Event{putEvent("plain", "", 3, 3, 1)}})
	secret := []command.ACL{{Perms: command.PermRead | command.PermDelete, Scheme: "digest", ID: "somebody:else"}}
	s.replica.set(func() {
		for _, c := range []command.Command{
			&command.Create{Path: "/secret", ACL: secret, TTL: command.NoTTL},
			&command.Create{Path: "/open", ACL: []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}}, TTL: command.NoTTL},
		} {
			s.replica.index++
			s.replica.machine.Apply(&state.Entry{Index: s.replica.index, Term: 5, Batch: command.Batch{Proposals: []command.Proposal{{Command: c}}}}, &s.replica.out, nil)
			if code := s.replica.out.Results[0].Code; code != state.OK {
				t.Errorf("%T: %v", c, code)
			}
		}
	})
	s.apply(t, put1("/zk/open", "1"))
	// It depends on when the hub looks whether this is one response.
	var got []*mvccpb.Event
	for len(got) < 2 {
		got = append(got, w.next().Events...)
	}
	if diff := cmp.Diff([]*mvccpb.Event{putEvent("/zk/open", "", 5, 5, 1), putEvent("/zk/open", "1", 5, 6, 2)}, got, protocmp.Transform()); diff != "" {
		t.Errorf("what may be read (-want +got):\n%s", diff)
	}
	w.progress()
	w.want("nothing more", &pb.WatchResponse{Header: at(6), WatchId: -1})
}

// A stream that wants a leader ends after three election timeouts without.
func TestWatchWantsALeader(t *testing.T) {
	manual := clock.NewManual(time.Now())
	s := serve(t, func(o *Options) { o.Clock, o.ElectionTimeout = manual, time.Second })
	wants, patient := s.watch(t, "hasleader", "true"), s.watch(t)
	wants.created(watchKey("k"))
	patient.created(watchKey("k"))
	const timers = 3
	leader := func(id uint64) { s.replica.set(func() { s.replica.status.LeaderID = id }) }
	leader(0)
	advance(t, manual, timers, time.Second)
	advance(t, manual, timers, time.Second)
	eventually(t, "the look", func() bool { return manual.Waiting() == timers })
	leader(3)
	advance(t, manual, timers, time.Second)
	eventually(t, "the look", func() bool { return manual.Waiting() == timers })
	leader(0)
	advance(t, manual, timers, time.Second)
	advance(t, manual, timers, time.Second)
	eventually(t, "the look", func() bool { return manual.Waiting() == timers })
	s.apply(t, put1("k", "1"))
	wants.want("still there", &pb.WatchResponse{Header: at(2), Events: []*mvccpb.Event{putEvent("k", "1", 2, 2, 1)}})
	advance(t, manual, timers, time.Second)
	wants.wantEnd("three in a row", codes.Unavailable, "etcdserver: no leader")
	patient.want("who does not ask stays", &pb.WatchResponse{Header: at(2), Events: []*mvccpb.Event{putEvent("k", "1", 2, 2, 1)}})
}

// How streams end, and that they leave nothing behind.
func TestWatchEnds(t *testing.T) {
	s := serve(t, nil)
	w := s.watch(t)
	w.created(watchKey("k"))
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	s.apply(t, put1("k", "1"))
	w.want("nothing more to ask", &pb.WatchResponse{Header: at(2), Events: []*mvccpb.Event{putEvent("k", "1", 2, 2, 1)}})
	w.cancel()
	hub := s.server.watch.hub
	eventually(t, "the feed's end", func() bool {
		hub.mu.Lock()
		defer hub.mu.Unlock()
		return hub.feed == nil && hub.interest[logPlain].Len() == 0
	})
	s.apply(t, put1("k", "2"))

	w = s.watch(t)
	w.create(watchKey(strings.Repeat("k", 3<<20)))
	w.wantEnd("too large", codes.ResourceExhausted, "grpc: received message larger than max (3145738 vs. 2097152)")

	w = s.watch(t)
	w.created(watchKey("k"))
	idle := s.watch(t)
	idle.created(watchKey("k"))
	for i := range 5 {
		s.apply(t, put1("k", ""))
		w.want("again", &pb.WatchResponse{Header: at(int64(4 + i)), Events: []*mvccpb.Event{putEvent("k", "", 2, int64(4+i), int64(3+i))}})
	}
	s.stop()
	w.wantEnd("stopped", codes.Unavailable, "etcdserver: server stopped")
	idle.wantEnd("stopped", codes.Unavailable, "etcdserver: server stopped")
}
