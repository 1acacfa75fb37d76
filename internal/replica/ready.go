package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// drain takes everything out of raft that is ready and turns it into effects.
func (m *Member) drain() {
	for m.raft.HasReady() {
		rd := m.raft.Ready()
		if rd.SoftState != nil {
			m.officeChanged(*rd.SoftState)
		}
		for _, rs := range rd.ReadStates {
			m.readAnswered(rs)
		}
		for _, msg := range rd.Messages {
			m.dispatch(msg)
		}
	}
}

// dispatch sends a message where it belongs: to the log, to the state machine, or to a peer.
func (m *Member) dispatch(msg *raftpb.Message) {
	switch {
	case msg.GetTo() == raft.LocalAppendThread:
		m.append(msg)
	case msg.GetTo() == raft.LocalApplyThread:
		m.fx.Apply = append(m.fx.Apply, &Apply{Entries: msg.GetEntries(), responses: msg.GetResponses()})
	case msg.GetType() == raftpb.MsgSnap:
		m.fx.SendSnapshot = append(m.fx.SendSnapshot, SnapshotSend{
			To: msg.GetTo(), Index: msg.GetSnapshot().GetMetadata().GetIndex(), Message: appendRaft(nil, msg),
		})
	case !m.cut.silences(msg):
		m.send(msg.GetTo(), appendRaft(nil, msg))
	}
}

// append turns a storage message into an Append. Only entries, a snapshot, a new term or a new vote must
// be synced before the answer; a commit index that is lost is learnt again.
func (m *Member) append(msg *raftpb.Message) {
	a := &Append{Entries: msg.GetEntries(), responses: msg.GetResponses()}
	if msg.GetSnapshot() != nil && !raft.IsEmptySnap(msg.GetSnapshot()) {
		a.Snapshot = msg.GetSnapshot()
	}
	a.Sync = len(a.Entries) > 0 || a.Snapshot != nil
	if msg.Term != nil {
		hard := &raftpb.HardState{Term: msg.Term, Vote: msg.Vote, Commit: msg.Commit}
		a.Sync = a.Sync || hard.GetTerm() != m.hard.GetTerm() || hard.GetVote() != m.hard.GetVote()
		a.Hard, m.hard = hard, hard
	}
	m.appends = append(m.appends, a)
	m.fx.Append = append(m.fx.Append, a)
}

// appended takes the news that an Append is durable. Its entries become readable before raft hears of
// it, because raft then forgets its own copy.
func (m *Member) appended(in Appended) {
	a := in.Append
	invariant.Assert(len(m.appends) > 0 && m.appends[0] == a, "appends end in the order in which they began")
	m.appends = m.appends[1:]
	m.hungTicks = 0
	if a.Hard != nil {
		m.store.hard.Term, m.store.hard.Vote, m.store.hard.Commit = a.Hard.Term, a.Hard.Vote, a.Hard.Commit
	}
	if a.Snapshot != nil {
		md := a.Snapshot.GetMetadata()
		m.store.install(snapshotMark{md.GetIndex(), md.GetTerm()}, md.GetConfState())
		m.applied, m.appliedTerm = md.GetIndex(), md.GetTerm()
		m.bootstrapped = in.Bootstrapped
		m.keeper.lessor.Reset()
		m.keeper.follow(in.Leases)
		m.changes.follow(in.Members, md.GetConfState())
	}
	m.store.append(a.Entries)
	m.changes.appended(a)
	m.respond(a.responses)
}

// respond delivers what waited for a storage step: to raft itself, or to peers.
func (m *Member) respond(responses []*raftpb.Message) {
	for _, r := range responses {
		if r.GetTo() == m.id {
			m.stepRaft(r)
		} else {
			m.dispatch(r)
		}
	}
}

// wasApplied takes the news that committed entries are applied here.
func (m *Member) wasApplied(in Applied) {
	conf := m.changes.conf
	for _, cc := range in.Changes {
		conf = m.raft.ApplyConfChange(cc)
	}
	entries := in.Apply.Entries
	last := entries[len(entries)-1]
	m.applied, m.appliedTerm = last.GetIndex(), last.GetTerm()
	m.bootstrapped = m.bootstrapped || in.Bootstrapped
	m.keeper.follow(in.Leases)
	if in.ConfIndex > 0 {
		m.changes.ordered = false
		m.store.confIndex = in.ConfIndex
	}
	if in.ConfIndex > 0 || in.MembersChanged {
		m.changes.follow(in.Members, conf)
	}
	if in.ConfIndex > 0 {
		m.changes.settle()
	}
	m.keeper.decide()
	m.respond(in.Apply.responses)
	m.orders.maybeBootstrap()
}

