package etcd

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// keepAlivesMax bounds the keep-alives of a stream that are received and not yet asked for. A client that sends more
// than it takes answers for fills this and then the windows of its connection: it keeps nobody else waiting.
const keepAlivesMax = 128

// LeaseKeepAlive implements etcdserverpb.LeaseServer. Requests are answered in their order. What comes while the
// leader is asked for those before is asked for together: etcd asks for one after the other.
func (l *leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	return l.serveKeepAlives(stream)
}

// serveKeepAlives answers the requests of a stream until it ends or the server drains. What it starts ends with the
// stream, that is when this function has returned: nothing else ends a Recv.
func (l *leaseServer) serveKeepAlives(stream pb.Lease_LeaseKeepAliveServer) error {
	in := &keepAliveQueue{ids: make(chan int64, keepAlivesMax)}
	go in.fill(stream)
	for {
		ids, err := in.next(stream.Context(), l.draining)
		if len(ids) == 0 {
			return err
		}
		if err := l.answerKeepAlives(stream, ids); err != nil {
			return err
		}
	}
}

// keepAliveQueue holds the ids that a stream has asked to keep alive.
type keepAliveQueue struct {
	ids chan int64
	end error // why no more come; set before ids is closed
}

// fill takes requests off a stream until there are no more.
func (q *keepAliveQueue) fill(stream pb.Lease_LeaseKeepAliveServer) {
	defer close(q.ids)
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			q.end = err
			return
		}
		select {
		case q.ids <- r.GetID():
		case <-stream.Context().Done():
			return
		}
	}
}

// next waits for requests and takes all that are there. Without any, the error is how the stream ends.
func (q *keepAliveQueue) next(ctx context.Context, draining <-chan struct{}) ([]int64, error) {
	var ids []int64
	select {
	case id, ok := <-q.ids:
		if !ok {
			return nil, q.end
		}
		ids = append(ids, id)
	case <-draining:
		return nil, rpctypes.ErrGRPCStopped
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	for len(ids) < keepAlivesMax {
		select {
		case id, ok := <-q.ids:
			if !ok {
				return ids, nil
			}
			ids = append(ids, id)
		default:
			return ids, nil
		}
	}
	return ids, nil
}

// answerKeepAlives keeps leases alive and says so. The header is that of before, as in etcd: a client must not be told
// that a lease lived at a revision at which it had been revoked already (server/etcdserver/api/v3rpc/lease.go).
func (l *leaseServer) answerKeepAlives(stream pb.Lease_LeaseKeepAliveServer, ids []int64) error {
	header, ask := l.beforeKeepAlive(ids)
	ttls, err := l.keepAlive(stream.Context(), ask)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := stream.Send(replyKeepAlive(header, id, ttls[id])); err != nil {
			return err
		}
	}
	return nil
}

// beforeKeepAlive returns the header for the answers, and which of the ids to ask the leader for: sessions are no
// leases, and must not live on because of an etcd client.
func (l *leaseServer) beforeKeepAlive(ids []int64) (header *pb.ResponseHeader, ask []int64) {
	var revision int64
	ask = make([]int64, 0, len(ids))
	l.kv.replica.Read(func(v state.View) {
		revision = v.Revision()
		for _, id := range ids {
			if lease, ok := v.Lease(id); !ok || !lease.Session {
				ask = append(ask, id)
			}
		}
	})
	return l.kv.header(revision), ask
}

// keepAlive keeps leases alive and returns the TTL of those that there are, in seconds.
func (l *leaseServer) keepAlive(ctx context.Context, ids []int64) (ttls map[int64]int64, err error) {
	limited, cancel := context.WithTimeout(ctx, l.kv.requestTimeout)
	defer cancel()
	kept, err := l.leases.KeepAlive(limited, ids)
	if err != nil {
		return nil, readError(ctx, err)
	}
	var alive []int64
	for i, id := range ids {
		if kept[i] {
			alive = append(alive, id)
		}
	}
	ttls, missing := l.readTTLs(alive)
	if !missing {
		return ttls, nil
	}
	// The leader knows leases that are not here yet, or not any more.
	if err := l.kv.readIndex(ctx); err != nil {
		return nil, err
	}
	ttls, _ = l.readTTLs(alive)
	return ttls, nil
}
