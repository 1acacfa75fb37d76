package etcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// leaseServer serves etcdserverpb.Lease. Each method is the straight line of its request; the stream of
// keep-alives is in keepalive.go. To etcd clients a ZooKeeper session is no lease, unless they ask for its time to
// live: it is the lease of ephemeral znodes.
type leaseServer struct {
	pb.UnimplementedLeaseServer

	kv       *kvServer // proposes and reads
	leases   Leases
	minTTL   int64 // s
	max      int
	random   io.Reader
	draining <-chan struct{}
}

// LeaseGrant implements etcdserverpb.LeaseServer.
func (l *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := checkLeaseGrant(r); err != nil {
		return nil, err
	}
	if err := l.checkRoom(); err != nil {
		return nil, err
	}
	for {
		cmd := translateLeaseGrant(r, l.minTTL)
		if r.GetID() == 0 {
			var err error
			if cmd.ID, err = l.drawID(); err != nil {
				return nil, err
			}
		}
		result, err := l.kv.propose(ctx, r, cmd)
		if r.GetID() == 0 && errors.Is(err, rpctypes.ErrGRPCLeaseExist) {
			continue // somebody has the id that was drawn
		}
		if err != nil {
			return nil, err
		}
		return replyLeaseGrant(l.kv.header(result.Revision), bodyOf[state.LeaseResult](&result)), nil
	}
}

// drawID draws the id of a lease: positive, as etcd's own are.
func (l *leaseServer) drawID() (int64, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(l.random, b[:]); err != nil {
			return 0, fmt.Errorf("draw a lease id: %w", err)
		}
		if id := int64(binary.BigEndian.Uint64(b[:]) >> 1); id != 0 {
			return id, nil
		}
	}
}

// LeaseRevoke implements etcdserverpb.LeaseServer.
func (l *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	result, err := l.kv.propose(ctx, r, translateLeaseRevoke(r))
	if err != nil {
		return nil, err
	}
	return replyLeaseRevoke(l.kv.header(result.Revision)), nil
}

// LeaseTimeToLive implements etcdserverpb.LeaseServer. The leader is asked first, because only it knows the time left, and
// the lease is read afterwards, so that one which ends in between has ended.
func (l *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	limited, cancel := context.WithTimeout(ctx, l.kv.requestTimeout)
	defer cancel()
	leftMS, known, err := l.leases.Remaining(limited, r.GetID())
	if err != nil {
		return nil, readError(ctx, err)
	}
	found, revision, err := l.readLease(ctx, r, known)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return replyNoLease(l.kv.header(revision), r.GetID()), nil
	}
	return replyTimeToLive(l.kv.header(revision), found, leftMS), nil
}

// LeaseLeases implements etcdserverpb.LeaseServer.
func (l *leaseServer) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	ids, revision := l.readLeases()
	return replyLeases(l.kv.header(revision), ids), nil
}
