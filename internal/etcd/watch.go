package etcd

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// watchServer serves etcdserverpb.Watch.
type watchServer struct {
	pb.UnimplementedWatchServer

	replica          Replica
	hub              *hub
	events           *eventCache
	clock            clock.Clock
	progressInterval time.Duration
	watchesMax       int
	responseBytes    int

	readers  sync.WaitGroup
	draining <-chan struct{} // closed when the door begins to drain
}

// eventCacheBytes bounds the encoded events that are kept to be sent again.
const eventCacheBytes = 16 << 20

func newWatchServer(o Options, draining <-chan struct{}) *watchServer {
	return &watchServer{
		replica: o.Replica, hub: newHub(o.Replica), events: newEventCache(eventCacheBytes), clock: o.Clock,
		progressInterval: o.WatchProgressInterval, watchesMax: o.MaxWatchesPerStream, responseBytes: o.MaxRequestBytes,
		draining: draining,
	}
}

// Watch implements etcdserverpb.WatchServer. The stream goes on when its client has nothing more to ask, as
// in etcd.
func (w *watchServer) Watch(stream pb.Watch_WatchServer) error {
	s := newWatchStream(w, stream)
	defer w.hub.disband(s)
	defer close(s.left)
	w.runReader(s)
	return (&watchSender{watchStream: s}).runSender(stream.Context())
}

// runReader takes the requests of a stream in a goroutine of its own, which ends when the stream's call has
// returned: nothing else interrupts it. The door waits for it at its end.
func (w *watchServer) runReader(s *watchStream) {
	w.readers.Go(func() {
		for {
			request, err := s.grpc.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				s.broken <- err
				return
			}
			if !s.awaitRoom() {
				return
			}
			s.take(request)
		}
	})
}

// interval is the time between two looks for watches that were told nothing: up to a tenth longer than it is set
// to, so that those that came at one time do not stay together.
func (w *watchServer) interval() time.Duration {
	return w.progressInterval + rand.N(w.progressInterval/10+1)
}

// watchStream is one call of Watch: the watches of one client, and what it is to be sent. A goroutine of its own
// takes the requests; the one of the call sends.
type watchStream struct {
	server *watchServer
	grpc   pb.Watch_WatchServer
	broken chan error    // the end of the requests; has room for one
	left   chan struct{} // closed when the call returns
	caller command.Caller
	work   chan struct{} // there may be something to send; has room for one
	room   chan struct{} // there may be room for an answer; has room for one
	nextID int64         // the reader's

	mu      sync.Mutex
	closed  bool
	watches map[int64]*watcher
	weight  int                 // of watches
	control []*pb.WatchResponse // answers to requests, at most controlMax and one more
	dirty   queue               // watches that have something to read
	wishes  []int64             // progress requests: the revisions that the answers must have, at most wishesMax
}

// The bounds of what waits for the sender.
const (
	// controlMax is how many answers may wait before no more requests are read (v3rpc/watch.go, ctrlStreamBufLen).
	controlMax = 16
	// wishesMax is how many progress requests may wait; more are dropped, as etcd does when the channel of the stream is
	// full (mvcc/watchable_store.go, chanBufLen).
	wishesMax = 128
)

func newWatchStream(w *watchServer, stream pb.Watch_WatchServer) *watchStream {
	return &watchStream{
		server: w, grpc: stream, caller: caller(stream.Context()), broken: make(chan error, 1), left: make(chan struct{}),
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), watches: map[int64]*watcher{},
	}
}

// watcher is one watch.
type watcher struct {
	stream *watchStream
	id     int64
	tree   bool
	weight int
	asked  int64 // the start revision that the client gave; 0: none
	start  int64 // the first revision that it is told of

	prev, fragment, progress bool

	// The sender's.
	cursor watch.Cursor
	told   bool // of events, since the last look for watches that were told nothing

	// The stream's lock guards the rest. from to to are the revisions that are still to be read; to is 0 if
	// there are none. In between are changes of its keys, outside of it none.
	from, to int64
	behind   bool // it catches up with history, as etcd's unsynced watchers do
	queued   bool // it is in dirty
	ended    bool // it has left the hub
	next     *watcher
}

// queue is a queue of watches; each is in it once.
type queue struct {
	first, last *watcher
}

func (q *queue) push(w *watcher) {
	w.queued = true
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
}

// pop returns the first watch; nil if there is none.
func (q *queue) pop() *watcher {
	w := q.first
	if w == nil {
		return nil
	}
	q.first, w.next, w.queued = w.next, nil, false
	if q.first == nil {
		q.last = nil
	}
	return w
}

