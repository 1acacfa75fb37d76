package replica

import (
	"slices"
	"sync"
)

// gate lets readers through once an index is applied.
type gate struct {
	mu      sync.Mutex
	applied uint64
	waiting []gated // by index
	reads   map[uint64]chan<- error
	next    uint64
	closed  error // why nobody gets through any more
}

type gated struct {
	index uint64
	done  chan<- error
}

func newGate(applied uint64) *gate {
	return &gate{applied: applied, reads: make(map[uint64]chan<- error)}
}

// register adds a reader who waits for a read index; done must have room for one.
func (g *gate) register(done chan<- error) (id uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return 0, g.closed
	}
	g.next++
	g.reads[g.next] = done
	return g.next, nil
}

// forget drops a reader who has given up.
func (g *gate) forget(id uint64) {
	g.mu.Lock()
	delete(g.reads, id)
	g.mu.Unlock()
}

// ready says that readers may go on once index is applied.
func (g *gate) ready(r ReadReady) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range r.IDs {
		done := g.reads[id]
		if done == nil {
			continue
		}
		delete(g.reads, id)
		if r.Index <= g.applied {
			done <- nil
			continue
		}
		at, _ := slices.BinarySearchFunc(g.waiting, r.Index+1, func(w gated, i uint64) int {
			if w.index < i {
				return -1
			}
			return 1
		})
		g.waiting = slices.Insert(g.waiting, at, gated{r.Index, done})
	}
}

// advance says that index is applied and readable.
func (g *gate) advance(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = max(g.applied, index)
	n := 0
	for n < len(g.waiting) && g.waiting[n].index <= g.applied {
		g.waiting[n].done <- nil
		n++
	}
	g.waiting = g.waiting[n:]
}

// close sends everyone away.
func (g *gate) close(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = err
	for _, w := range g.waiting {
		w.done <- err
	}
	for _, done := range g.reads { // in any order: each is a goroutine of its own
		done <- err
	}
	g.waiting, g.reads = nil, nil
}
