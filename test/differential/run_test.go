package differential

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// settleEvery is how many steps pass at most between two comparisons of the streams.
const settleEvery = 40

// tally counts what was done.
type tally struct {
	operations, restarts int
	// kinds are the operations of each kind, refused those that both refused, by the text, received what came over
	// watch streams, explained the differences that are explained, by their name.
	kinds, refused, received, explained map[string]int
}

func newTally() *tally {
	return &tally{kinds: map[string]int{}, refused: map[string]int{}, received: map[string]int{}, explained: map[string]int{}}
}

// difference is where two servers did not do the same.
type difference struct {
	// step is the number of the step that saw it.
	step int
	text string
	// trace is the last requests before it.
	trace []string
}

// run is one script on two fresh servers.
type run struct {
	t testing.TB
	// reference is the real etcd; subject is what is compared with it.
	reference, subject *side
	script             script
	tally              *tally

	world *world
	// tap is a watch of everything at the reference, from which follows what other watches get; nil while
	// the servers are down.
	tap   *stream
	trace []string
}

// do runs the script to its end or to the first difference, which it returns.
func (r *run) do() *difference {
	for _, s := range r.sides() {
		s.start(r.t)
		defer s.stop()
	}
	r.world = &world{revision: 1}
	if text := r.openTap(); text != "" {
		return &difference{text: text}
	}
	defer r.closeTap()
	for i, step := range r.script.steps {
		text := r.step(step)
		if text == "" && i%settleEvery == settleEvery-1 {
			text = r.settle()
		}
		if text != "" {
			return r.differs(step, text)
		}
	}
	if text := r.finish(); text != "" {
		return r.differs(-1, text)
	}
	return nil
}

func (r *run) sides() []*side { return []*side{r.reference, r.subject} }

func (r *run) differs(step int, text string) *difference {
	return &difference{step: step, text: text, trace: r.trace}
}

// step runs one step and says what differed.
func (r *run) step(number int) string {
	random := r.script.random(number)
	kind := kindOf(random)
	if kind.draw == nil {
		return r.restart(number)
	}
	for _, a := range kind.draw(r.world, random) {
		r.tally.operations++
		r.tally.kinds[kind.name]++
		if text := r.act(number, &a); text != "" {
			return text
		}
	}
	return ""
}

// numbers are what makes texts of one refusal differ.
var numbers = regexp.MustCompile(`[0-9]+`)

// act makes one request on both sides and compares the answers.
func (r *run) act(number int, a *action) string {
	if a.settle {
		if text := r.settle(); text != "" {
			return text
		}
	}
	want, got := r.both(a)
	r.note(number, a.text, want)
	if text := compared(a, want, got, r.tally.explained); text != "" {
		return fmt.Sprintf("%s\n-%s +%s:\n%s", a.text, r.reference.name, r.subject.name, text)
	}
	if want.text != "" {
		r.tally.refused[fmt.Sprintf("%v %q", want.code, numbers.ReplaceAllString(want.text, "N"))]++
	}
	for _, m := range want.messages {
		if withHeader, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
			r.world.revision = max(r.world.revision, withHeader.GetHeader().GetRevision())
		}
	}
	if a.learn != nil {
		a.learn(r.world, want)
	}
	return ""
}

// both makes a request on both sides at once.
func (r *run) both(a *action) (want, got answer) {
	var done sync.WaitGroup
	done.Go(func() { want = a.do(r.reference) })
	got = a.do(r.subject)
	done.Wait()
	return want, got
}

// traceLength is how many requests before a difference are shown.
const traceLength = 30

func (r *run) note(number int, text string, want answer) {
	line := fmt.Sprintf("step %d: %s", number, text)
	if want.text != "" {
		line += fmt.Sprintf("\n    refused: %v %q", want.code, want.text)
	}
	for _, m := range want.messages {
		line += "\n    " + show(m)
	}
	if *verboseFlag {
		r.t.Log(line)
	}
	r.trace = append(r.trace, line)
	if len(r.trace) > traceLength {
		r.trace = r.trace[1:]
	}
}