// wake says that there may be something to send. It does not block.
func (s *watchStream) wake() {
	select {
	case s.work <- struct{}{}:
	default: // it is awake, and has yet to look
	}
}

// awaitRoom waits until another answer may be put to those that wait to be sent; false if the call has ended.
func (s *watchStream) awaitRoom() bool {
	for {
		s.mu.Lock()
		full := len(s.control) >= controlMax
		s.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-s.room:
		case <-s.left:
			return false
		}
	}
}

// take carries out a request. One of an unknown kind is ignored, as in etcd.
func (s *watchStream) take(r *pb.WatchRequest) {
	switch u := r.GetRequestUnion().(type) {
	case *pb.WatchRequest_CreateRequest:
		if u.CreateRequest != nil {
			s.create(u.CreateRequest)
		}
	case *pb.WatchRequest_CancelRequest:
		if u.CancelRequest != nil {
			s.cancel(u.CancelRequest.WatchId)
		}
	case *pb.WatchRequest_ProgressRequest:
		if u.ProgressRequest != nil {
			s.requestProgress()
		}
	}
}

// The reasons for which a watch is refused; the first two are those of etcd's mvcc/watcher.go.
const (
	reasonEmptyRange  = "mvcc: watcher range is empty"
	reasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonTooMany     = "okapi: too many watches on one stream"
)

// noWatch is the id of a response that is about no watch (clientv3.InvalidWatchID).
const noWatch = -1

// standing is what the store says to a new watch.
type standing struct {
	revision, floor int64
	tree            bool
	refused         error
}

// create begins a watch (v3rpc/watch.go, recvLoop): refusals come in etcd's order.
func (s *watchStream) create(r *pb.WatchCreateRequest) {
	span := watch.Span{Key: string(r.Key), End: string(r.RangeEnd)}
	if span.Key == "" {
		span.Key = "\x00" // the least there is
	}
	var at standing
	s.server.replica.Read(func(v state.View) {
		log := v.LogOf(span.Key, span.End)
		at.revision, at.floor, at.tree = v.Revision(), log.Floor(), log.Tree()
		at.refused = refusal(state.MayWatch(v, &s.caller, span.Key, span.End), "")
	})
	id, weight := r.WatchId, 1+(len(span.Key)+len(span.End))/weightBytes
	switch {
	case r.StartRevision < 0:
		s.refuse(at.revision, rpctypes.ErrCompacted.Error())
		return
	case at.refused != nil:
		s.refuse(at.revision, at.refused.Error())
		return
	case span.Empty():
		s.refuse(at.revision, reasonEmptyRange)
		return
	case id == 0:
		id = s.freeID()
	case s.has(id):
		s.refuse(at.revision, reasonDuplicateID)
		return
	}
	if !s.carries(weight) {
		s.refuse(at.revision, reasonTooMany)
		return
	}
	w := &watcher{
		stream: s, id: id, tree: at.tree, weight: weight, asked: r.StartRevision, start: r.StartRevision,
		prev: r.PrevKv, fragment: r.Fragment, progress: r.ProgressNotify,
	}
	if w.start == 0 {
		w.start = at.revision + 1
	}
	w.cursor = watch.NewCursor(span, w.start, filterOf(r.Filters))
	s.begin(w, at)
}

// weightBytes is how many bytes of keys a watch may have for each watch that it counts as.
const weightBytes = 512

func filterOf(filters []pb.WatchCreateRequest_FilterType) (f watch.Filter) {
	for _, one := range filters {
		switch one {
		case pb.WatchCreateRequest_NOPUT:
			f |= watch.NoPut
		case pb.WatchCreateRequest_NODELETE:
			f |= watch.NoDelete
		}
	}
	return f
}

// freeID is the next id that the client has not given itself. Ids are not used again.
func (s *watchStream) freeID() int64 {
	for s.has(s.nextID) {
		s.nextID++
	}
	s.nextID++
	return s.nextID - 1
}

func (s *watchStream) has(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches[id] != nil
}

// carries says whether the stream may have watches of that weight more.
func (s *watchStream) carries(weight int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.weight+weight <= s.server.watchesMax
}

