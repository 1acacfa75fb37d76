package replica

import "sync"

// mailbox hands items from many goroutines to one, in order. It has no bound of its own: what it holds
// is bounded by the budget of proposals, by raft's limits on what is under way to each member, and by the few
// kinds of other frames, of which a member sends a handful in each tick.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	signal chan struct{} // holds a token while items may be there
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1)}
}

// put adds items and wakes the receiver.
func (b *mailbox[T]) put(items ...T) {
	b.mu.Lock()
	b.items = append(b.items, items...)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default: // it is awake already
	}
}

// spareItems is the most room that is kept for the next items: a burst does not hold memory for ever.
const spareItems = 4096

// take returns all items and leaves spare, which an earlier take returned, as the room for the next ones.
func (b *mailbox[T]) take(spare []T) []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	if cap(spare) > spareItems {
		spare = nil
	}
	clear(spare)
	b.items = spare[:0]
	return items
}
