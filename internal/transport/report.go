package transport

import (
	"context"
	"sync"
	"time"
)

// reports collects what the handler must be told, so that Send and SendSnapshot, which the
// handler's own goroutines call, never call back. It holds one entry a peer, however many
// frames were dropped.
type reports struct {
	wake chan struct{}

	mu          sync.Mutex
	unreachable map[uint64]bool
	ended       map[uint64]bool
	failed      map[uint64]int
}

func newReports() *reports {
	return &reports{
		wake:        make(chan struct{}, 1),
		unreachable: make(map[uint64]bool),
		ended:       make(map[uint64]bool),
		failed:      make(map[uint64]int),
	}
}

func (r *reports) dropped(to uint64) {
	r.mu.Lock()
	r.unreachable[to] = true
	r.mu.Unlock()
	signal(r.wake)
}

func (r *reports) hasEnded(peer uint64) {
	r.mu.Lock()
	r.ended[peer] = true
	r.mu.Unlock()
	signal(r.wake)
}

func (r *reports) snapshotFailed(to uint64) {
	r.mu.Lock()
	r.failed[to]++
	r.mu.Unlock()
	signal(r.wake)
}

// deliver calls h for everything collected so far, without holding the lock.
func (r *reports) deliver(h Handler) {
	r.mu.Lock()
	unreachable, ended, failed := taken(&r.unreachable), taken(&r.ended), taken(&r.failed)
	r.mu.Unlock()
	// Reports about different peers are independent, so that map order does not matter.
	for to := range unreachable {
		h.Unreachable(to)
	}
	for peer := range ended {
		h.Ended(peer)
	}
	for to, times := range failed {
		for range times {
			h.SnapshotSent(to, false)
		}
	}
}

// taken returns what a map has gathered and leaves an empty one; nil if there is nothing. The map itself stays its owner's.
func taken[V any](m *map[uint64]V) map[uint64]V {
	if len(*m) == 0 {
		return nil
	}
	all := *m
	*m = make(map[uint64]V)
	return all
}

func (t *Transport) runReports(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.reports.wake:
			t.reports.deliver(t.options.Handler)
		}
	}
}

const (
	// linePeriod is how long a repeated log line stays silent.
	linePeriod = time.Minute
	// lineKeysMax bounds the memory that strangers can make us spend on remembering them.
	lineKeysMax = 256
)

// lineLimit keeps a peer that is dialed every second, and a stranger who knocks as often,
// from filling the log: each subject gets a line a minute.
type lineLimit struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newLineLimit() *lineLimit {
	return &lineLimit{last: make(map[string]time.Time)}
}

// allow says whether a line about this subject may be written now.
func (l *lineLimit) allow(subject string) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, seen := l.last[subject]; seen && now.Sub(at) < linePeriod {
		return false
	}
	if len(l.last) >= lineKeysMax {
		for s, at := range l.last { // deleting all old ones, in any order
			if now.Sub(at) >= linePeriod {
				delete(l.last, s)
			}
		}
		if len(l.last) >= lineKeysMax {
			return false
		}
	}
	l.last[subject] = now
	return true
}

// reset lets the next line about this subject through: its state has changed meanwhile.
func (l *lineLimit) reset(subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, subject)
}
