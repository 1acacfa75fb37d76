package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Clients of etcd match on the text of an error, so texts are those of etcd's package rpctypes
// wherever etcd has the error too. What only okapi can answer begins with "okapi: ".

// errTooManyRequests leaves etcd as Unknown rather than as ResourceExhausted, because etcd maps
// its internal error to the client's form of it (server/etcdserver/api/v3rpc/util.go,
// toGRPCErrorMap). Clients see it so, and we keep it.
var errTooManyRequests = status.Error(codes.Unknown, rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests))

// errTransferTimeout is Unknown as well: etcd has no status for it (server/etcdserver/errors, ErrTimeoutLeaderTransfer).
var errTransferTimeout = status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")

// errNotBootstrapped is retryable: a member that has no settings yet is about to get them.
var errNotBootstrapped = status.Error(codes.Unavailable, "okapi: the cluster is not bootstrapped yet")

// tooManyLeases refuses a grant beyond the bound, which etcd does not have.
func tooManyLeases(most int) error {
	return status.Errorf(codes.ResourceExhausted, "okapi: too many leases: there are %d, and no more are granted", most)
}

// refusal is the status for a command or read that ended with code; nil for OK. detail names key
// and reason and is sent where etcd has no text of its own.
func refusal(code state.Code, detail string) error {
	switch code {
	case state.OK:
		return nil
	case state.KeyNotFound:
		return rpctypes.ErrGRPCKeyNotFound
	case state.LeaseNotFound:
		return rpctypes.ErrGRPCLeaseNotFound
	case state.LeaseExists:
		return rpctypes.ErrGRPCLeaseExist
	case state.Compacted:
		return rpctypes.ErrGRPCCompacted
	case state.FutureRevision:
		return rpctypes.ErrGRPCFutureRev
	case state.NoSpace:
		return rpctypes.ErrGRPCNoSpace
	case state.PermissionDenied:
		return rpctypes.ErrGRPCPermissionDenied
	case state.AuthOld:
		return rpctypes.ErrGRPCAuthOldRevision
	case state.InvalidPath:
		return detailed(codes.InvalidArgument, code, detail)
	case state.TreeConflict:
		return detailed(codes.FailedPrecondition, code, detail)
	case state.QuotaExceeded:
		// Not etcd's "database space exceeded": that one sends operators to the NOSPACE alarm and
		// to the quota of plain keys, and neither is what was hit.
		return detailed(codes.ResourceExhausted, code, detail)
	case state.NotBootstrapped:
		return errNotBootstrapped
	default:
		// Codes of ZooKeeper's vocabulary and of internal commands: no etcd request leads to one.
		return detailed(codes.Internal, code, detail)
	}
}

// detailed is a status with our own text: the code, then what the state machine said of it.
func detailed(c codes.Code, code state.Code, detail string) error {
	if detail == "" {
		return status.Error(c, "okapi: "+code.String())
	}
	return status.Error(c, "okapi: "+code.String()+": "+detail)
}

// writeError is the status for a proposal without a result. An expired context is "request timed
// out", and a cancelled one "request canceled", as in etcd (server/etcdserver/server.go,
// parseProposeCtxErr).
func writeError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return rpctypes.ErrGRPCTimeout
	case errors.Is(err, context.Canceled):
		return rpctypes.ErrGRPCCanceled
	default:
		return outcomeError(err)
	}
}

// readError is the status for a read index that failed. request is the context of the request as
// the client made it: where it is over, gRPC's own status for that goes out, as in etcd
// (server/etcdserver/api/v3rpc/util.go, togRPCError); otherwise the time limit was ours.
func readError(request context.Context, err error) error {
	if request.Err() != nil {
		return status.FromContextError(request.Err()).Err()
	}
	return writeError(err)
}

// outcomeError maps what the replica says of a request without a result. "Done", "not done" and
// "unknown" stay apart: what may still be carried out is always one of the timeouts or "server
// stopped", which clients of etcd have learned to treat as open.
func outcomeError(err error) error {
	var known OutcomeError
	if !errors.As(err, &known) {
		return status.Error(codes.Unknown, err.Error())
	}
	switch known.Outcome() {
	case OutcomeNotDone, OutcomeLeaderChanged:
		return rpctypes.ErrGRPCLeaderChanged
	case OutcomeUnknown:
		return rpctypes.ErrGRPCTimeoutDueToLeaderFail
	case OutcomeNoLeader:
		return rpctypes.ErrGRPCNoLeader
	case OutcomeStopped:
		return rpctypes.ErrGRPCStopped
	case OutcomeTooLarge:
		return rpctypes.ErrGRPCRequestTooLarge
	case OutcomeOverloaded:
		return errTooManyRequests
	case OutcomeDiskFull:
		return rpctypes.ErrGRPCNoSpace
	case OutcomeTimeout:
		return rpctypes.ErrGRPCTimeout
	default:
		return status.Error(codes.Unknown, err.Error())
	}
}
