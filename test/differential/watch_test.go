package differential

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// streamSlots is how many watch streams a script may have open.
const streamSlots = 3

// streamState is what the script knows of one stream.
type streamState struct {
	watches map[int64]*watchState
	// halfClosed says that the client's side is closed: nothing can be asked any more.
	halfClosed bool
}

// watchState is what the script knows of one watch.
type watchState struct {
	keys keyRange
	// start is the revision that was asked for, from the first of which it gets events.
	start, from     int64
	noPut, noDelete bool
	// behind says that it reads the past and may not be done with that.
	behind bool
	// compacted says that the start was compacted already: the watch is cancelled at once.
	compacted bool
}

// wants reports whether the watch gets an event.
func (w *watchState) wants(e event) bool {
	if e.revision < w.from || e.deleted && w.noDelete || !e.deleted && w.noPut {
		return false
	}
	return w.keys.covers(e.key)
}

// last returns the revision of the last event that the watch gets; 0 if it gets none.
func (w *watchState) last(history []event) int64 {
	for _, e := range slices.Backward(history) {
		if w.wants(e) {
			return e.revision
		}
	}
	return 0
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// openSlot draws a stream that is open and can be asked; -1 if there is none.
func (w *world) openSlot(r *rand.Rand) int {
	var open []int
	for slot, state := range w.streams {
		if state != nil && !state.halfClosed {
			open = append(open, slot)
		}
	}
	if len(open) == 0 {
		return -1
	}
	return pick(r, open...)
}

func (w *world) drawWatchID(slot int, r *rand.Rand) int64 {
	ids := sortedKeys(w.streams[slot].watches)
	if len(ids) == 0 || oneIn(r, 6) {
		return pick[int64](r, 0, 1, 2, 3, 9, -7)
	}
	return pick(r, ids...)
}

func (w *world) watchRequest(slot int, r *rand.Rand) *pb.WatchCreateRequest {
	out := &pb.WatchCreateRequest{
		Key: drawKey(r), PrevKv: oneIn(r, 2), Fragment: oneIn(r, 2), ProgressNotify: oneIn(r, 4),
	}
	out.RangeEnd = drawEnd(r, out.Key)
	if oneIn(r, 2) {
		out.Key, out.RangeEnd = []byte("a"), pick(r, []byte{0}, []byte("c"), []byte("z"))
	}
	if oneIn(r, 2) {
		out.StartRevision = w.someRevision(r)
	}
	if w.compacted > 1 && oneIn(r, 12) {
		out.StartRevision = 1 + r.Int64N(w.compacted)
	}
	for oneIn(r, 6) {
		out.Filters = append(out.Filters, pb.WatchCreateRequest_FilterType(pick(r, 0, 0, 1, 1, 7)))
	}
	if oneIn(r, 4) {
		out.WatchId = pick[int64](r, 1, 2, 3, 9, -7)
	}
	return out
}

// drawWatch draws a watch on one of the streams, which is opened if it is not open.
func drawWatch(w *world, r *rand.Rand) []action {
	slot := r.IntN(streamSlots)
	if state := w.streams[slot]; state != nil && state.halfClosed {
		return nil
	}
	request := w.watchRequest(slot, r)
	return []action{{
		text: fmt.Sprintf("stream %d: create %s", slot, show(request)),
		do: func(s *side) answer {
			if s.streams[slot] == nil {
				var err error
				if s.streams[slot], err = openStream(s); err != nil {
					return failed(err)
				}
			}
			return s.streams[slot].ask(createRequest(proto.CloneOf(request)))
		},
		learn: func(w *world, a answer) { w.learnWatch(slot, request, a) },
	}}
}

func (w *world) learnWatch(slot int, request *pb.WatchCreateRequest, a answer) {
	if w.streams[slot] == nil {
		w.streams[slot] = &streamState{watches: map[int64]*watchState{}}
	}
	if len(a.messages) == 0 {
		return
	}
	created := a.messages[0].(*pb.WatchResponse)
	if created.Canceled {
		return
	}
	state := &watchState{
		keys:  keyRange{string(request.Key), string(request.RangeEnd)},
		start: request.StartRevision, from: request.StartRevision,
	}
	if len(request.Key) == 0 {
		state.keys.key = "\x00"
	}
	if request.StartRevision == 0 {
		state.from = created.Header.Revision + 1
	}
	state.compacted = request.StartRevision > 0 && request.StartRevision < w.compacted
	state.behind = request.StartRevision > 0 && request.StartRevision <= created.Header.Revision && !state.compacted
	state.noPut = slices.Contains(request.Filters, pb.WatchCreateRequest_NOPUT)
	state.noDelete = slices.Contains(request.Filters, pb.WatchCreateRequest_NODELETE)
	w.streams[slot].watches[created.WatchId] = state
}

// drawCancel draws the end of a watch. All events must have arrived: etcd may send its answer before or after
// those that are under way.
func drawCancel(w *world, r *rand.Rand) []action {
	slot := w.openSlot(r)
	if slot < 0 {
		return nil
	}
	id := w.drawWatchID(slot, r)
	return []action{cancelAction(slot, id)}
}

func cancelAction(slot int, id int64) action {
	return action{
		text:   fmt.Sprintf("stream %d: cancel watch %d", slot, id),
		settle: true,
		do:     func(s *side) answer { return s.streams[slot].ask(cancelRequest(id)) },
		learn:  func(w *world, _ answer) { delete(w.streams[slot].watches, id) },
	}
}

// drawProgress draws a request for progress. It is answered if every watch of the stream has all that there is
// and waits for no later revision; otherwise never. A watch that was cancelled because its start is compacted is
// cancelled by the client first, as etcd's Go client does: until then etcd takes it for one that is behind, and answers
// no request for progress of that stream (server/storage/mvcc/watchable_store.go, progressIfSync, looks for it among
// the synced). okapi answers.
func drawProgress(w *world, r *rand.Rand) []action {
	slot := w.openSlot(r)
	if slot < 0 {
		return nil
	}
	var out []action
	answered := false
	for _, id := range sortedKeys(w.streams[slot].watches) {
		if w.streams[slot].watches[id].compacted {
			out = append(out, cancelAction(slot, id))
		} else {
			answered = true
		}
	}
	for _, watch := range w.streams[slot].watches {
		answered = answered && (watch.compacted || watch.start <= w.revision)
	}
	return append(out, progressAction(slot, answered))
}

func progressAction(slot int, answered bool) action {
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	return action{
		text:   fmt.Sprintf("stream %d: ask for progress (answered: %v)", slot, answered),
		settle: true,
		do: func(s *side) answer {
			stream := s.streams[slot]
			if err := stream.client.Send(request); err != nil {
				return failed(err)
			}
			if answered && !stream.await(func() bool { return len(stream.progress) > 0 }) {
				return answer{text: "no progress within " + callTimeout.String()}
			}
			return answer{}
		},
	}
}

// drawHalfClose draws the end of the client's side of a stream: its watches go on.
func drawHalfClose(w *world, r *rand.Rand) []action {
	slot := w.openSlot(r)
	if slot < 0 {
		return nil
	}
	return []action{{
		text:   fmt.Sprintf("stream %d: close the client's side", slot),
		settle: true,
		do: func(s *side) answer {
			if err := s.streams[slot].client.CloseSend(); err != nil {
				return failed(err)
			}
			return answer{}
		},
		learn: func(w *world, _ answer) { w.streams[slot].halfClosed = true },
	}}
}

// drawClose draws the end of a stream.
func drawClose(w *world, r *rand.Rand) []action {
	slot := r.IntN(streamSlots)
	if w.streams[slot] == nil {
		return nil
	}
	return []action{{
		text:   fmt.Sprintf("stream %d: close", slot),
		settle: true,
		do: func(s *side) answer {
			s.streams[slot].close()
			s.streams[slot] = nil
			return answer{}
		},
		learn: func(w *world, _ answer) { w.streams[slot] = nil },
	}}
}
