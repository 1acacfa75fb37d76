package zk

import (
	"errors"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Why a connection ended. They are for the log; a client learns nothing but the end.
var (
	errGarbledHeader   = errors.New("request header cannot be decoded")
	errGarbledConnect  = errors.New("connect request cannot be decoded")
	errGarbledAuth     = errors.New("auth packet cannot be decoded")
	errFrameLength     = errors.New("frame length is negative or above the limit")
	errInputFull       = errors.New("too many large requests are under way")
	errZxidAhead       = errors.New("client has seen a zxid that this member has not")
	errSessionGone     = errors.New("session is expired, closed, or attached elsewhere")
	errLateSession     = errors.New("session was opened or attached too long ago when this member heard of it")
	errSessionRefused  = errors.New("session was refused")
	errNotVouching     = errors.New("member may not vouch for sessions now")
	errDiskHangs       = errors.New("disk of this member hangs, and another member leads")
	errCommandLost     = errors.New("a command of the session was lost")
	errNotBootstrapped = errors.New("cluster is not bootstrapped")
	errAuthFailed      = errors.New("authentication refused")
	errUnknownOp       = errors.New("opcode is not implemented")
	errClosedByClient  = errors.New("client closed the session")
	errSlowAnswer      = errors.New("client took too long for the answer to its four-letter word")
	errAnswered        = errors.New("four-letter word answered")
	errSilent          = errors.New("client was silent for too long")
	errPositionGone    = errors.New("client is too slow: what it has not taken yet was built on a state that is gone")
	errEventsWaiting   = errors.New("client is too slow: more events wait for it than one connection may have")
	errTooManyWatches  = errors.New("client sets more watches again than there may be")
	errTooManySessions = errors.New("cluster has as many sessions as it may have")
	errInstalled       = errors.New("a snapshot has replaced the state")
	errShutdown        = errors.New("server shuts down")
)

// wireCode gives the number that a client sees for the code of a decided command or a read. The
// error is not nil if the connection must be closed without a reply instead: what happened is not
// about the request but about the session.
func wireCode(c state.Code) (jute.ErrorCode, error) {
	switch c {
	case state.SessionExpired, state.SessionMoved:
		return 0, errSessionGone
	case state.SequenceGap:
		return 0, errCommandLost
	case state.NotBootstrapped:
		return 0, errNotBootstrapped
	}
	return replyCode(c), nil
}

// replyCode is the table of the refusals that stand in replies. Those in etcd's terms never come
// back for a command of this package; should one, the client is told of an error of the server.
func replyCode(c state.Code) jute.ErrorCode {
	switch c {
	case state.OK:
		return jute.CodeOK
	case state.NoNode:
		return jute.CodeNoNode
	case state.NodeExists:
		return jute.CodeNodeExists
	case state.NotEmpty:
		return jute.CodeNotEmpty
	case state.BadVersion:
		return jute.CodeBadVersion
	case state.NoAuth, state.PermissionDenied:
		return jute.CodeNoAuth
	case state.InvalidACL:
		return jute.CodeInvalidACL
	case state.BadArguments, state.InvalidPath:
		return jute.CodeBadArguments
	case state.Unimplemented:
		return jute.CodeUnimplemented
	case state.NoChildrenForEphemerals:
		return jute.CodeNoChildrenForEphemerals
	case state.QuotaExceeded, state.NoSpace:
		return jute.CodeQuotaExceeded
	case state.RuntimeInconsistency:
		return jute.CodeRuntimeInconsistency
	}
	return jute.CodeSystemError
}
