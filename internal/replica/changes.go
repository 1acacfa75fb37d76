package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Who belongs to the cluster is in the replicated state (state.Membership), and changes with a command like any
// other. Raft's configuration follows it: the entry of the command is raft's configuration change too, so that both
// change at one place of the log. It enters the joint configuration, which needs a majority of the voters before and of those
// after; raft leaves it by itself once that is committed. One change is under way at a time.
//
// A member that finds itself removed does not stop by itself: it may be the only one to know that this is committed, and the others
// may still need its vote to find out. It stops when a voter refuses its links, which that one does when it knows the end of the
// change to be committed, and for good: with its commit index on its disk.
//
// The leader adds its judgement to the command before it goes into the log: a change after which too few voters
// would be there, or that gives a vote to a member which lacks entries, is logged as refused, and every
// member finds the same refusal when it applies it.

// changes is the Member's care for who belongs to the cluster.
type changes struct {
	m       *Member
	members state.Membership  // as of the last applied entry
	conf    *raftpb.ConfState // raft's, as of the same
	counted []uint64          // everybody in conf
	// queue is, at the leader, what is to be ordered; ordered says that a change is in the log and not yet applied.
	queue    []Pending
	ordered  bool
	settling *Append          // makes durable that the last change is committed; nil once it is
	heard    map[uint64]int64 // MonotonicMS at which a frame of a member last came
	links    []state.Member   // who was last said to be linked
	// grace is for how many ticks those who have left are linked on: what they were sent last, that the change which removes
	// them is committed, is on its way.
	grace map[uint64]int
}

func newChanges(m *Member) *changes {
	b := &m.opts.Boot
	c := &changes{m: m, members: b.Members, conf: b.Conf, counted: idsOf(b.Conf), heard: make(map[uint64]int64), grace: make(map[uint64]int)}
	c.links = c.linked()
	return c
}

// caughtUpEntries is how many entries a member may lack when it gets a vote: what is under way to one that keeps up.
const caughtUpEntries = 1024

// joint tells whether raft is between two configurations.
func (c *changes) joint() bool { return len(c.conf.GetVotersOutgoing()) > 0 }

// follow takes what an applied entry or a snapshot made of the membership.
func (c *changes) follow(ms state.Membership, conf *raftpb.ConfState) {
	c.members, c.conf, c.counted = ms, conf, idsOf(conf)
	for _, was := range c.links {
		_, stays := ms.ByID(was.ID)
		if _, going := c.grace[was.ID]; !stays && !going && !slices.Contains(c.counted, was.ID) {
			c.grace[was.ID] = c.m.opts.ElectionTicks
		}
	}
	c.tellLinks()
}

// tick lets one tick pass.
func (c *changes) tick() {
	if len(c.grace) == 0 {
		return
	}
	for id := range c.grace { // each by itself
		if c.grace[id]--; c.grace[id] <= 0 {
			delete(c.grace, id)
		}
	}
	c.tellLinks()
}

// settle makes durable that a change is committed: members that were removed are needed no more once a voter knows it for good.
func (c *changes) settle() {
	hard := c.m.raft.BasicStatus().HardState
	c.settling = &Append{
		Hard: &raftpb.HardState{Term: new(hard.GetTerm()), Vote: new(hard.GetVote()), Commit: new(hard.GetCommit())}, Sync: true,
	}
	c.m.hard = c.settling.Hard
	c.m.appends = append(c.m.appends, c.settling)
	c.m.fx.Append = append(c.m.fx.Append, c.settling)
}

// appended takes the news that an append is durable.
func (c *changes) appended(a *Append) {
	if a == c.settling {
		c.settling = nil
	}
}

// dismisses tells whether this member may tell one that was removed that it is needed no more.
func (c *changes) dismisses() bool {
	self, known := c.members.ByID(c.m.id)
	return known && self.Role == command.Voter && !c.joint() && c.settling == nil
}

// tellLinks says who is to be linked, if that has changed.
func (c *changes) tellLinks() {
	if now := c.linked(); !slices.EqualFunc(now, c.links, sameAddress) {
		c.links = now
		c.m.fx.Links = &Links{Members: now}
	}
}

func sameAddress(a, b state.Member) bool {
	return a.ID == b.ID && slices.Equal(a.PeerURLs, b.PeerURLs)
}

// linked is every member, and those that were removed as long as raft still counts on them, and a little longer.
func (c *changes) linked() []state.Member {
	all := slices.Clone(c.members.Members)
	for _, was := range c.links {
		if _, stays := c.members.ByID(was.ID); !stays && (slices.Contains(c.counted, was.ID) || c.grace[was.ID] > 0) {
			all = append(all, was)
		}
	}
	return all
}

// idsOf lists everybody in a configuration of raft, some maybe twice.
func idsOf(conf *raftpb.ConfState) []uint64 {
	return slices.Concat(conf.GetVoters(), conf.GetLearners(), conf.GetVotersOutgoing(), conf.GetLearnersNext())
}

