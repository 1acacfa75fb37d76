package replica

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Input is what can happen to a Member. The set is closed.
type Input interface{ input() }

// Begin is the first input: what was decided when the Member was made, such as to stand for election alone, begins.
type Begin struct{}

// Tick says that one tick of time has passed.
type Tick struct{}

// Frame is a frame from another member; the Member owns Data.
type Frame struct {
	From uint64
	Data []byte
}

// Propose asks for commands to be ordered.
type Propose struct{ Commands []Pending }

// Pending is one encoded proposal.
type Pending struct {
	Number  uint64
	Encoded []byte
	// LeaderOnly commands (expiry and the like) are not done if this member is not the leader.
	LeaderOnly bool
	// Grows says that the command is refused while the disks of the cluster are full; see command.Grows.
	Grows bool
	// foreign commands came from another member.
	foreign bool
	// change says that it is a command.ChangeMembers.
	change bool
}

// Read asks for a read index; ID is given back in ReadReady.
type Read struct{ ID uint64 }

// Appended says that an Append is durable and, if it has a snapshot, that this is installed.
type Appended struct {
	Append *Append
	// Leases, Members and Bootstrapped describe the installed snapshot.
	Leases       []state.LeaseChange
	Members      state.Membership
	Bootstrapped bool
}

// Applied says that an Apply has been applied.
type Applied struct {
	Apply *Apply
	// Changes are the configuration changes among the entries, in order; each is made known to raft
	// before it hears that the entries are applied.
	Changes []*raftpb.ConfChangeV2
	// ConfIndex is the index of the last entry among them that was a configuration change, even a refused one; 0: none.
	ConfIndex uint64
	// Members is who belongs to the cluster; MembersChanged says that this may differ from before.
	Members        state.Membership
	MembersChanged bool
	// Leases are what became of sessions and leases.
	Leases []state.LeaseChange
	// Bootstrapped says that the cluster has its settings.
	Bootstrapped bool
}

// SnapshotTaken says that a snapshot of our own is durable.
type SnapshotTaken struct {
	Index, Term uint64
	Conf        *raftpb.ConfState
	// Keep is the lowest index that is to stay readable for members that lag; at least 1.
	Keep uint64
}

// SnapshotReceived says that the file of a snapshot sent by another member is durable here; Message is
// the frame that announced it.
type SnapshotReceived struct {
	From    uint64
	Message []byte
}

// SnapshotSent ends a SendSnapshot.
type SnapshotSent struct {
	To uint64
	OK bool
}

// Unreachable says that a frame to another member was dropped.
type Unreachable struct{ To uint64 }

// Ended says that another member's process has ended: its machine answers, and nobody listens there.
type Ended struct{ ID uint64 }

// Touched reports sessions and leases whose clients were heard of at this member.
type Touched struct{ IDs []int64 }

// Ask asks the leader about sessions or leases. There is one Answer for each id, unless the Ask is given up.
type Ask struct {
	Number uint64
	IDs    []int64
	// Renew asks for the whole time again, else it is asked how much is left.
	Renew bool
}

// GiveUp says that nobody waits for the answers to an Ask any more.
type GiveUp struct{ Number uint64 }

// Transfer asks the leader to hand its office to another member; To 0 lets it choose.
type Transfer struct{ To uint64 }

// DiskSpace says whether the disk of this member has less free space than its reserve.
type DiskSpace struct{ Low bool }

func (Begin) input()            {}
func (Tick) input()             {}
func (Frame) input()            {}
func (Propose) input()          {}
func (Read) input()             {}
func (Appended) input()         {}
func (Applied) input()          {}
func (SnapshotTaken) input()    {}
func (SnapshotReceived) input() {}
func (SnapshotSent) input()     {}
func (Unreachable) input()      {}
func (Ended) input()            {}
func (Touched) input()          {}
func (Ask) input()              {}
func (GiveUp) input()           {}
func (Transfer) input()         {}
func (DiskSpace) input()        {}

// Effects is what a Member wants done. Sends, appends and applies of one Step, and of Steps after one
// another, keep their order within each list; the lists are independent of each other.
type Effects struct {
	// Send holds frames for other members. They may be lost, and must then be reported Unreachable.
	Send []Outgoing
	// SendSnapshot holds snapshots to stream to other members; each ends in SnapshotSent.
	SendSnapshot []SnapshotSend
	// Append holds what must become durable, in order.
	Append []*Append
	// Apply holds committed entries, in order.
	Apply []*Apply
	// ReadReady holds reads that may go on once the index is applied.
	ReadReady []ReadReady
	// Answers hold what the leader says to Asks.
	Answers []Answer
	// Links says who is to be linked from now on; nil: as before.
	Links *Links
	// TakeSnapshot says that a snapshot of our own is wanted now: a member needs one that is newer than what there is.
	TakeSnapshot bool
	// Wiped says that this member has lost what it had acknowledged to the leader: it must stop.
	Wiped bool
	// NotDone holds numbers of commands that can never take effect.
	NotDone []uint64
	// Unknown holds numbers of commands whose outcome will not be known here while the disk hangs.
	Unknown []uint64
	// Refused holds numbers of commands that are not taken because the disks of the cluster are full; some may be in
	// NotDone too, and then this is why.
	Refused []uint64
}

// Links are the members that belong to the cluster, this one included, and those that are about to leave it.
type Links struct{ Members []state.Member }

// Outgoing is a frame for another member.
type Outgoing struct {
	To   uint64
	Data []byte
}

// SnapshotSend is a snapshot to stream: the newest of this member, at Index or later; Message goes first.
type SnapshotSend struct {
	To, Index uint64
	Message   []byte
}

// Append is one step of making the log durable.
type Append struct {
	Entries []*raftpb.Entry
	// Hard is the term, vote and commit index to store; nil if unchanged.
	Hard *raftpb.HardState
	// Sync says that everything so far must be durable before the answer.
	Sync bool
	// Snapshot, if not nil, replaces log and state before the entries are appended.
	Snapshot *raftpb.Snapshot
	// ClearCut says that the cut at the end of the log is settled.
	ClearCut bool
	// responses go out, or back into raft, when the step is durable.
	responses []*raftpb.Message
}

// Apply is a run of committed entries.
type Apply struct {
	Entries   []*raftpb.Entry
	responses []*raftpb.Message
}

// ReadReady lets reads go on once everything up to Index is applied.
type ReadReady struct {
	IDs   []uint64
	Index uint64
}

// Answer is what the leader says of one id of an Ask.
type Answer struct {
	Number uint64
	At     int // the place of the id in the Ask
	// Known is false if there is no such session or lease, or it has ended meanwhile.
	Known bool
	// LeftMS is the time that it still has, if that was asked.
	LeftMS int64
}

// reset empties the effects for the next Step and keeps the memory.
func (fx *Effects) reset() {
	*fx = Effects{
		Send: fx.Send[:0], SendSnapshot: fx.SendSnapshot[:0], Append: fx.Append[:0], Apply: fx.Apply[:0],
		ReadReady: fx.ReadReady[:0], NotDone: fx.NotDone[:0], Refused: fx.Refused[:0], Unknown: fx.Unknown[:0], Answers: fx.Answers[:0],
	}
}

// PeerURLs maps the ids of members, without self, to where they listen for each other: what a transport is to link.
func PeerURLs(members []state.Member, self uint64) map[uint64][]string {
	peers := make(map[uint64][]string, len(members))
	for _, m := range members {
		if m.ID != self {
			peers[m.ID] = m.PeerURLs
		}
	}
	return peers
}
