package zk

import (
	"sync"
	"sync/atomic"
)

// budget bounds the bytes of all unanswered requests of a server together. When it is used up, no
// connection reads from its socket until something has been answered; each may overdraw it by the
// one request that it has read.
type budget struct {
	limit int64
	used  atomic.Int64
	// waiting counts those in wait.
	waiting atomic.Int32

	mu     sync.Mutex
	more   sync.Cond
	closed bool
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.more.L = &b.mu
	return b
}

// add takes n bytes.
func (b *budget) add(n int) { b.used.Add(int64(n)) }

// release gives n bytes back.
func (b *budget) release(n int) {
	if b.used.Add(-int64(n)) < b.limit && b.waiting.Load() > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.more.Broadcast()
	}
}

// usedUp reports whether wait would wait.
func (b *budget) usedUp() bool { return b.used.Load() >= b.limit }

// wait returns when the budget is not used up; false if it was closed.
func (b *budget) wait() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for b.usedUp() && !b.closed {
		b.more.Wait()
	}
	return !b.closed
}

// close lets everybody go who waits.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Broadcast()
}
