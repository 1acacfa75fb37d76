package differential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// longTTL is how long leases live at least: nothing expires while a script runs, because when it does is
// for clocks to say.
const longTTL = 10000

// maxTTL is the longest that etcd grants.
const maxTTL = 9000000000

// drawLeaseID draws the id of a lease that mostly lives.
func (w *world) drawLeaseID(r *rand.Rand) int64 {
	if len(w.leases) == 0 || oneIn(r, 8) {
		return pick[int64](r, 0, 1, 2, 3, 1<<40, -5)
	}
	return pick(r, w.leases...)
}

func drawGrant(w *world, r *rand.Rand) []action {
	request := &pb.LeaseGrantRequest{ID: 1 + r.Int64N(12), TTL: longTTL + r.Int64N(1000)}
	switch r.IntN(20) {
	case 0:
		request.ID = pick[int64](r, -5, 1<<40, 1<<62)
	case 1:
		request.TTL = pick[int64](r, maxTTL, maxTTL+1, 1<<62)
	}
	return []action{grantAction(request)}
}

func grantAction(request *pb.LeaseGrantRequest) action {
	out := unary("LeaseGrant", request, func(ctx context.Context, s *side) answer { return answered(s.lease.LeaseGrant(ctx, request)) })
	out.learn = func(w *world, a answer) {
		if len(a.messages) > 0 {
			w.leases = append(w.leases, request.ID)
		}
	}
	return out
}

// drawGrantWithoutID draws a grant whose id the server chooses. It differs between servers, so the lease is
// given back at once.
func drawGrantWithoutID(_ *world, r *rand.Rand) []action {
	request := &pb.LeaseGrantRequest{TTL: longTTL + r.Int64N(10)}
	return []action{unary("LeaseGrant and LeaseRevoke", request, func(ctx context.Context, s *side) answer {
		granted, err := s.lease.LeaseGrant(ctx, request)
		if err != nil {
			return failed(err)
		}
		revoked, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: granted.ID})
		if err != nil {
			return failed(err)
		}
		if granted.ID <= 0 {
			return failed(fmt.Errorf("the server chose the id %d", granted.ID))
		}
		granted.ID = 0
		return answer{messages: []proto.Message{granted, revoked}}
	})}
}

// drawShortGrant draws a grant for less than the minimum. The lease is given back at once; if it has expired
// by then, nobody has seen it.
func drawShortGrant(_ *world, r *rand.Rand) []action {
	request := &pb.LeaseGrantRequest{ID: 1000 + r.Int64N(1<<40), TTL: pick[int64](r, 0, 1, -1, -1<<62)}
	return []action{unary("LeaseGrant, then LeaseRevoke", request, func(ctx context.Context, s *side) answer {
		granted, err := s.lease.LeaseGrant(ctx, request)
		if err != nil {
			return failed(err)
		}
		_, _ = s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: request.ID})
		return answered(granted, nil)
	})}
}

func drawRevoke(w *world, r *rand.Rand) []action {
	request := &pb.LeaseRevokeRequest{ID: w.drawLeaseID(r)}
	out := unary("LeaseRevoke", request, func(ctx context.Context, s *side) answer { return answered(s.lease.LeaseRevoke(ctx, request)) })
	out.learn = func(w *world, a answer) {
		if len(a.messages) > 0 {
			w.leases = slices.DeleteFunc(w.leases, func(id int64) bool { return id == request.ID })
		}
	}
	return []action{out}
}

func drawTimeToLive(w *world, r *rand.Rand) []action {
	request := &pb.LeaseTimeToLiveRequest{ID: w.drawLeaseID(r), Keys: !oneIn(r, 3)}
	return []action{unary("LeaseTimeToLive", request, func(ctx context.Context, s *side) answer {
		return answered(s.lease.LeaseTimeToLive(ctx, request))
	})}
}

// drawKeepAlive draws a stream of keep-alives.
func drawKeepAlive(w *world, r *rand.Rand) []action {
	var ids []int64
	for range 1 + r.IntN(3) {
		ids = append(ids, w.drawLeaseID(r))
	}
	return []action{{
		text: fmt.Sprintf("LeaseKeepAlive %v", ids),
		do: func(s *side) answer {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			return keepAlive(ctx, s, ids)
		},
	}}
}

func keepAlive(ctx context.Context, s *side, ids []int64) answer {
	stream, err := s.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return failed(err)
	}
	var out answer
	for _, id := range ids {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return failed(err)
		}
		reply, err := stream.Recv()
		if err != nil {
			return failed(err)
		}
		out.messages = append(out.messages, reply)
	}
	if err := stream.CloseSend(); err != nil {
		return failed(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return failed(err)
	}
	return out
}

func drawLeases(*world, *rand.Rand) []action {
	request := &pb.LeaseLeasesRequest{}
	return []action{unary("LeaseLeases", request, func(ctx context.Context, s *side) answer { return answered(s.lease.LeaseLeases(ctx, request)) })}
}
