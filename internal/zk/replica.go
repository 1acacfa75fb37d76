package zk

import (
	"context"
	"errors"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Replica is what this package needs of the member it runs on. Its methods are safe for
// concurrent use.
type Replica interface {
	// Submit proposes a command and returns at once. done is called exactly once, in the order in
	// which results were applied here, when a view of this member shows what the command did; it
	// does not block. With a nil error the command is decided and the result's Code tells how;
	// otherwise it was not done, or nobody knows, and the connection must be closed. An error of
	// Submit itself says that nothing was and will be done; done is not called then. It ends the connection too. An error of either
	// kind whose Outcome is OutcomeDiskFull is about the command: it was not and will not be done, and its number is free.
	Submit(c command.Caller, cmd command.Command, done func(state.Result, error)) error
	// ReadIndex returns when this member shows everything that was decided anywhere before the call.
	ReadIndex(ctx context.Context) error
	// ReadTree calls fn with the view of this member's tree after the command that left seq and zxid. fn is short: it
	// runs between two steps of the applier. The view is not used after fn has returned; what it gave out may
	// be. It reports false, and fn was not called, if the position is too long ago to be read.
	ReadTree(seq uint64, zxid int64, fn func(v state.View)) bool
	// Touch notes that the client of a session was heard of. It reports false if this member may
	// not vouch for the session now, because the leader may have given it up without telling it;
	// the connection must be closed then. heard belongs to the connection, which begins with a zero one.
	Touch(session int64, heard *Heard) bool
	// Status describes the member.
	Status() Status
}

// Heard is what a Replica remembers with the connection of a session of when its client was heard of. What the numbers say is the
// Replica's own affair.
type Heard [2]int64

// OutcomeDiskFull is the Outcome of an error of Submit that says that the disks of the cluster are full and the command would
// grow what is on them.
const OutcomeDiskFull = "disk-full"

// isDiskFull reports whether err is such an error.
func isDiskFull(err error) bool {
	var known interface{ Outcome() string }
	return errors.As(err, &known) && known.Outcome() == OutcomeDiskFull
}

// Role is the part that a member plays in its cluster.
type Role uint8

// The roles.
const (
	// RoleNone is a member that does not serve: it knows of no leader.
	RoleNone Role = iota
	// RoleStandalone is the only member of its cluster.
	RoleStandalone
	// RoleLeader is the leader of several members.
	RoleLeader
	// RoleFollower is a voter that follows.
	RoleFollower
	// RoleObserver is a member without a vote.
	RoleObserver
)

// String names the role as ZooKeeper's srvr does.
func (r Role) String() string {
	switch r {
	case RoleStandalone:
		return "standalone"
	case RoleLeader:
		return "leader"
	case RoleFollower:
		return "follower"
	case RoleObserver:
		return "observer"
	}
	return "none"
}

// peerState names the role as ZooKeeper's mntr does; "" for a member on its own.
func (r Role) peerState() string {
	switch r {
	case RoleLeader:
		return "leading - broadcast"
	case RoleFollower:
		return "following - broadcast"
	case RoleObserver:
		return "observing - broadcast"
	}
	return ""
}

// Status describes a member for those who ask from outside.
type Status struct {
	Member uint64
	// Leader is 0 if none is known.
	Leader uint64
	Role   Role
	// Voters is how many members have a vote.
	Voters int
	// Learners, on a leader, is how many members follow it, SyncedFollowers and SyncedObservers how many of those with
	// and without a vote are close behind it.
	Learners, SyncedFollowers, SyncedObservers int
	// Proposal sizes, in bytes, of a leader; -1 if there was none yet.
	ProposalBytesLast, ProposalBytesMin, ProposalBytesMax int64
	// DiskLow says that the member's disk has less room than its reserve, DiskFull that the disks of the cluster are full, so
	// that nothing that grows is taken.
	DiskLow, DiskFull bool
	// DiskHangs says that the member's disk does not answer while another member leads: nobody is let in.
	DiskHangs bool
}
