package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Time is what a Member knows of clocks: it is told with every input.
type Time struct {
	// WallMS is the wall clock in milliseconds since the Unix epoch; entries are stamped with it.
	WallMS int64
	// MonotonicMS never jumps; waiting is measured with it.
	MonotonicMS int64
}

// MemberOptions are what a Member needs to start.
type MemberOptions struct {
	// ID is this member; Incarnation differs between any two runs of it.
	ID, Incarnation uint64
	// Boot is what was durable at the start.
	Boot Boot
	// Log reads old entries back from disk.
	Log LogReader
	// TickMS is the length of a tick; a leader is missed after ElectionTicks of them.
	TickMS        int64
	ElectionTicks int
	// TailBytes bounds the entries kept in memory.
	TailBytes uint64
	// Settings are proposed if this member is the first leader of a new cluster.
	Settings command.Settings
	// Waiters is shared with the Applier.
	Waiters *Waiters
	// Logger receives raft's own words.
	Logger raft.Logger
}

// Boot is the durable state from which a member starts: a snapshot and the log behind it.
type Boot struct {
	SnapshotIndex, SnapshotTerm uint64
	Conf                        *raftpb.ConfState
	Hard                        *raftpb.HardState
	Entries                     []*raftpb.Entry
	// Bootstrapped says that the snapshot holds the settings already.
	Bootstrapped bool
	// Cut says that the end of the log was torn and cut off, and that it is not known what it was.
	Cut bool
	// Leases are the sessions and leases in the snapshot, Members who belonged to the cluster then. It is nobody for a
	// member that joins.
	Leases  []state.LeaseChange
	Members state.Membership
}

// Member is the pure part of a replica; see the package comment. It is not safe for concurrent use.
type Member struct {
	id      uint64
	opts    MemberOptions
	raft    *raft.RawNode
	store   *storage
	waiters *Waiters
	reads   readRounds
	orders  *orders
	keeper  *keeper
	cut     *cut
	changes *changes
	space   *space

	appends   []*Append // under way, in order
	hungTicks int       // since the oldest append went out

	soft         raft.SoftState
	missed       missed            // the leader whose process has ended
	followed     Following         // as of the last tick
	hard         *raftpb.HardState // as last handed to Append
	applied      uint64
	appliedTerm  uint64
	bootstrapped bool

	now Time
	fx  *Effects // of the Step under way
}

// NewMember makes a Member from its durable state.
func NewMember(o MemberOptions) (*Member, error) {
	b := o.Boot
	m := &Member{
		id: o.ID, opts: o, waiters: o.Waiters,
		store:        newStorage(snapshotMark{b.SnapshotIndex, b.SnapshotTerm}, b.Conf, b.Entries, o.Log, o.TailBytes),
		reads:        readRounds{member: o.ID, try: o.Incarnation << 20},
		applied:      b.SnapshotIndex,
		appliedTerm:  b.SnapshotTerm,
		bootstrapped: b.Bootstrapped,
	}
	m.orders, m.keeper, m.cut, m.changes, m.space = newOrders(m), newKeeper(m), newCut(m), newChanges(m), newSpace(m)
	if b.Hard != nil {
		m.store.hard.Term, m.store.hard.Vote = new(b.Hard.GetTerm()), new(b.Hard.GetVote())
		m.store.hard.Commit = new(b.Hard.GetCommit())
	}
	if m.store.hard.GetCommit() < b.SnapshotIndex {
		m.store.hard.Commit = new(b.SnapshotIndex)
	}
	m.hard = &m.store.hard
	node, err := raft.NewRawNode(raftConfig(o, m.store))
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	m.raft = node
	m.keeper.follow(b.Leases)
	if v := b.Conf.GetVoters(); len(v) == 1 && v[0] == m.id && len(b.Conf.GetVotersOutgoing()) == 0 {
		// Nobody else could lead: there is nothing to wait for.
		if err := m.raft.Campaign(); err != nil {
			return nil, fmt.Errorf("campaign alone: %w", err)
		}
	}
	return m, nil
}