// officeChanged takes a change of leader or of our own role.
func (m *Member) officeChanged(soft raft.SoftState) {
	was := m.leads()
	lead := m.soft.Lead
	m.soft = soft
	m.keeper.asker.restart()
	m.space.officeChanged()
	switch {
	case m.leads() && !was:
		m.orders.receivers = make(map[uint64]*forwardReceiver)
		m.changes.gainOffice()
		m.keeper.lessor.Promote(m.opts.TickMS * int64(m.opts.ElectionTicks))
	case !m.leads() && was:
		m.keeper.resign()
		m.orders.dropForeign()
		m.changes.loseOffice()
	}
	if soft.Lead != lead && soft.Lead != raft.None {
		// The round under way was asked of the old leader; a new identity keeps a late answer apart.
		m.reads.ticks = readPatience
	}
}

// readAnswered lets the reads of a round go on once its index is applied.
func (m *Member) readAnswered(rs raft.ReadState) {
	var ids []uint64
	for _, id := range m.reads.answered(rs.RequestCtx) {
		if id&proofBit != 0 {
			m.keeper.proven(id, rs.Index)
			continue
		}
		ids = append(ids, id)
	}
	if len(ids) > 0 {
		m.fx.ReadReady = append(m.fx.ReadReady, ReadReady{IDs: ids, Index: rs.Index})
	}
}

// watchDisk counts how long the oldest append is unanswered. A leader whose disk hangs hands its office on
// after one election timeout, and after another falls silent: it must not keep the office while nothing
// it accepts can become durable here.
func (m *Member) watchDisk() {
	if len(m.appends) == 0 {
		m.hungTicks = 0
		return
	}
	m.hungTicks++
	if m.leads() && m.hungTicks == m.opts.ElectionTicks {
		m.transfer(0)
	}
	if diskHangs(m) {
		m.fx.Unknown = append(m.fx.Unknown, m.waiters.All()...)
	}
}

// diskHangs tells whether the disk has been silent for two election timeouts while another member leads. Then nobody waits
// here for what would be answered when the disk goes on: clients are better off at another member.
func diskHangs(m *Member) bool {
	return m.followsLeader() && m.hungTicks >= 2*m.opts.ElectionTicks
}

// hung tells whether this member leads and its disk has been silent for two election timeouts.
func (m *Member) hung() bool {
	return m.leads() && m.hungTicks >= 2*m.opts.ElectionTicks
}

// transfer hands leadership to a member, or to the voter whose log is longest.
func (m *Member) transfer(to uint64) {
	if !m.leads() {
		return
	}
	if to == 0 {
		to = bestVoter(m)
	}
	if to != 0 {
		m.raft.TransferLeader(to)
	}
}

// bestVoter returns the voter other than the leader itself that was heard of lately and has most of the log; 0 if there is
// none. Raft's RecentActive does not tell: for a moment after each of its checks of the quorum it is false for everybody.
func bestVoter(m *Member) uint64 {
	var best, match uint64
	for id, pr := range m.raft.Status().Progress {
		if id == m.id || pr.IsLearner || !m.changes.present(id) {
			continue
		}
		if best == 0 || pr.Match > match || (pr.Match == match && id < best) {
			best, match = id, pr.Match
		}
	}
	return best
}

// snapshotReceived hands raft the message whose snapshot is now on our disk.
func (m *Member) snapshotReceived(in SnapshotReceived) {
	if len(in.Message) == 0 || frameKind(in.Message[0]) != frameRaft {
		return
	}
	if msg, err := decodeRaft(in.Message[1:]); err == nil && msg.GetFrom() == in.From {
		m.stepRaft(msg)
	}
}

func (m *Member) snapshotSent(in SnapshotSent) {
	status := raft.SnapshotFinish
	if !in.OK {
		status = raft.SnapshotFailure
	}
	m.raft.ReportSnapshot(in.To, status)
}