// restart kills both servers when nothing is under way and starts them again.
func (r *run) restart(number int) string {
	if text := r.settle(); text != "" {
		return text
	}
	r.tally.restarts++
	r.tally.kinds[kindRestart]++
	r.closeTap()
	for _, s := range r.sides() {
		s.stop()
	}
	for _, s := range r.sides() {
		s.start(r.t)
	}
	clear(r.world.streams[:])
	r.note(number, "kill both and start them again", answer{})
	return r.openTap()
}

// openTap opens the watch of everything.
func (r *run) openTap() string {
	var err error
	if r.tap, err = openStream(r.reference); err != nil {
		return fmt.Sprintf("%s: open a watch stream: %v", r.reference, err)
	}
	r.tap.keep = true
	r.tap.ask(createRequest(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: r.world.revision + 1}))
	return ""
}

func (r *run) closeTap() {
	if r.tap != nil {
		r.tap.close()
		r.tap = nil
	}
}

// settle waits until every watch has got all that has happened, and compares what they got.
func (r *run) settle() string {
	if text := r.readHistory(); text != "" {
		return text
	}
	for slot, state := range r.world.streams {
		if state == nil {
			continue
		}
		if text := r.confirm(slot, state); text != "" {
			return text
		}
		var got [2][]string
		for i, s := range r.sides() {
			if text := caughtUp(s, slot, state, r.world.history); text != "" {
				return text
			}
			got[i] = s.streams[slot].drain()
			if broken := s.streams[slot].breaches(); len(broken) > 0 {
				return fmt.Sprintf("%s, stream %d, a response that %s", s.name, slot, strings.Join(broken, "\n"))
			}
		}
		r.reference.streams[slot].tally(r.tally.received)
		if text := gocmp.Diff(got[0], got[1]); text != "" {
			return fmt.Sprintf("stream %d\n-%s +%s:\n%s", slot, r.reference.name, r.subject.name, text)
		}
	}
	return ""
}

// confirm waits until the watches of a stream that read the past are done with it.
func (r *run) confirm(slot int, state *streamState) string {
	behind := false
	for _, watch := range state.watches {
		behind = behind || watch.behind
		watch.behind = false
	}
	if !behind || r.world.revision == 1 {
		return ""
	}
	revision := r.world.revision
	confirm := action{do: func(s *side) answer { return s.streams[slot].confirm(revision) }}
	want, got := r.both(&confirm)
	return compared(&confirm, want, got, r.tally.explained)
}

// readHistory waits until the tap has told everything up to now.
func (r *run) readHistory() string {
	w, tap := r.world, r.tap
	reached := int64(1)
	if len(w.history) > 0 {
		reached = w.history[len(w.history)-1].revision
	}
	ok := tap.await(func() bool {
		if n := len(tap.events); n > 0 {
			reached = tap.events[n-1].revision
		}
		return reached >= w.revision
	})
	if !ok {
		return fmt.Sprintf("%s: a watch of everything has reached revision %d, the store is at %d", r.reference, reached, w.revision)
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	w.history = append(w.history, tap.events...)
	tap.events = nil
	for _, log := range tap.logs {
		log.lines = nil
	}
	return ""
}

// caughtUp waits until the watches of a stream have got all that they get, and says which has not.
func caughtUp(s *side, slot int, state *streamState, history []event) string {
	stream := s.streams[slot]
	for _, id := range sortedKeys(state.watches) {
		watch := state.watches[id]
		last := watch.last(history)
		ok := stream.await(func() bool {
			log := stream.logs[id]
			if log == nil {
				return false
			}
			if watch.compacted {
				return log.canceled
			}
			return log.reached >= last && stream.chain == nil
		})
		if !ok {
			return fmt.Sprintf("%s, stream %d, watch %d: no event of revision %d, or no cancellation (%v), within %v",
				s.name, slot, id, last, watch.compacted, callTimeout)
		}
	}
	return ""
}

// finish compares the streams a last time, and all that is in the stores.
func (r *run) finish() string {
	if text := r.settle(); text != "" {
		return text
	}
	everything := append(drawLeases(nil, nil), rangeAction(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}))
	for revision := r.world.compacted; revision <= r.world.revision; revision += 1 + (r.world.revision-r.world.compacted)/20 {
		everything = append(everything, rangeAction(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: max(1, revision)}))
	}
	for _, a := range everything {
		if text := r.act(-1, &a); text != "" {
			return text
		}
	}
	return ""
}
