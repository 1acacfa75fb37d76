package state

import "github.com/okapi-kv/okapi/internal/core/command"

// Result is what the one who proposed a command learns. Everything it points to is immutable and
// may be kept and read after apply has gone on.
type Result struct {
	// Code is OK, or why the command was refused. A refused command changed nothing but, where
	// the protocol says so, the zxid.
	Code Code
	// Detail names the key or path and the reason, for codes whose text has them; else empty.
	Detail string
	// Revision, Zxid and Seq are the counters after this command: the position in the one order
	// of all commands to which the reply belongs.
	Revision, Zxid int64
	Seq            uint64
	// Time is the entry's time, in milliseconds since the Unix epoch.
	Time int64
	// Body depends on the command and is nil where there is nothing more to say or Code is not OK:
	// *PutResult, *DeleteRangeResult, *TxnResult, *LeaseResult, *CreateResult, *Stat (SetData and
	// SetACL), *MultiResult (also when the Multi failed), *SessionResult.
	Body any
}

// KeyValue is one version of a key as etcd clients see it.
type KeyValue struct {
	Key                         string
	CreateRevision, ModRevision int64
	// Version counts the puts since the key was created, from 1.
	Version int64
	Lease   int64
	// Value is shared with the store: read only.
	Value []byte
}

// PutResult answers a Put.
type PutResult struct {
	// Prev is the key-value before the put; nil if not asked for or if there was none.
	Prev *KeyValue
}

// DeleteRangeResult answers a DeleteRange.
type DeleteRangeResult struct {
	Deleted int64
	// Prev holds the deleted key-values in key order, if asked for.
	Prev []KeyValue
}

// RangeResult answers a Range.
type RangeResult struct {
	KVs []KeyValue
	// More says that the limit cut keys off.
	More bool
	// Count is the number of keys in the range before limit and filters.
	Count int64
}

// TxnResult answers a Txn.
type TxnResult struct {
	// Succeeded tells which branch was taken.
	Succeeded bool
	// Responses has one element for each operation of the branch: *PutResult, *RangeResult,
	// *DeleteRangeResult or *TxnResult.
	Responses []any
	// Revisions[i] is the store revision after operation i, for the header of its response.
	Revisions []int64
}

// LeaseResult answers a LeaseGrant.
type LeaseResult struct {
	ID int64
	// TTL is the granted TTL in seconds.
	TTL int64
}

// Stat is ZooKeeper's Stat record (zookeeper.jute, org.apache.zookeeper.data.Stat). Cversion is the
// one that clients see, 2 × creates − children.
type Stat struct {
	Czxid, Mzxid                int64
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32
	EphemeralOwner              int64
	DataLength, NumChildren     int32
	Pzxid                       int64
}

// CreateResult answers a Create.
type CreateResult struct {
	// Path is the path of the new node, with its sequence number if it has one.
	Path string
	Stat Stat
}

// MultiResult answers a Multi, one element for each operation, in order. If the Multi failed,
// operations before the culprit are OK, the culprit has its code, and those after it have
// RuntimeInconsistency; Bodies are nil then.
type MultiResult struct {
	Codes []Code
	// Bodies are *CreateResult for a Create, *Stat for a SetData, nil for Delete and Check.
	Bodies []any
}

// SessionResult answers OpenSession and AttachSession.
type SessionResult struct {
	ID         int64
	Password   [command.PasswordSize]byte
	TimeoutMS  int32
	Generation uint64
}

// EventType says what happened to a znode; the numbers are ZooKeeper's
// (org.apache.zookeeper.Watcher.Event.EventType).
type EventType int32

// The types of event that the server makes.
const (
	NodeCreated     EventType = 1
	NodeDeleted     EventType = 2
	NodeDataChanged EventType = 3
)

// Event is one change of one znode, in the order of the operations that made it. It is what
// ZooKeeper watches are fed from: a create or delete also means that the children of the parent
// changed. etcd watches read the change log instead.
type Event struct {
	Type EventType
	Path string
	Zxid int64
	Seq  uint64
	// ACL decides who may learn of it: the new node's for a create, the last one's for a delete.
	// ParentACL does so for the change of the parent's children; nil for NodeDataChanged.
	ACL, ParentACL []command.ACL
}

// Output is what one entry did: a Result for each proposal, in order, and the events and changed leases of all of them.
// Apply reuses its slices.
type Output struct {
	Results []Result
	Events  []Event
	// Leases are the sessions and leases that were opened, attached or ended.
	Leases []LeaseChange
}

// LeaseChange tells the keeper of deadlines what became of a session or lease: granted, attached
// again, or gone.
type LeaseChange struct {
	ID int64
	// TTLMS is the time without a keep-alive after which it may expire, in milliseconds.
	TTLMS      int64
	Generation uint64
	Gone       bool
}