// begin announces a watch and lets it join the hub. One that begins below the floor is announced and then
// cancelled, and its id stays in use until the client cancels it too, as in etcd.
func (s *watchStream) begin(w *watcher, at standing) {
	created := &pb.WatchResponse{Header: s.header(at.revision), WatchId: w.id, Created: true}
	if w.start < at.floor {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.ended = true
		s.addLocked(w, created)
		s.answerLocked(s.compacted(w, at.floor))
		return
	}
	s.server.hub.join(w, func(reached int64) {
		s.addLocked(w, created)
		if w.start <= reached {
			w.from, w.to, w.behind = w.start, reached, w.asked > 0 && w.asked <= at.revision
			s.dirty.push(w)
		}
	})
}

func (s *watchStream) addLocked(w *watcher, created *pb.WatchResponse) {
	if s.closed {
		return
	}
	s.watches[w.id] = w
	s.weight += w.weight
	s.answerLocked(created)
}

// compacted is the response that ends a watch whose next revision is below the floor.
func (s *watchStream) compacted(w *watcher, floor int64) *pb.WatchResponse {
	return &pb.WatchResponse{Header: s.header(0), WatchId: w.id, Canceled: true, CompactRevision: floor}
}

// refuse answers that there will be no watch.
func (s *watchStream) refuse(revision int64, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answerLocked(&pb.WatchResponse{
		Header: s.header(revision), WatchId: noWatch, Created: true, Canceled: true, CancelReason: reason,
	})
}

func (s *watchStream) answerLocked(r *pb.WatchResponse) {
	s.control = append(s.control, r)
	s.wake()
}

// cancel ends a watch. If there is none, nothing is answered.
func (s *watchStream) cancel(id int64) {
	revision := s.revision()
	s.mu.Lock()
	w := s.watches[id]
	if w != nil {
		delete(s.watches, id)
		s.weight -= w.weight
		w.ended = true
		s.answerLocked(&pb.WatchResponse{Header: s.header(revision), WatchId: id, Canceled: true})
	}
	s.mu.Unlock()
	if w != nil {
		s.server.hub.leave(w)
	}
}

// requestProgress notes that the client wants to know how far all its watches are, if all are synced. Otherwise, and without
// watches, the request is never answered (mvcc/watchable_store.go, progressIfSync).
func (s *watchStream) requestProgress() {
	revision := s.revision()
	s.mu.Lock()
	noted := len(s.wishes) < wishesMax && s.syncedLocked(revision)
	if noted {
		s.wishes = append(s.wishes, revision)
	}
	s.mu.Unlock()
	if noted {
		s.server.hub.await(s)
	}
}

// syncedLocked says whether there are watches and none of them catches up, or begins above revision.
func (s *watchStream) syncedLocked(revision int64) bool {
	some := false
	for _, w := range s.watches {
		if w.ended {
			continue
		}
		if w.behind || w.asked > revision {
			return false
		}
		some = true
	}
	return some
}

// mark notes that there is a change of the watch's keys at revision.
func (s *watchStream) mark(w *watcher, revision int64) {
	if revision < w.start {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.markLocked(w, revision, revision)
}

// markLost notes that there may be changes of the watch's keys between two revisions, some of which may be gone.
func (s *watchStream) markLost(w *watcher, from, to int64) {
	if from = max(from, w.start); from > to {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.behind = true
	s.markLocked(w, from, to)
}

func (s *watchStream) markLocked(w *watcher, from, to int64) {
	if w.ended {
		return
	}
	if w.to == 0 {
		w.from = from
	}
	w.to = max(w.to, to)
	if !w.queued {
		s.dirty.push(w)
		s.wake()
	}
}

// header is the header of a response at a revision of the store.
func (s *watchStream) header(revision int64) *pb.ResponseHeader {
	return header(s.server.replica.Status(), revision)
}

// revision is the present revision of the store.
func (s *watchStream) revision() (revision int64) {
	s.server.replica.Read(func(v state.View) { revision = v.Revision() })
	return revision
}

// watchEnd is the status with which a stream ends whose context is over: the client has gone, or the gate has cut
// it.
func watchEnd(ctx context.Context) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, context.Canceled):
		return rpctypes.ErrGRPCWatchCanceled
	case errors.Is(cause, context.DeadlineExceeded):
		return status.FromContextError(cause).Err()
	default:
		return status.Convert(cause).Err()
	}
}

// errStopped ends streams when the door drains. Clients take it for a reason to go elsewhere and go on there, and
// would take etcd's "watch canceled" for the end of the watch.
var errStopped = status.Error(codes.Unavailable, rpctypes.ErrorDesc(rpctypes.ErrGRPCStopped))
