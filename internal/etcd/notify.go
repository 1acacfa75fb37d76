package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
)

// watchSender is the sending side of a stream: one goroutine's.
type watchSender struct {
	*watchStream

	reader  watch.Reader[state.KeyValue]
	log     watchLog // that is being read
	changes []change // that are being sent
	pieces  [][]byte // encoded, of the response that is being sent
}

// runSender sends what there is to send until the stream ends, and returns the status that ends it.
func (s *watchSender) runSender(ctx context.Context) error {
	timer := s.server.clock.NewTimer(s.server.interval())
	defer timer.Stop()
	for {
		busy, err := s.sendNext()
		if err == nil {
			err = s.pause(ctx, timer, busy)
		}
		if err != nil {
			return err
		}
	}
}

// pause waits for something to send, unless the stream is busy, and looks whether it has ended.
func (s *watchSender) pause(ctx context.Context, timer clock.Timer, busy bool) error {
	if busy {
		s.wake()
	}
	select {
	case <-s.work:
		return nil
	case <-timer.C():
		timer.Reset(s.server.interval())
		return s.sendOverdue()
	case <-ctx.Done():
		return watchEnd(ctx)
	case err := <-s.broken:
		if ctx.Err() != nil {
			return watchEnd(ctx)
		}
		return err
	case <-s.server.draining:
		return errStopped
	}
}

// sendNext sends one thing: the oldest answer, or the changes of the watch that has waited for longest, or else
// a bookmark. It returns false if there is nothing.
func (s *watchSender) sendNext() (busy bool, err error) {
	done := s.server.hub.done.Load() // before the look at dirty: who has something to read up to done is there
	s.mu.Lock()
	if len(s.control) > 0 {
		r := s.nextAnswerLocked()
		s.mu.Unlock()
		return true, s.grpc.Send(r)
	}
	w := s.dirty.pop()
	if w == nil {
		r, early := s.bookmarkLocked(done)
		s.mu.Unlock()
		if early {
			s.server.hub.await(s.watchStream)
		}
		if r == nil {
			return false, nil
		}
		return true, s.grpc.Send(r)
	}
	if w.ended {
		s.mu.Unlock()
		return true, nil
	}
	from, to, behind := w.from, w.to, w.behind
	w.from, w.to = 0, 0
	s.mu.Unlock()
	w.cursor.Skip(from)
	return true, s.deliver(w, to, behind)
}

// nextAnswerLocked takes the oldest answer to a request from those that wait.
func (s *watchStream) nextAnswerLocked() *pb.WatchResponse {
	r := s.control[0]
	s.control[0] = nil
	s.control = s.control[1:]
	select {
	case s.room <- struct{}{}:
	default: // it is known that there is room
	}
	return r
}

// The bounds of what is read for one watch before it is the next one's turn.
const (
	turnChanges = 256
	turnEntries = stepEntries
)

