package replica

import (
	"slices"
	"sync"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Waiters leads results back to those who asked. The Member notes to which leader's term a command was
// addressed, the Applier hands in results and tells when a newer term begins. It is safe for
// concurrent use; done functions are called without its lock.
type Waiters struct {
	mu       sync.Mutex
	next     uint64
	byNumber map[uint64]*waiter
}

// waiter is one who waits for the outcome of one command.
type waiter struct {
	done func(state.Result, error)
	term uint64 // of the leader it was handed to; 0 while it has not left this member
}

// NewWaiters starts numbering after first, which must differ between any two runs of a member: results
// of an earlier run, met again in the log, must not find a waiter of this one.
func NewWaiters(first uint64) *Waiters {
	return &Waiters{next: first, byNumber: make(map[uint64]*waiter)}
}

// Add registers a waiter and returns the number of its command.
func (w *Waiters) Add(done func(state.Result, error)) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.byNumber[w.next] = &waiter{done: done}
	return w.next
}

// addressed notes that commands were handed to the leader of term.
func (w *Waiters) addressed(term uint64, numbers []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range numbers {
		if p := w.byNumber[n]; p != nil {
			p.term = term
		}
	}
}

// count tells how many wait.
func (w *Waiters) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byNumber)
}

// take removes a waiter; nil if there is none.
func (w *Waiters) take(number uint64) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.byNumber[number]
	delete(w.byNumber, number)
	return p
}

// Fail ends commands with err, in order.
func (w *Waiters) Fail(numbers []uint64, err error) {
	for _, n := range numbers {
		if p := w.take(n); p != nil {
			p.done(state.Result{}, err)
		}
	}
}

// lost returns, in order, the commands that were handed to leaders of terms before term. When an entry of
// term has been applied and they were not seen, they are not done.
func (w *Waiters) lost(term uint64) []uint64 {
	return w.find(func(p *waiter) bool { return p.term != 0 && p.term < term })
}

// All returns every command that is waited for, in order.
func (w *Waiters) All() []uint64 {
	return w.find(func(*waiter) bool { return true })
}

func (w *Waiters) find(match func(*waiter) bool) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []uint64
	for n, p := range w.byNumber {
		if match(p) {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found
}
