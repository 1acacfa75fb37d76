package etcd

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// kvServer serves etcdserverpb.KV. Each method is the straight line of its request.
type kvServer struct {
	pb.UnimplementedKVServer

	replica         Replica
	maxRequestBytes int
	maxTxnOps       int
	requestTimeout  time.Duration
	metrics         *telemetry.Metrics
}

// Range implements etcdserverpb.KVServer.
func (k *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	result, revision, err := k.readRange(ctx, r)
	if err != nil {
		return nil, err
	}
	return replyRange(k.header(revision), result), nil
}

// RangeStream implements etcdserverpb.KVServer.
func (k *kvServer) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	result, revision, err := k.readRange(stream.Context(), r)
	if err != nil {
		return err
	}
	return sendChunks(stream, k.header(revision), result, k.maxRequestBytes)
}

// Put implements etcdserverpb.KVServer.
func (k *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	result, err := k.propose(ctx, r, translatePut(r))
	if err != nil {
		return nil, err
	}
	return replyPut(k.header(result.Revision), bodyOf[state.PutResult](&result)), nil
}

// DeleteRange implements etcdserverpb.KVServer.
func (k *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDeleteRange(r); err != nil {
		return nil, err
	}
	result, err := k.propose(ctx, r, translateDeleteRange(r))
	if err != nil {
		return nil, err
	}
	return replyDeleteRange(k.header(result.Revision), bodyOf[state.DeleteRangeResult](&result)), nil
}

// Txn implements etcdserverpb.KVServer.
func (k *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, k.maxTxnOps); err != nil {
		return nil, err
	}
	if readOnly(r) {
		result, revision, err := k.readTxn(ctx, r)
		if err != nil {
			return nil, err
		}
		return replyTxn(k.header(revision), result), nil
	}
	result, err := k.propose(ctx, r, translateTxn(r))
	if err != nil {
		return nil, err
	}
	return replyTxn(k.header(result.Revision), bodyOf[state.TxnResult](&result)), nil
}

// Compact implements etcdserverpb.KVServer.
func (k *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	result, err := k.propose(ctx, r, translateCompact(r))
	if err != nil {
		return nil, err
	}
	return replyCompact(k.header(result.Revision)), nil
}

// propose has the command of a request applied and waits for its result, at most the request
// timeout. The error is the status for the client.
func (k *kvServer) propose(ctx context.Context, r proto.Message, cmd command.Command) (state.Result, error) {
	if proposalBytes(r) > k.maxRequestBytes {
		return state.Result{}, rpctypes.ErrGRPCRequestTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, k.requestTimeout)
	defer cancel()
	result, err := k.replica.Propose(ctx, caller(ctx), cmd)
	if err != nil {
		return state.Result{}, writeError(err)
	}
	return result, refusal(result.Code, result.Detail)
}

// proposalHeaderBytes is the encoded header that etcd puts before a request in its log: a
// RequestHeader with an ID of ten bytes. etcd's IDs take nine or ten, by member, so this is exact
// for half of the members there are and one byte strict for the others.
const proposalHeaderBytes = 14

// proposalBytes is the size that etcd compares with its limit: not that of the request but that
// of the InternalRaftRequest around it (server/etcdserver/v3_server.go,
// processInternalRaftRequestOnce). The fields of all requests there have tags of one byte.
func proposalBytes(r proto.Message) int {
	return proposalHeaderBytes + 1 + protowire.SizeBytes(proto.Size(r))
}

// bodyOf is the body of a result. Apply leaves it out where there is nothing to say.
func bodyOf[T any](r *state.Result) *T {
	if r.Body == nil {
		return new(T)
	}
	body, ok := r.Body.(*T)
	invariant.Assert(ok, "a command is answered by the result of its kind")
	return body
}

// header is the header of a response at a revision of the store.
func (k *kvServer) header(revision int64) *pb.ResponseHeader {
	return header(k.replica.Status(), revision)
}

// role returns what a member is; ok is false if there is no member of that id.
func (k *kvServer) role(id uint64) (role command.Role, ok bool) {
	k.replica.Read(func(v state.View) {
		var m state.Member
		m, ok = state.Members(v).ByID(id)
		role = m.Role
	})
	return role, ok
}