// deliver sends the changes of a watch up to revision to, or some of them; then it waits for its next turn. behind says
// that it catches up with history: the header then has the revision of the store, as etcd's have
// (mvcc/watchable_store.go, syncWatchers), and otherwise that of the last event.
func (s *watchSender) deliver(w *watcher, to int64, behind bool) error {
	s.log = watchLog{watcher: w, hub: s.server.hub, to: to, caller: &s.caller}
	var err error
	var revision, floor int64
	for again := true; again && err == nil; again = s.reader.Midway() {
		s.server.replica.Read(func(v state.View) {
			s.log.open(v)
			revision, floor = v.Revision(), s.log.log.Floor()
			s.changes, err = s.reader.Read(&w.cursor, &s.log, watch.Bounds{Changes: turnChanges, Entries: turnEntries}, s.changes)
		})
	}
	if !behind {
		revision = 0
	}
	sent := s.send(w, revision)
	s.forget()
	switch {
	case sent != nil:
		return sent
	case err != nil:
		return s.expire(w, floor)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch next := w.cursor.Next(); {
	case w.ended:
	case next <= to:
		s.markLocked(w, next, to)
		w.from = next
	case w.to == 0:
		w.behind = false
	}
	return nil
}

// keptChanges is how many changes a stream keeps room for.
const keptChanges = 2 * turnChanges

// forget lets go of the changes that were sent, and of the view that they were read from.
func (s *watchSender) forget() {
	s.log = watchLog{}
	clear(s.changes)
	clear(s.pieces)
	s.changes, s.pieces = s.changes[:0], s.pieces[:0]
	if cap(s.changes) > keptChanges {
		s.changes = nil
	}
	if cap(s.pieces) > keptChanges {
		s.pieces = nil
	}
}

// expire ends a watch whose next revision has fallen below the floor.
func (s *watchSender) expire(w *watcher, floor int64) error {
	s.server.hub.leave(w)
	s.mu.Lock()
	ended := w.ended
	w.ended = true
	s.mu.Unlock()
	if ended {
		return nil // the client has cancelled it, and is told so
	}
	return s.grpc.Send(s.compacted(w, floor))
}

// fragmentOverheadBytes is what a response may be larger than a request before it is split (server/config/config.go,
// grpcOverheadBytes).
const fragmentOverheadBytes = 512 << 10

// send sends s.changes to a watch: in as many responses as it takes to keep each to about the size of a request, but
// never so that the changes of a revision are apart. revision is for the headers; 0 is that of the last change of
// each.
func (s *watchSender) send(w *watcher, revision int64) error {
	w.told = w.told || len(s.changes) > 0
	ctx := s.grpc.Context()
	out := outgoingOf(ctx)
	for rest := s.changes; len(rest) > 0; {
		n, size := nextResponse(rest, s.server.responseBytes)
		if !out.tryReserve(size) { // the client leaves much unread: small responses pass all the same
			n, size = nextResponse(rest, smallBytes)
			if err := out.reserve(ctx, size); err != nil {
				return err
			}
		}
		s.pieces = s.pieces[:0]
		for i := range rest[:n] {
			s.pieces = append(s.pieces, s.server.events.encode(&rest[i]))
		}
		at := revision
		if at == 0 {
			at = rest[n-1].Revision
		}
		err := s.sendEvents(w, s.header(at), size)
		out.release()
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// nextResponse returns how many of the changes go into the next response, of at most bytesMax unless one revision is
// larger, and their size.
func nextResponse(changes []change, bytesMax int) (n, size int) {
	for n < len(changes) {
		end, more := n, 0
		for ; end < len(changes) && changes[end].Revision == changes[n].Revision; end++ {
			more += eventSize(&changes[end])
		}
		if n > 0 && size+more > bytesMax {
			break
		}
		n, size = end, size+more
	}
	return n, size
}

// sendEvents sends s.pieces, which have size bytes, in one response, or in fragments if they are too large and
// the client can put those together (v3rpc/watch.go, sendFragments). Nothing comes between fragments.
func (s *watchSender) sendEvents(w *watcher, h *pb.ResponseHeader, size int) error {
	limit := s.server.responseBytes + fragmentOverheadBytes
	whole := appendWatchHead(nil, h, w.id, false)
	if !w.fragment || len(s.pieces) < 2 || len(whole)+size < limit {
		return s.sendPieces(whole, s.pieces)
	}
	part := appendWatchHead(nil, h, w.id, true)
	for rest := s.pieces; len(rest) > 0; {
		size, n := len(part), 0
		for n < len(rest) && (n == 0 || size+len(rest[n]) < limit) {
			size += len(rest[n])
			n++
		}
		head := part
		if n == len(rest) {
			head = whole
		}
		if err := s.sendPieces(head, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (s *watchSender) sendPieces(head []byte, pieces [][]byte) error {
	var b builder
	b.grow(len(head), pieces)
	b.add(head)
	for _, p := range pieces {
		b.add(p)
	}
	return s.grpc.SendMsg(b.message())
}

// bookmarkLocked returns the answer to the oldest progress request; nil if there is none. No watch has anything to
// read up to done, which has to be at least the revision that the store had at the request, and not below those at which
// watches were announced; else it is too early.
func (s *watchStream) bookmarkLocked(done int64) (r *pb.WatchResponse, early bool) {
	for len(s.wishes) > 0 {
		least := s.wishes[0]
		for _, w := range s.watches {
			if w.asked == 0 && !w.ended {
				least = max(least, w.start-1)
			}
		}
		if done < least {
			return nil, true
		}
		s.wishes = s.wishes[1:]
		if s.syncedLocked(done) {
			return &pb.WatchResponse{Header: s.header(done), WatchId: noWatch}, false
		}
	}
	return nil, false
}

// sendOverdue tells the watches that want it, and were told nothing since the last time, how far they are. Those that
// have something to read are passed over.
func (s *watchSender) sendOverdue() error {
	done := s.server.hub.done.Load() // before the look at the watches: they have been marked up to there
	var overdue []int64
	s.mu.Lock()
	for len(s.control) > 0 { // first, so that no watch is told anything before it was announced
		r := s.nextAnswerLocked()
		s.mu.Unlock()
		if err := s.grpc.Send(r); err != nil {
			return err
		}
		s.mu.Lock()
	}
	for id, w := range s.watches {
		known := w.asked <= done && (w.asked > 0 || w.start <= done+1)
		if w.progress && !w.told && !w.ended && w.to == 0 && known {
			overdue = append(overdue, id)
		}
		w.told = false
	}
	s.mu.Unlock()
	for _, id := range overdue {
		if err := s.grpc.Send(&pb.WatchResponse{Header: s.header(done), WatchId: id}); err != nil {
			return err
		}
	}
	return nil
}

// watchLog is the part of a change log that a watch reads. It implements watch.Log.
type watchLog struct {
	watcher *watcher
	hub     *hub
	caller  *command.Caller
	to      int64 // the last revision to read

	log  state.ChangeLog
	head int64
	kept *moment // what is after it can be read, below the floor too; nil: nothing is

	entry watch.Entry[state.KeyValue] // that is told
}

// open sets the log to a view.
func (l *watchLog) open(v state.View) {
	l.log, l.head, l.kept = v.Log(l.watcher.tree), v.Revision(), l.hub.kept.Load()
	if l.kept != nil && l.kept.history != l.log.History() {
		l.kept = nil
	}
}

// Floor implements watch.Log.
func (l *watchLog) Floor() int64 {
	if l.kept != nil {
		return min(l.log.Floor(), l.kept.revision+1)
	}
	return l.log.Floor()
}

// Head implements watch.Log.
func (l *watchLog) Head() int64 { return min(l.head, l.to) }

// Changes implements watch.Log.
func (l *watchLog) Changes(revision int64, after uint64, fn func(*watch.Entry[state.KeyValue]) bool) {
	floor, head := l.log.Floor(), l.Head()
	span := l.watcher.cursor.Span()
	entry := &l.entry
	entry.Revision = revision
	each := func(c *state.Change, seq uint64) bool {
		*entry = watch.Entry[state.KeyValue]{Revision: entry.Revision, Seq: seq, Hidden: true}
		if c == nil {
			return fn(entry)
		}
		if c.Revision < revision {
			return true // kept from below what is asked for
		}
		if c.Revision > head {
			return false
		}
		entry.Revision = c.Revision
		if span.Contains(c.Key) && c.ReadableBy(l.caller) {
			l.fill(entry, c, floor)
		}
		return fn(entry)
	}
	switch {
	case after > 0:
		l.log.EachAfter(after, each)
	case revision >= floor:
		l.log.EachFrom(revision, each)
	default:
		l.log.EachAfter(l.kept.seq, each)
	}
}

// fill completes an entry that the watch may learn of. What was before the floor is not told: etcd reads it when
// it sends, and finds it compacted.
func (l *watchLog) fill(e *watch.Entry[state.KeyValue], c *state.Change, floor int64) {
	e.Hidden, e.Key, e.Deleted = false, c.Key, c.Deleted
	if !c.Deleted {
		e.Version = c.KeyValue()
	}
	before, live := c.Before()
	e.Live = live || c.Deleted // only what is there can be deleted
	if live && l.watcher.prev && c.Revision > floor {
		e.HasBefore, e.Before = true, before
	}
}
