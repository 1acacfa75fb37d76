package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// Duration and points in time are microseconds of simulated time.
const (
	millisecond = int64(1000)
	second      = 1000 * millisecond
)

// event is something that happens at a time; events at one time happen in the order in which they
// were scheduled.
type event struct {
	at, order int64
	run       func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// simWatchers is how many clients watch in each run.
const simWatchers = 4

// World is one run.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    int64
	order  int64
	queue  eventQueue
	nodes  []*node
	net    network
	check  *checks
	people []*client

	watchers []*watcher

	failure error    // the first violation
	trace   []string // the last events, for the report of a failure
	events  int
	healed  bool
}

// Result is what a run came to.
type Result struct {
	Err     error
	Trace   []string
	Events  int
	Done    int // operations with a known result
	NotDone int
	Unknown int
	// Refused counts commands that full disks did not take.
	Refused int
	Crashes int
	// Changed is how often the membership was changed.
	Changed int
	// Watched is how many events watchers were told.
	Watched int
	// Fingerprint is equal for two runs of the same seed.
	Fingerprint uint64
}

// Run runs one seed.
func Run(cfg Config) Result {
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x6f6b617069))}
	w.check = newChecks(w)
	w.net.world = w
	for id := 1; id <= cfg.Members; id++ {
		w.nodes = append(w.nodes, newNode(w, uint64(id)))
	}
	for _, n := range w.nodes {
		n.start()
	}
	for i := range cfg.Clients {
		w.people = append(w.people, newClient(w, i))
	}
	for i := range simWatchers {
		w.watchers = append(w.watchers, newWatcher(w, i))
	}
	w.after(0, w.nemesis)
	w.after(0, newTrouble(w).make)
	if cfg.script != nil {
		cfg.script(w)
	}
	w.until(cfg.FaultTime)
	w.heal()
	w.after(cfg.HealTime-5*second, w.check.service.probe)
	w.until(cfg.FaultTime + cfg.HealTime)
	if w.failure == nil {
		w.check.end()
	}
	return w.result()
}

func (w *World) result() Result {
	c := w.check
	return Result{
		Err: w.failure, Trace: w.trace, Events: w.events, Done: c.acked.done, NotDone: c.acked.notDone, Unknown: c.acked.unknown,
		Refused: c.acked.refused, Crashes: c.crashes, Changed: c.changed, Watched: c.watched, Fingerprint: c.log.fingerprint,
	}
}

// after schedules fn after a delay.
func (w *World) after(delay int64, fn func()) {
	w.order++
	heap.Push(&w.queue, event{at: w.now + max(0, delay), order: w.order, run: fn})
}

// until runs events up to a time, or to the first violation.
func (w *World) until(t int64) {
	for len(w.queue) > 0 && w.queue[0].at <= t && w.failure == nil {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.events++
		w.step(e.run)
	}
	w.now = max(w.now, t)
}

// step runs one event; a broken invariant of the program is a violation like any other.
func (w *World) step(run func()) {
	defer func() {
		if p := recover(); p != nil {
			w.fail("%v\n%s", p, stack())
		}
	}()
	run()
}

// fail records a violation; the first one ends the run.
func (w *World) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf("at %s: %s", stamp(w.now), fmt.Sprintf(format, args...))
	}
}

// traceSize is how many events a report shows.
const traceSize = 400

// note adds a line to the trace.
func (w *World) note(format string, args ...any) {
	if len(w.trace) == 2*traceSize {
		w.trace = append(w.trace[:0], w.trace[traceSize:]...)
	}
	w.trace = append(w.trace, stamp(w.now)+" "+fmt.Sprintf(format, args...))
}

func stamp(t int64) string {
	return strings.TrimSpace(fmt.Sprintf("%10.6fs", float64(t)/float64(second)))
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return w.rng.Float64() < p }

// between draws a duration.
func (w *World) between(lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + w.rng.Int64N(hi-lo)
}

// heal ends all faults: everybody is up and linked. A pause runs out by itself: what it holds up is all put off until then, ticks
// too.
func (w *World) heal() {
	w.healed = true
	w.net.heal()
	w.note("healed")
	for _, n := range w.nodes {
		n.drive.limitBytes, n.drive.stalledUntil = 0, 0
		n.drive.setFaults(vfs.Faults{})
		if !n.up && !n.left {
			n.start()
		}
	}
}
