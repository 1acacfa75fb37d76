package differential

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// event is a change of a key, as far as it decides who gets it.
type event struct {
	key      string
	revision int64
	deleted  bool
}

// watchLog is what a stream has said of one watch id, in order.
type watchLog struct {
	// lines are its responses that have not been compared yet: what created and cancelled it, and its events
	// one by one, because how etcd cuts them into responses depends on when they are fetched.
	lines []string
	// reached is the revision of the last event.
	reached int64
	// canceled says that the last thing heard of the watch was its end.
	canceled bool
}

// stream is a watch stream and a record of what came over it.
type stream struct {
	client pb.Watch_WatchClient
	cancel context.CancelFunc
	ended  chan struct{}

	mu sync.Mutex
	// changed is closed and replaced with every response.
	changed chan struct{}
	// controls are the responses that answer a request, in order, from the first to the last.
	controls []*pb.WatchResponse
	// progress are the revisions of progress responses.
	progress []int64
	logs     map[int64]*watchLog
	// events are those of all watches, in order, where the stream is told to keep them.
	keep   bool
	events []event
	// chain is the watch whose fragments are being sent; nil if none is.
	chain *int64
	// seen counts what has come and was not tallied yet.
	seen map[string]int
	// broken are breaches of what etcd promises of every stream, whatever its timing.
	broken []string
}

// openStream opens a watch stream.
func openStream(s *side) (*stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	client, err := s.watch.Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	out := &stream{
		client: client, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{}),
		logs: map[int64]*watchLog{}, seen: map[string]int{},
	}
	go out.serveResponses()
	return out, nil
}

// close ends the stream from our side and waits for the recorder.
func (s *stream) close() {
	s.cancel()
	<-s.ended
}

