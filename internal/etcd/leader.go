package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/okapi-kv/okapi/internal/clock"
)

// leaderWatch cuts streams whose clients want a leader when there has been none for a while
// (server/etcdserver/api/v3rpc/interceptor.go, monitorLeader): a client on the wrong side of a partition learns that it
// should go to another member.
type leaderWatch struct {
	replica Replica
	clock   clock.Clock
	// electionTimeout is the time between two looks.
	electionTimeout time.Duration

	mu      sync.Mutex
	streams map[*boundStream]struct{}
}

// missesMax is how many looks in a row may find no leader (interceptor.go, maxNoLeaderCnt): to connect anew
// costs a client more than to wait for an election.
const missesMax = 3

func newLeaderWatch(o Options) *leaderWatch {
	return &leaderWatch{
		replica: o.Replica, clock: o.Clock, electionTimeout: o.ElectionTimeout, streams: map[*boundStream]struct{}{},
	}
}

// boundStream is a stream with a context of its own.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
	cut context.CancelCauseFunc
}

// Context implements grpc.ServerStream.
func (b *boundStream) Context() context.Context { return b.ctx }

// serve handles a stream that ends with "no leader" once there has been none for too long, whatever its handler
// makes of the end of its context.
func (l *leaderWatch) serve(srv any, s grpc.ServerStream, next grpc.StreamHandler) error {
	b := &boundStream{ServerStream: s}
	b.ctx, b.cut = context.WithCancelCause(s.Context())
	defer b.cut(nil)
	l.mu.Lock()
	l.streams[b] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.streams, b)
		l.mu.Unlock()
	}()
	err := next(srv, b)
	if cause := context.Cause(b.ctx); errors.Is(cause, rpctypes.ErrGRPCNoLeader) {
		return cause
	}
	return err
}

// runLooks looks for the leader until ctx is done.
func (l *leaderWatch) runLooks(ctx context.Context) error {
	timer := l.clock.NewTimer(l.electionTimeout)
	defer timer.Stop()
	for misses := 0; ; timer.Reset(l.electionTimeout) {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C():
		}
		misses++
		if l.replica.Status().LeaderID != 0 {
			misses = 0
		}
		if misses >= missesMax {
			l.cutAll()
		}
	}
}

// cutAll ends the streams that want a leader.
func (l *leaderWatch) cutAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range l.streams { // in any order
		b.cut(rpctypes.ErrGRPCNoLeader)
	}
}