// propose orders the next change, if this member leads and none is under way. It returns whether it did.
func (c *changes) propose() bool {
	if len(c.queue) == 0 || !c.mayPropose() {
		return false
	}
	var p command.Proposal
	if err := command.DecodeProposal(c.queue[0].Encoded, &p); err != nil {
		c.queue = c.queue[1:] // it was decoded when it came
		return true
	}
	change := p.Command.(*command.ChangeMembers)
	next, code := c.members.Change(change)
	change.Verdict = command.Proceed
	if code == state.OK {
		change.Verdict, change.Behind = c.judge(next)
	}
	refused := code != state.OK || change.Verdict != command.Proceed
	if self, stays := next.ByID(c.m.id); !refused && (!stays || self.Role != command.Voter) {
		// The office is handed on first; whoever gets it finds the change again, or its sender sends it again.
		c.m.transfer(0)
		return false
	}
	changes := confChanges(change)
	data := c.m.orders.encodeBatch([]Pending{{Encoded: command.AppendProposal(nil, &p)}})
	var err error
	if refused || len(changes) == 0 {
		err = c.m.raft.Propose(data)
	} else {
		err = c.m.raft.ProposeConfChange(&raftpb.ConfChangeV2{
			Transition: raftpb.ConfChangeTransition_ConfChangeTransitionJointImplicit.Enum(), Changes: changes, Context: data,
		})
	}
	if err != nil {
		return false // the office is being handed on
	}
	c.ordered = !refused && len(changes) > 0
	c.m.waiters.addressed(c.m.term(), ownNumbers(c.queue[:1]))
	c.queue = c.queue[1:]
	return true
}

// mayPropose tells whether a change may be ordered now: by a leader that has applied everything from before its term, so
// that it knows who belongs to the cluster, and while no other change is under way.
func (c *changes) mayPropose() bool {
	m := c.m
	return m.leads() && !m.hung() && m.bootstrapped && m.appliedTerm == m.term() && !c.ordered && !c.joint() &&
		m.raft.BasicStatus().LeadTransferee == 0
}

// confChanges are a change in the terms of raft, which knows no observers; none if it concerns addresses alone.
func confChanges(c *command.ChangeMembers) (list []*raftpb.ConfChangeSingle) {
	for i := range c.Changes {
		change := &c.Changes[i]
		typ := raftpb.ConfChangeType_ConfChangeAddLearnerNode
		switch {
		case change.Action == command.SetPeerURLs:
			continue
		case change.Action == command.RemoveMember:
			typ = raftpb.ConfChangeType_ConfChangeRemoveNode
		case change.Role == command.Voter:
			typ = raftpb.ConfChangeType_ConfChangeAddNode
		}
		list = append(list, &raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: new(change.ID)})
	}
	return list
}

// judge looks whether the cluster could go on with a membership. One that is added with a vote counts as absent, since nobody
// has heard of it, and one that gets a vote must have caught up. A cluster of one may get a second
// voter all the same: etcd allows it (server/etcdserver/api/membership, IsReadyToAddVotingMember), because
// people grow single members so.
func (c *changes) judge(next state.Membership) (v command.Verdict, behind uint64) {
	voters, present := next.Voters(), 0
	for _, id := range voters {
		was, known := c.members.ByID(id)
		switch {
		case !known:
		case was.Role == command.Voter:
			if c.present(id) {
				present++
			}
		default:
			if behind := c.behind(id); behind > caughtUpEntries || !c.present(id) {
				return command.NotCaughtUp, behind
			}
			present++
		}
	}
	if present < len(voters)/2+1 && (len(c.members.Voters()) > 1 || len(voters) > 2) {
		return command.QuorumAtRisk, 0
	}
	return command.Proceed, 0
}

// present tells whether a member was heard of within an election timeout.
func (c *changes) present(id uint64) bool {
	if id == c.m.id {
		return true
	}
	at, ever := c.heard[id]
	return ever && c.m.now.MonotonicMS-at < c.m.opts.TickMS*int64(c.m.opts.ElectionTicks)
}

// behind is how many committed entries a member is not known to have.
func (c *changes) behind(id uint64) uint64 {
	st := c.m.raft.Status()
	p, known := st.Progress[id]
	if !known || p.State != tracker.StateReplicate {
		if p.Match > 0 {
			return max(caughtUpEntries+1, st.GetCommit()-min(st.GetCommit(), p.Match))
		}
		return max(caughtUpEntries+1, st.GetCommit())
	}
	return st.GetCommit() - min(st.GetCommit(), p.Match)
}

// gainOffice sorts the changes out of what a new leader has not yet handed to another.
func (c *changes) gainOffice() {
	c.ordered = false
	c.m.orders.queue.keep(func(p Pending) bool {
		if p.change {
			c.queue = append(c.queue, p)
		}
		return !p.change
	})
}

// loseOffice puts our own changes back to where they are handed to the next leader from. Those of others are dropped: their
// senders learn from the new term's first entry.
func (c *changes) loseOffice() {
	c.ordered = false
	mine := c.queue
	c.queue = nil
	for _, p := range mine {
		if !p.foreign {
			c.m.orders.queue.add(p)
		}
	}
}