// serveResponses records what comes until the stream ends.
func (s *stream) serveResponses() {
	defer close(s.ended)
	for {
		response, err := s.client.Recv()
		s.mu.Lock()
		if err != nil {
			if s.client.Context().Err() == nil {
				s.broken = append(s.broken, fmt.Sprintf("the stream ended: %v", err))
			}
		} else {
			s.record(response)
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// record takes one response to the record, and checks what holds for each.
func (s *stream) record(r *pb.WatchResponse) {
	if s.chain != nil && *s.chain != r.WatchId {
		s.breach(r, "stands between the fragments of another watch")
	}
	log := s.logs[r.WatchId]
	if log == nil {
		log = &watchLog{}
		s.logs[r.WatchId] = log
	}
	switch {
	case r.Created || r.Canceled:
		if r.Canceled && !r.Created {
			log.canceled = true
		} else {
			*log = watchLog{lines: log.lines}
		}
		if r.CompactRevision == 0 {
			s.controls = append(s.controls, r)
		} else {
			s.seen["watch cancelled for compaction"]++
		}
		log.lines = append(log.lines, fmt.Sprintf("created=%v canceled=%v revision=%d compact_revision=%d reason=%q",
			r.Created, r.Canceled, r.Header.GetRevision(), r.CompactRevision, r.CancelReason))
	case len(r.Events) == 0:
		if r.WatchId != -1 {
			s.breach(r, "has no events")
		}
		s.progress = append(s.progress, r.Header.GetRevision())
		s.seen["watch progress"]++
	}
	s.recordEvents(log, r)
}

// recordEvents takes the events of a response to the record.
func (s *stream) recordEvents(log *watchLog, r *pb.WatchResponse) {
	for _, e := range r.Events {
		switch {
		case e.Kv.ModRevision < log.reached:
			s.breach(r, "goes back in time")
		case e.Kv.ModRevision == log.reached && e == r.Events[0] && s.chain == nil:
			s.breach(r, "splits a revision")
		}
		log.reached = e.Kv.ModRevision
		log.lines = append(log.lines, eventLine(e))
		if s.keep {
			s.events = append(s.events, event{string(e.Kv.Key), e.Kv.ModRevision, e.Type == mvccpb.Event_DELETE})
		}
	}
	if len(r.Events) > 0 && r.Header.GetRevision() < log.reached {
		s.breach(r, "has events of after its header's revision")
	}
	s.chain = nil
	if r.Fragment {
		id := r.WatchId
		s.chain = &id
		s.seen["watch fragment"]++
	}
	s.seen["watch event"] += len(r.Events)
}

func (s *stream) breach(r *pb.WatchResponse, what string) {
	r = proto.CloneOf(r)
	r.Events = r.Events[:min(len(r.Events), 3)]
	s.broken = append(s.broken, what+": "+show(r))
}

// eventLine is an event for a reader; long values are told by their checksum.
func eventLine(e *mvccpb.Event) string {
	line := fmt.Sprintf("%v %s", e.Type, keyValueText(e.Kv))
	if e.PrevKv != nil {
		line += " before: " + keyValueText(e.PrevKv)
	}
	return line
}

func keyValueText(kv *mvccpb.KeyValue) string {
	value := fmt.Sprintf("%q", kv.Value)
	if len(kv.Value) > 40 {
		value = fmt.Sprintf("%d bytes %08x", len(kv.Value), crc32.ChecksumIEEE(kv.Value))
	}
	return fmt.Sprintf("%q=%s create=%d mod=%d version=%d lease=%d", kv.Key, value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}

// await waits until ready, which is called with the record locked, and reports whether it came to that.
func (s *stream) await(ready func() bool) bool {
	timeout := time.NewTimer(callTimeout)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		done, changed := ready(), s.changed
		s.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-s.ended:
			s.mu.Lock()
			defer s.mu.Unlock()
			return ready()
		case <-timeout.C:
			return false
		}
	}
}

// ask sends a request and then one that is refused at once, and returns the responses that came for the
// first: none, if there are none. Servers answer requests of one stream in order.
func (s *stream) ask(request *pb.WatchRequest) answer {
	s.mu.Lock()
	from := len(s.controls)
	s.mu.Unlock()
	for _, r := range []*pb.WatchRequest{request, createRequest(&pb.WatchCreateRequest{Key: []byte("fence"), StartRevision: fenceRevision})} {
		if err := s.client.Send(r); err != nil {
			return failed(err)
		}
	}
	// A request that is like the fence is answered by one response more.
	fences := 1
	if request.GetCreateRequest().GetStartRevision() < 0 {
		fences++
	}
	ok := s.await(func() bool {
		seen := 0
		for _, c := range s.controls[from:] {
			if c.WatchId == -1 && c.CancelReason == fenceReason {
				seen++
			}
		}
		return seen >= fences
	})
	if !ok {
		return answer{text: "no answer within " + callTimeout.String()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out answer
	for _, c := range s.controls[from : len(s.controls)-1] {
		out.messages = append(out.messages, proto.CloneOf(c))
	}
	return out
}

// sentinelID is the watch that confirm makes.
const sentinelID = 1 << 40

// confirm waits until the watches that are there have got all of the past that they get, even if that is nothing:
// another watch of the stream, made after them, must get the last thing that has happened, which was at revision.
// etcd serves watches of the past together, in rounds of 100 ms (server/storage/mvcc/watchable_store.go,
// syncWatchers); until then they are behind, and a compaction cancels them.
func (s *stream) confirm(revision int64) answer {
	made := s.ask(createRequest(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: revision, WatchId: sentinelID}))
	if made.text != "" {
		return made
	}
	if !s.await(func() bool { return s.logs[sentinelID] != nil && s.logs[sentinelID].reached >= revision }) {
		return answer{text: fmt.Sprintf("a watch from revision %d gets no event within %v", revision, callTimeout)}
	}
	ended := s.ask(cancelRequest(sentinelID))
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logs, sentinelID)
	return ended
}

func cancelRequest(id int64) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
}

const (
	// fenceRevision is one at which no watch can be made.
	fenceRevision = -1
	// fenceReason is what etcd says to that (server/etcdserver/api/v3rpc/watch.go, recvLoop).
	fenceReason = "etcdserver: mvcc: required revision has been compacted"
)

func createRequest(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// drain returns what was recorded and not compared yet, as text.
func (s *stream) drain() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, id := range sortedKeys(s.logs) {
		if id == -1 {
			s.logs[id].lines = nil // the fences
		}
		for _, line := range s.logs[id].lines {
			out = append(out, fmt.Sprintf("watch %d: %s", id, line))
		}
		s.logs[id].lines = nil
	}
	for _, revision := range s.progress {
		out = append(out, fmt.Sprintf("progress: revision %d", revision))
	}
	s.progress = nil
	return out
}

// tally adds what has come to counts.
func (s *stream) tally(counts map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, n := range s.seen {
		counts[what] += n
	}
	clear(s.seen)
}

// breaches returns the promises that the stream has broken.
func (s *stream) breaches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}
