package clock

import (
	"sync"
	"time"
)

// Manual is a clock that moves only when it is told to. NewManual makes one.
type Manual struct {
	mu sync.Mutex
	// now never runs back.
	now time.Time
	// waiting holds the timers that have yet to fire, in the order in which they were started,
	// so that timers with one deadline fire in that order.
	waiting []*manualTimer
}

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *Manual { return &Manual{now: start} }

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// NewTimer implements Clock.
func (m *Manual) NewTimer(d time.Duration) Timer {
	t := &manualTimer{clock: m, fired: make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.startLocked(t, d)
	return t
}

// Advance moves the clock by d, which is not negative, and fires every timer that is due on
// the way, in the order of their deadlines, each with its own deadline as the time of firing.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.now.Add(max(d, 0))
	for {
		next := m.earliestLocked()
		if next == nil || next.deadline.After(end) {
			break
		}
		m.now = next.deadline
		m.removeLocked(next)
		next.fired <- m.now
	}
	m.now = end
}

// Waiting returns the number of timers that have yet to fire: a test advances the clock once
// the code under test has started waiting.
func (m *Manual) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting)
}

func (m *Manual) startLocked(t *manualTimer, d time.Duration) {
	if d <= 0 {
		t.fired <- m.now
		return
	}
	t.deadline = m.now.Add(d)
	m.waiting = append(m.waiting, t)
}

func (m *Manual) earliestLocked() *manualTimer {
	var first *manualTimer
	for _, t := range m.waiting {
		if first == nil || t.deadline.Before(first.deadline) {
			first = t
		}
	}
	return first
}

// removeLocked reports whether t was waiting.
func (m *Manual) removeLocked(t *manualTimer) bool {
	for i, w := range m.waiting {
		if w == t {
			m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// manualTimer is a Timer of a Manual clock; its fields are guarded by the clock's mutex.
type manualTimer struct {
	clock    *Manual
	deadline time.Time
	fired    chan time.Time
}

// C implements Timer.
func (t *manualTimer) C() <-chan time.Time { return t.fired }

// Stop implements Timer.
func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stopLocked()
}

// Reset implements Timer.
func (t *manualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	waiting := t.stopLocked()
	t.clock.startLocked(t, d)
	return waiting
}

func (t *manualTimer) stopLocked() bool {
	waiting := t.clock.removeLocked(t)
	select {
	case <-t.fired:
	default:
	}
	return waiting
}