// raftConfig holds the settings of raft that the safety of everything else rests on: reads are proven by a
// quorum and not by a lease, a leader without a quorum gives up its office, a member that was away does
// not disturb the others, and proposals are forwarded by us, never by raft, because only the leader
// may stamp an entry.
func raftConfig(o MemberOptions, store *storage) *raft.Config {
	return &raft.Config{
		ID:                        o.ID,
		ElectionTick:              o.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   store,
		Applied:                   store.snap.index,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             1 << 20,
		MaxCommittedSizePerReady:  4 << 20,
		MaxInflightMsgs:           256,
		MaxInflightBytes:          8 << 20,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    o.Logger,
	}
}

// Step takes one input and adds what it wants done to fx.
func (m *Member) Step(now Time, in Input, fx *Effects) {
	m.now, m.fx = now, fx
	switch in := in.(type) {
	case Begin: // what there is to do is done after every input
	case Tick:
		m.tick()
	case Frame:
		m.receive(in)
	case Propose:
		m.orders.enqueue(in.Commands)
	case Read:
		m.reads.add(in.ID)
	case Appended:
		m.appended(in)
	case Applied:
		m.wasApplied(in)
	case SnapshotTaken:
		m.store.snapshotTaken(snapshotMark{in.Index, in.Term}, in.Conf, in.Keep)
	case SnapshotReceived:
		m.snapshotReceived(in)
	case SnapshotSent:
		m.snapshotSent(in)
	case Ended:
		m.missed.ended(m, in.ID)
	case Unreachable:
		m.raft.ReportUnreachable(in.To)
	case Touched:
		m.keeper.touch(in.IDs)
	case Ask:
		m.keeper.asker.add(in, now)
	case GiveUp:
		m.keeper.asker.giveUp(in.Number)
	case Transfer:
		m.transfer(in.To)
	case DiskSpace:
		m.space.low = in.Low
	}
	m.flush()
	m.fx = nil
}

// flush moves everything on that can move, until nothing does.
func (m *Member) flush() {
	for m.drain(); ; m.drain() {
		for m.changes.propose() || m.orders.proposeBatch() {
			m.drain()
		}
		m.orders.forwardQueue()
		m.keeper.flush()
		var identity []byte
		if m.mayRead() {
			identity = m.reads.begin()
		}
		if identity == nil {
			break
		}
		m.raft.ReadIndex(identity)
	}
	m.fx.TakeSnapshot = m.fx.TakeSnapshot || m.store.takeWanted()
}

// tick lets one tick pass.
func (m *Member) tick() {
	m.raft.Tick()
	m.drain()
	m.watchDisk()
	m.cut.tick()
	m.orders.tick()
	if m.reads.tick() && m.mayRead() {
		m.raft.ReadIndex(m.reads.again())
	}
	m.keeper.tick()
	m.space.tick()
	m.changes.tick()
	m.followed = countFollowing(m)
}

// receive takes a frame from another member.
func (m *Member) receive(f Frame) {
	if len(f.Data) == 0 {
		return
	}
	m.changes.heard[f.From] = m.now.MonotonicMS
	body := f.Data[1:]
	switch frameKind(f.Data[0]) {
	case frameRaft:
		if msg, err := decodeRaft(body); err == nil && msg.GetFrom() == f.From && !m.cut.refuses(msg) {
			m.stepRaft(msg)
		}
	case frameForward:
		if fw, err := decodeForward(body); err == nil {
			m.orders.receiveForward(f.From, fw)
		}
	case frameForwardAck:
		if a, err := decodeForwardAck(body); err == nil {
			notDone, refused := m.orders.sender.acknowledged(a)
			m.fx.Refused = append(m.fx.Refused, refused...)
			m.notDone(notDone)
		}
	case frameTouch:
		if t, err := decodeTouch(body); err == nil {
			m.keeper.receiveTouch(f.From, t)
		}
	case frameTouchAck:
		if a, err := decodeTouchAck(body); err == nil {
			m.keeper.receiveTouchAck(a)
		}
	case frameCutQuery:
		m.cut.answer(f.From)
	case frameCutAnswer:
		m.cut.hear(f.From, body)
	}
}

