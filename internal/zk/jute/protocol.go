package jute

// OpCode is the type of a request (org.apache.zookeeper.ZooDefs.OpCode).
type OpCode int32

// The opcodes that stand on the wire.
const (
	OpNotification         OpCode = 0
	OpCreate               OpCode = 1
	OpDelete               OpCode = 2
	OpExists               OpCode = 3
	OpGetData              OpCode = 4
	OpSetData              OpCode = 5
	OpGetACL               OpCode = 6
	OpSetACL               OpCode = 7
	OpGetChildren          OpCode = 8
	OpSync                 OpCode = 9
	OpPing                 OpCode = 11
	OpGetChildren2         OpCode = 12
	OpCheck                OpCode = 13
	OpMulti                OpCode = 14
	OpCreate2              OpCode = 15
	OpReconfig             OpCode = 16
	OpCheckWatches         OpCode = 17
	OpRemoveWatches        OpCode = 18
	OpCreateContainer      OpCode = 19
	OpDeleteContainer      OpCode = 20
	OpCreateTTL            OpCode = 21
	OpMultiRead            OpCode = 22
	OpAuth                 OpCode = 100
	OpSetWatches           OpCode = 101
	OpSASL                 OpCode = 102
	OpGetEphemerals        OpCode = 103
	OpGetAllChildrenNumber OpCode = 104
	OpSetWatches2          OpCode = 105
	OpAddWatch             OpCode = 106
	OpWhoAmI               OpCode = 107
	OpCreateSession        OpCode = -10
	OpCloseSession         OpCode = -11
	// OpError marks the failed elements of a multi response and its terminator.
	OpError OpCode = -1
)

// The xids with a meaning of their own; ordinary requests count from 1.
const (
	XidNotification int32 = -1
	XidPing         int32 = -2
	XidAuth         int32 = -4
	XidSetWatches   int32 = -8
)

// ErrorCode is the outcome of a request (org.apache.zookeeper.KeeperException.Code).
type ErrorCode int32

// The codes that a server puts into replies.
const (
	CodeOK                       ErrorCode = 0
	CodeSystemError              ErrorCode = -1
	CodeRuntimeInconsistency     ErrorCode = -2
	CodeMarshallingError         ErrorCode = -5
	CodeUnimplemented            ErrorCode = -6
	CodeBadArguments             ErrorCode = -8
	CodeNoNode                   ErrorCode = -101
	CodeNoAuth                   ErrorCode = -102
	CodeBadVersion               ErrorCode = -103
	CodeNoChildrenForEphemerals  ErrorCode = -108
	CodeNodeExists               ErrorCode = -110
	CodeNotEmpty                 ErrorCode = -111
	CodeSessionExpired           ErrorCode = -112
	CodeInvalidACL               ErrorCode = -114
	CodeAuthFailed               ErrorCode = -115
	CodeSessionMoved             ErrorCode = -118
	CodeNotReadOnly              ErrorCode = -119
	CodeEphemeralOnLocalSession  ErrorCode = -120
	CodeNoWatcher                ErrorCode = -121
	CodeReconfigDisabled         ErrorCode = -123
	CodeSessionClosedRequireAuth ErrorCode = -124
	CodeQuotaExceeded            ErrorCode = -125
	CodeThrottledOp              ErrorCode = -127
)

// EventType says what a notification is about (org.apache.zookeeper.Watcher.Event.EventType).
type EventType int32

// The types of event that a server sends.
const (
	EventNodeCreated         EventType = 1
	EventNodeDeleted         EventType = 2
	EventNodeDataChanged     EventType = 3
	EventNodeChildrenChanged EventType = 4
)

// StateSyncConnected is the only keeper state that a server puts into notifications.
const StateSyncConnected int32 = 3

// DefaultMaxFrameBytes is the largest frame that a server accepts by default (jute.maxbuffer).
const DefaultMaxFrameBytes = 0xfffff
