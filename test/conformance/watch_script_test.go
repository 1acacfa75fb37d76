package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/okapi-kv/okapi/test/harness"
)

// watchScript speaks to the Watch service without a client library in between, and writes down every response, with revisions
// as distances from that at which it began.
type watchScript struct {
	t      *testing.T
	client *clientv3.Client
	ctx    context.Context
	stream pb.Watch_WatchClient
	base   int64
	prefix string // of all keys
	lines  []string
}

func newWatchScript(t *testing.T, client *clientv3.Client) *watchScript {
	ctx, cancel := context.WithTimeout(t.Context(), watchPatience)
	t.Cleanup(cancel)
	s := &watchScript{t: t, client: client, ctx: ctx, prefix: fmt.Sprintf("script-%d/", time.Now().UnixNano())}
	res, err := client.Put(ctx, s.prefix+"begin", "")
	if err != nil {
		t.Fatal(err)
	}
	s.base = res.Header.Revision
	if s.stream, err = pb.NewWatchClient(client.ActiveConnection()).Watch(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *watchScript) send(r *pb.WatchRequest) {
	s.t.Helper()
	if err := s.stream.Send(r); err != nil {
		s.t.Fatal(err)
	}
}

// create asks for a watch; its start is a distance if it is not 0 or negative.
func (s *watchScript) create(key, end string, start int64, change func(*pb.WatchCreateRequest)) {
	s.t.Helper()
	r := &pb.WatchCreateRequest{Key: []byte(s.prefix + key), StartRevision: start}
	if end != "" {
		r.RangeEnd = []byte(s.prefix + end)
	}
	if start > 0 {
		r.StartRevision += s.base
	}
	if change != nil {
		change(r)
	}
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
}

func (s *watchScript) cancel(id int64) {
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (s *watchScript) progress() {
	s.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// read writes n responses down.
func (s *watchScript) read(n int) {
	s.t.Helper()
	for range n {
		r, err := s.stream.Recv()
		if err != nil {
			s.t.Fatalf("after %q: %v", s.lines, err)
		}
		s.lines = append(s.lines, s.text(r))
	}
}

func (s *watchScript) text(r *pb.WatchResponse) string {
	distance := func(revision int64) string {
		if revision == 0 {
			return "0"
		}
		return fmt.Sprintf("+%d", revision-s.base)
	}
	out := fmt.Sprintf("%d at %s", r.WatchId, distance(r.Header.Revision))
	for _, f := range []struct {
		set  bool
		text string
	}{
		{r.Created, "created"}, {r.Canceled, "canceled"}, {r.CancelReason != "", r.CancelReason}, {r.Fragment, "fragment"},
		{r.CompactRevision != 0, "compacted " + distance(r.CompactRevision)},
	} {
		if f.set {
			out += ", " + f.text
		}
	}
	for _, e := range r.Events {
		out += fmt.Sprintf("; %v %s=%s %s %s v%d", e.Type, strings.TrimPrefix(string(e.Kv.Key), s.prefix), e.Kv.Value,
			distance(e.Kv.CreateRevision), distance(e.Kv.ModRevision), e.Kv.Version)
		if e.PrevKv != nil {
			out += fmt.Sprintf(" was %s v%d", e.PrevKv.Value, e.PrevKv.Version)
		}
	}
	return out
}

func (s *watchScript) put(key, value string) {
	s.t.Helper()
	if _, err := s.client.Put(s.ctx, s.prefix+key, value); err != nil {
		s.t.Fatal(err)
	}
}

func (s *watchScript) compact(distance int64) {
	s.t.Helper()
	if _, err := s.client.Compact(s.ctx, s.base+distance); err != nil {
		s.t.Fatal(err)
	}
}

// run does what the transcript below shows. Where etcd leaves the order of two responses open, only one is asked for.
func (s *watchScript) run() {
	prev := func(r *pb.WatchCreateRequest) { r.PrevKv = true }
	id := func(id int64) func(*pb.WatchCreateRequest) { return func(r *pb.WatchCreateRequest) { r.WatchId = id } }
	s.create("k", "", 0, prev)
	s.read(1)
	s.put("k", "1") // +1
	s.read(1)
	s.put("k", "2") // +2
	s.read(1)
	if _, err := s.client.Delete(s.ctx, s.prefix+"k"); err != nil { // +3
		s.t.Fatal(err)
	}
	s.read(1)
	s.put("k", "3") // +4
	s.read(1)
	s.progress()
	s.read(1)
	s.create("k", "", -1, nil)
	s.create("z", "a", 0, nil)
	s.create("k", "", 0, id(0))
	s.create("k", "", 0, id(1))
	s.read(4)
	s.cancel(7)
	s.cancel(1)
	s.cancel(1)
	s.create("k", "", 0, id(1))
	s.read(2)
	s.cancel(0)
	s.cancel(1)
	s.read(2)

	s.create("k", "", 1, prev)
	s.read(2) // catching up
	s.cancel(2)
	s.read(1)
	s.compact(2)
	s.create("k", "", 1, nil)
	s.read(2)
	s.create("k", "", 0, id(3))
	s.cancel(3)
	s.read(2)
	s.create("k", "", 2, prev)
	s.read(2)
	s.cancel(4)
	s.read(1)
	s.create("a", "z", 6, nil)
	s.read(1)
	s.progress() // never answered: it begins in the future
	s.put("b", "early")
	_, err := s.client.Txn(s.ctx).Then(clientv3.OpPut(s.prefix+"c", "due"), clientv3.OpDelete(s.prefix+"b"), clientv3.OpPut(s.prefix+"d", "")).Commit()
	if err != nil {
		s.t.Fatal(err)
	}
	s.read(1)
	s.progress()
	s.read(1)
	s.create("a", "z", 0, func(r *pb.WatchCreateRequest) {
		r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
	})
	s.read(1)
	s.cancel(5)
	s.read(1)
	s.put("e", "")
	s.progress()
	s.read(1)
}

// transcript is what etcd 3.7.3 answers.
var transcript = []string{
	"0 at +0, created",
	"0 at +1; PUT k=1 +1 +1 v1",
	"0 at +2; PUT k=2 +1 +2 v2 was 1 v1",
	"0 at +3; DELETE k= 0 +3 v0 was 2 v2",
	"0 at +4; PUT k=3 +4 +4 v1",
	"-1 at +4",
	"-1 at +4, created, canceled, etcdserver: mvcc: required revision has been compacted",
	"-1 at +4, created, canceled, mvcc: watcher range is empty",
	"1 at +4, created",
	"-1 at +4, created, canceled, mvcc: duplicate watch ID provided on the WatchStream",
	"1 at +4, canceled",
	"1 at +4, created",
	"0 at +4, canceled",
	"1 at +4, canceled",
	"2 at +4, created",
	"2 at +4; PUT k=1 +1 +1 v1; PUT k=2 +1 +2 v2 was 1 v1; DELETE k= 0 +3 v0 was 2 v2; PUT k=3 +4 +4 v1",
	"2 at +4, canceled",
	"3 at +4, created",
	"3 at 0, canceled, compacted +2",
	"-1 at +4, created, canceled, mvcc: duplicate watch ID provided on the WatchStream",
	"3 at +4, canceled",
	"4 at +4, created",
	"4 at +4; PUT k=2 +1 +2 v2; DELETE k= 0 +3 v0 was 2 v2; PUT k=3 +4 +4 v1",
	"4 at +4, canceled",
	"5 at +4, created",
	"5 at +6; PUT c=due +6 +6 v1; DELETE b= 0 +6 v0; PUT d= +6 +6 v1",
	"-1 at +6",
	"6 at +6, created",
	"5 at +6, canceled",
	"-1 at +7",
}

// TestWatchScript compares the responses of a server, field by field, with what etcd is known to say.
func TestWatchScript(t *testing.T) {
	eachServer(t, func(t *testing.T, m *harness.Member) {
		s := newWatchScript(t, etcdClient(t, m))
		s.run()
		for i, got := range s.lines {
			if i >= len(transcript) || got != transcript[i] {
				t.Errorf("response %d is %q, want %q", i, got, append(transcript, "none")[min(i, len(transcript))])
			}
		}
		if len(s.lines) < len(transcript) {
			t.Errorf("%d responses, want %d", len(s.lines), len(transcript))
		}
	})
}