// stepRaft hands a message to raft. Its refusals (unknown peer, dropped proposal) need no answer.
func (m *Member) stepRaft(msg *raftpb.Message) {
	if msg.GetType() == raftpb.MsgHeartbeat && msg.GetCommit() > m.store.last() {
		// A leader speaks of no commit index beyond what we have acknowledged.
		m.fx.Wiped = true
		return
	}
	_ = m.raft.Step(msg)
}

// leads tells whether this member is the leader, as far as it knows.
func (m *Member) leads() bool { return m.soft.RaftState == raft.StateLeader }

// followsLeader tells whether another member is the leader, as far as this one knows.
func (m *Member) followsLeader() bool { return m.soft.Lead != raft.None && !m.leads() }

// term returns raft's current term.
func (m *Member) term() uint64 { return m.raft.BasicStatus().GetTerm() }

// mayRead tells whether a read index may be asked for: not before an entry of this term is applied here.
func (m *Member) mayRead() bool {
	return m.soft.Lead != raft.None && m.appliedTerm == m.term()
}

// send queues a frame for another member. A leader whose disk hangs says nothing, so that the others
// elect one whose disk works.
func (m *Member) send(to uint64, data []byte) {
	if m.hung() {
		return
	}
	m.fx.Send = append(m.fx.Send, Outgoing{To: to, Data: data})
}

// notDone reports commands that can never take effect.
func (m *Member) notDone(numbers []uint64) {
	m.fx.NotDone = append(m.fx.NotDone, numbers...)
}

// MemberStatus is what a Member knows of itself and its cluster.
type MemberStatus struct {
	ID, Leader, Term      uint64
	Commit, Applied, Last uint64
	Leads                 bool
	// Serving says that an entry of the current term has been applied here.
	Serving bool
	// VouchedMS is the MonotonicMS up to which the leader knows of the sessions touched here.
	VouchedMS int64
	// Members is who belongs to the cluster, as of Applied, and Counted whom raft counts on: in the midst of a change also those
	// who are about to leave. Neither may be changed.
	Members state.Membership
	Counted []uint64
	// Dismisses says that this member may tell those who were removed that they are needed no more.
	Dismisses bool
	Following Following
	// DiskLow says that this member's disk has less room than its reserve, DiskFull that the cluster takes nothing that
	// grows; LowDisks, at the leader, whose disks are low.
	DiskLow, DiskFull bool
	LowDisks          []uint64
	// DiskHangs says that this member's disk has been silent for two election timeouts while another member leads: clients
	// are better off there.
	DiskHangs bool
	// DiskFree is how many bytes were free on this member's disk at the last look; -1 if that is not known. The Replica knows
	// it, not the Member.
	DiskFree int64
}

// Status describes the Member as of its last Step.
func (m *Member) Status() MemberStatus {
	s := m.raft.BasicStatus()
	last, _ := m.store.LastIndex()
	return MemberStatus{
		ID: m.id, Leader: s.Lead, Term: s.GetTerm(), Commit: s.GetCommit(), Applied: m.applied, Last: last,
		Leads: m.leads(), Serving: m.mayRead(), VouchedMS: m.keeper.vouchedAt, Members: m.changes.members, Counted: m.changes.counted, Dismisses: m.changes.dismisses(), Following: m.followed,
		DiskHangs: diskHangs(m),
		DiskLow:   m.space.low, DiskFull: m.space.full, LowDisks: slices.Clone(m.space.lowIDs),
	}
}
