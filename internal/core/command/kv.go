package command

// Put writes one key (etcd KV.Put, rpc.proto PutRequest).
type Put struct {
	Key   string
	Value []byte
	// Lease is the lease to attach the key to; 0 detaches it from any.
	Lease int64
	// PrevKV asks for the previous key-value in the result.
	PrevKV bool
	// IgnoreValue keeps the present value; the key must exist.
	IgnoreValue bool
	// IgnoreLease keeps the present lease; the key must exist.
	IgnoreLease bool
}

// SortOrder is etcd's RangeRequest.SortOrder.
type SortOrder int32

// The sort orders, with etcd's numbers.
const (
	SortNone       SortOrder = 0
	SortAscending  SortOrder = 1
	SortDescending SortOrder = 2
)

// SortTarget is etcd's RangeRequest.SortTarget.
type SortTarget int32

// The sort targets, with etcd's numbers.
const (
	SortByKey     SortTarget = 0
	SortByVersion SortTarget = 1
	SortByCreate  SortTarget = 2
	SortByMod     SortTarget = 3
	SortByValue   SortTarget = 4
)

// Range reads keys (etcd KV.Range, rpc.proto RangeRequest). As a command it stands only inside
// a Txn; outside it is answered from a view and never enters the log.
//
// Key and End delimit the keys as in etcd: End empty means Key alone, End "\x00" means every
// key from Key on, and otherwise the keys in [Key, End).
type Range struct {
	Key, End string
	// Limit bounds the number of keys returned; 0 for no bound.
	Limit int64
	// Revision is the revision to read at; 0 or less means now. Inside a Txn a negative one is compared
	// with the compacted revision like any other, so -1 passes on a store that was never compacted.
	Revision   int64
	SortOrder  SortOrder
	SortTarget SortTarget
	// KeysOnly leaves values and leases out, CountOnly everything but the count.
	KeysOnly, CountOnly bool
	// Bounds on revisions, inclusive, applied after the fetch and before sort and limit; 0 is off.
	MinModRevision, MaxModRevision       int64
	MinCreateRevision, MaxCreateRevision int64
}

// DeleteRange deletes keys (etcd KV.DeleteRange); Key and End as in Range.
type DeleteRange struct {
	Key, End string
	// PrevKV asks for the deleted key-values in the result.
	PrevKV bool
}

// CompareTarget is etcd's Compare.CompareTarget.
type CompareTarget int32

// The compare targets, with etcd's numbers.
const (
	CompareVersion CompareTarget = 0
	CompareCreate  CompareTarget = 1
	CompareMod     CompareTarget = 2
	CompareValue   CompareTarget = 3
	CompareLease   CompareTarget = 4
)

// CompareResult is etcd's Compare.CompareResult. A number that is none of these compares true,
// as in etcd (server/etcdserver/txn/txn.go, applyCompare).
type CompareResult int32

// The compare results, with etcd's numbers.
const (
	CompareEqual    CompareResult = 0
	CompareGreater  CompareResult = 1
	CompareLess     CompareResult = 2
	CompareNotEqual CompareResult = 3
)

// Compare is one condition of a Txn. All keys of the range [Key, End) must satisfy it.
type Compare struct {
	Key, End string
	Target   CompareTarget
	Result   CompareResult
	// Number is the operand for every target but CompareValue.
	Number int64
	// Value is the operand for CompareValue.
	Value []byte
}

// Txn is etcd's KV.Txn: if all Compares hold then Success, else Failure, as one command with at
// most one new revision. Operations are *Put, *Range, *DeleteRange and *Txn.
//
// Shape (empty and duplicate keys, number of operations) is checked by the etcd adapter before
// the proposal; apply checks what depends on the state.
type Txn struct {
	Compares         []Compare
	Success, Failure []Command
}

// Compact makes history below Revision unreadable (etcd KV.Compact).
type Compact struct {
	Revision int64
}

// LeaseGrant makes a lease (etcd Lease.LeaseGrant). The receiving member has already drawn the ID, if
// the client gave none, and raised the TTL to its minimum.
type LeaseGrant struct {
	ID int64
	// TTL is in seconds.
	TTL int64
}

// LeaseRevoke ends a lease and deletes its keys (etcd Lease.LeaseRevoke).
type LeaseRevoke struct {
	ID int64
}

// AlarmAction is etcd's AlarmRequest.AlarmAction, without GET, which is a read.
type AlarmAction int32

// The alarm actions, with etcd's numbers.
const (
	AlarmActivate   AlarmAction = 1
	AlarmDeactivate AlarmAction = 2
)

// AlarmType is etcd's AlarmType.
type AlarmType int32

// The alarms, with etcd's numbers.
const (
	AlarmNone    AlarmType = 0
	AlarmNoSpace AlarmType = 1
	AlarmCorrupt AlarmType = 2
)

// Alarm raises or clears an alarm of a member (etcd Maintenance.Alarm).
type Alarm struct {
	Action AlarmAction
	Member uint64
	Alarm  AlarmType
}

// Kind implements Command.
func (*Put) Kind() Kind { return KindPut }

// Kind implements Command.
func (*Range) Kind() Kind { return KindRange }

// Kind implements Command.
func (*DeleteRange) Kind() Kind { return KindDeleteRange }

// Kind implements Command.
func (*Txn) Kind() Kind { return KindTxn }

// Kind implements Command.
func (*Compact) Kind() Kind { return KindCompact }

// Kind implements Command.
func (*LeaseGrant) Kind() Kind { return KindLeaseGrant }

// Kind implements Command.
func (*LeaseRevoke) Kind() Kind { return KindLeaseRevoke }

// Kind implements Command.
func (*Alarm) Kind() Kind { return KindAlarm }
