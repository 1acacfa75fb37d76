package etcd

import (
	"context"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Replica is what the door needs of the member behind it. Implementations are safe for
// concurrent use.
type Replica interface {
	// Propose has cmd ordered and returns once it was applied at this member. A refusal that
	// apply decided is in Result.Code; an error means that the outcome is not known here, or that
	// nothing was done, and then it is an OutcomeError or wraps the error of ctx. cmd belongs to the
	// replica from here on.
	Propose(ctx context.Context, c command.Caller, cmd command.Command) (state.Result, error)
	// ReadIndex returns once the local state holds everything that was acknowledged anywhere
	// before the call. Its errors are those of Propose.
	ReadIndex(ctx context.Context) error
	// Read calls fn once with a consistent view of the local state, before it returns. fn does not
	// block and does not keep the view; what it reads from the view is immutable and may be kept.
	Read(fn func(v state.View))
	// Status tells how the member stands now. It is called for each response and must be cheap.
	Status() Status
	// Subscribe has wake called whenever the state may have changed, after the change can be read and
	// before any other client can learn of it. wake does not block. The feed's pin is at the present view.
	Subscribe(wake func()) Feed
}

// Feed is a subscription to the changes of the state. It holds a pin: changes with a sequence number above it can be
// read, below the floor too, as long as the state is not replaced by a snapshot. Calls do not overlap.
type Feed interface {
	// Keep moves the pin on to seq.
	Keep(seq uint64)
	// Cancel ends the subscription. It is called once, as the last.
	Cancel()
}

// Leases is what of leases only the leader knows. Its errors are those of Replica.Propose, and leave open whether
// leases were renewed. Implementations are safe for concurrent use.
type Leases interface {
	// KeepAlive gives leases their whole TTL again, and returns once that is certain. kept[i] tells whether
	// there is a lease or session ids[i]; one whose time is just up is waited for until it is gone or was saved. The ids are only read.
	KeepAlive(ctx context.Context, ids []int64) (kept []bool, err error)
	// Remaining tells how many milliseconds a lease or session has before it may expire; known is false if
	// there is none.
	Remaining(ctx context.Context, id int64) (ms int64, known bool, err error)
}

// Status is how a member stands.
type Status struct {
	// ClusterID and MemberID never change in the life of a member.
	ClusterID, MemberID uint64
	// LeaderID is the member that this one holds for the leader; 0 if it knows none.
	LeaderID uint64
	// Term is the raft term. It never runs back.
	Term uint64
	// CommitIndex is the highest index that this member knows to be committed.
	CommitIndex uint64
	// AppliedIndex is the index of the last entry applied here.
	AppliedIndex uint64
	// DiskFull says that the disks of the cluster are full, so that nothing that grows is taken.
	DiskFull bool
}

// OutcomeError is an error of Propose or ReadIndex that says what became of the request. The
// replica's errors implement it, so that the two packages need not know each other.
type OutcomeError interface {
	error
	// Outcome is one of the constants Outcome….
	Outcome() string
}

// The outcomes of a request that has no result.
const (
	// OutcomeNotDone: the request was not carried out and never will be.
	OutcomeNotDone = "not-done"
	// OutcomeUnknown: the request was sent on, and it cannot be told here whether it was or will be
	// carried out.
	OutcomeUnknown = "unknown"
	// OutcomeNoLeader: no leader is known; nothing was done.
	OutcomeNoLeader = "no-leader"
	// OutcomeLeaderChanged: the leader changed under the request; nothing was done.
	OutcomeLeaderChanged = "leader-changed"
	// OutcomeStopped: this member is stopping; the request may have been carried out.
	OutcomeStopped = "stopped"
	// OutcomeTooLarge: the request is larger than the replica takes; nothing was done.
	OutcomeTooLarge = "too-large"
	// OutcomeOverloaded: too much is under way; nothing was done.
	OutcomeOverloaded = "overloaded"
	// OutcomeDiskFull: the disks of the cluster are full and the request would grow what is on them; nothing was done.
	OutcomeDiskFull = "disk-full"
	// OutcomeTimeout: the time for the request is over; it may have been carried out.
	OutcomeTimeout = "timeout"
)
