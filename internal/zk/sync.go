package zk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// syncTimeout bounds one round of reading the index; the connections whose syncs were part of a
// round that failed are closed, as ZooKeeper closes them when it loses the leader.
const syncTimeout = 10 * time.Second

// syncs carries out the sync requests of all connections. Those that arrive while a round is
// under way share the next one. Their number is bounded by the requests that connections may have
// under way.
type syncs struct {
	replica Replica

	mu      sync.Mutex
	waiting []waitingSync
	closed  bool
	// more holds one token if waiting may not be empty.
	more chan struct{}
}

// waitingSync is the sync that is item n of a connection.
type waitingSync struct {
	conn *conn
	n    uint64
}

func newSyncs(r Replica) *syncs { return &syncs{replica: r, more: make(chan struct{}, 1)} }

// add makes the sync that is item n of c part of the next round.
func (s *syncs) add(c *conn, n uint64) {
	if !s.enqueue(waitingSync{c, n}) {
		c.inbox.complete(n, state.Result{}, errShutdown)
	}
}

func (s *syncs) enqueue(w waitingSync) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.waiting = append(s.waiting, w)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return true
}

// take empties the list.
func (s *syncs) take() []waitingSync {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.waiting
	s.waiting = nil
	return taken
}

// run does one round after the other until ctx ends; syncs that wait then fail.
func (s *syncs) run(ctx context.Context) {
	for {
		select {
		case <-s.more:
			s.round(ctx)
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			s.mu.Unlock()
			s.finish(s.take(), errShutdown)
			return
		}
	}
}

func (s *syncs) round(ctx context.Context) {
	waiting := s.take()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	err := s.replica.ReadIndex(ctx)
	if err != nil {
		err = fmt.Errorf("read index: %w", err)
	}
	s.finish(waiting, err)
}

func (s *syncs) finish(waiting []waitingSync, err error) {
	for _, w := range waiting {
		w.conn.inbox.complete(w.n, state.Result{}, err)
	}
}
