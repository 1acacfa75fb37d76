package etcd

import (
	"context"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// gate stands before every call, behind those who count, and refuses those whose metadata forbids to serve them.
type gate struct {
	replica Replica
	leader  *leaderWatch
}

// unary is the interceptor of unary calls.
func (g *gate) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := g.admit(ctx); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// stream is the interceptor of streams.
func (g *gate) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := g.admit(s.Context()); err != nil {
		return err
	}
	if wantsLeader(s.Context()) {
		return g.leader.serve(srv, s, next)
	}
	return next(srv, s)
}

// admit checks the metadata that etcd's clients send with a call
// (server/etcdserver/api/v3rpc/interceptor.go): the version of their API must be text, and one
// that asks for a leader is refused at once where none is known, rather than after a timeout.
func (g *gate) admit(ctx context.Context) error {
	versions := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey)
	if len(versions) > 0 && !utf8.ValidString(versions[0]) {
		return rpctypes.ErrGRPCInvalidClientAPIVersion
	}
	if wantsLeader(ctx) && g.replica.Status().LeaderID == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}

// wantsLeader says whether a call is to be served only where a leader is known.
func wantsLeader(ctx context.Context) bool {
	wish := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(wish) > 0 && wish[0] == rpctypes.MetadataHasLeader
}

// caller says on whose behalf a call is carried out. While authentication is off every caller is
// the nameless one, and a token that came along is ignored, as in etcd.
func caller(context.Context) command.Caller {
	return command.Caller{Protocol: command.Etcd}
}
