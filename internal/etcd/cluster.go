package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// clusterServer serves etcdserverpb.Cluster. Members cannot be changed yet; what is not here answers Unimplemented.
type clusterServer struct {
	pb.UnimplementedClusterServer

	kv *kvServer
}

// MemberList implements etcdserverpb.ClusterServer.
func (c *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	out := &pb.MemberListResponse{}
	err := c.kv.read(ctx, !r.GetLinearizable(), func(v state.View) state.Code {
		out.Members = replyMembers(state.Members(v))
		return state.OK
	})
	if err != nil {
		return nil, err
	}
	out.Header = c.kv.header(0) // without a revision, as etcd leaves it (v3rpc/member.go)
	return out, nil
}
