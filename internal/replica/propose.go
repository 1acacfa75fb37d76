package replica

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// Bounds of a batch: it closes at whichever comes first, and a larger command is an entry of its own.
const (
	batchBytes    = 256 << 10
	batchCommands = 1024
)

// appendsUnderWay is how many unsynced appends a leader starts: one that the disk works on and one
// that follows on its heels. The next batch gathers meanwhile.
const appendsUnderWay = 2

// orders is what a Member has yet to have ordered: by itself, if it leads, or by the leader.
type orders struct {
	m         *Member
	queue     backlog
	sender    forwardSender
	receivers map[uint64]*forwardReceiver // at the leader, by member
	lastStamp int64                       // of the last entry proposed here, ms
	bootstrap uint64                      // the term in which Bootstrap was proposed

	list  [][]byte // see encoded
	entry []byte   // see encodeBatch
}

func newOrders(m *Member) *orders {
	return &orders{
		m: m, sender: forwardSender{incarnation: m.opts.Incarnation}, receivers: make(map[uint64]*forwardReceiver),
	}
}

// tick lets one tick pass.
func (o *orders) tick() {
	if !o.m.followsLeader() {
		return
	}
	o.sender.address(o.m.term())
	if f := o.sender.tick(); f != nil {
		o.m.send(o.m.soft.Lead, f.encode())
	}
}

// enqueue takes commands that are to be ordered.
func (o *orders) enqueue(commands []Pending) {
	for _, p := range commands {
		if p.LeaderOnly && !o.m.leads() {
			o.m.notDone([]uint64{p.Number})
			continue
		}
		if p.change && o.m.leads() {
			o.m.changes.queue = append(o.m.changes.queue, p)
			continue
		}
		if p.Grows && !p.foreign && o.m.space.full {
			o.m.fx.Refused = append(o.m.fx.Refused, p.Number)
			continue
		}
		o.queue.add(p)
	}
}

// refuseGrowing takes what grows out of the queue when the cluster is full. What other members forwarded was accepted and
// stays.
func (o *orders) refuseGrowing() {
	o.queue.keep(func(p Pending) bool {
		if p.Grows && !p.foreign {
			o.m.fx.Refused = append(o.m.fx.Refused, p.Number)
			return false
		}
		return true
	})
}

// proposeBatch makes one entry of what has gathered, if this member leads and its log can take it. It
// returns whether it did.
func (o *orders) proposeBatch() bool {
	if !o.m.leads() || o.m.hung() || o.unsynced() >= appendsUnderWay {
		return false
	}
	// Raft refuses proposals while it hands its office on; then nothing is taken off the queue.
	if o.m.raft.BasicStatus().LeadTransferee != 0 {
		return false
	}
	o.m.keeper.expireSome()
	batch := o.queue.batch()
	if len(batch) == 0 || o.m.raft.Propose(o.encodeBatch(batch)) != nil {
		return false
	}
	o.m.waiters.addressed(o.m.term(), ownNumbers(batch))
	o.handedOver(batch)
	return true
}

// handedOver takes a batch out of the queue. What was needed to encode it is kept for the next one, unless it was uncommonly large.
func (o *orders) handedOver(batch []Pending) {
	o.queue.drop(len(batch))
	clear(o.list)
	if cap(o.entry) > 2*batchBytes {
		o.entry = nil
	}
}

// unsynced counts the appends under way that wait for the disk.
func (o *orders) unsynced() int {
	n := 0
	for _, a := range o.m.appends {
		if len(a.Entries) > 0 {
			n++
		}
	}
	return n
}

// encodeBatch stamps a batch with the leader's clock, which it never lets run back. The entry stands in memory that is used
// again for the next one: raft makes a copy of what is proposed.
func (o *orders) encodeBatch(batch []Pending) []byte {
	o.lastStamp = max(o.lastStamp, o.m.now.WallMS)
	o.entry = command.JoinBatch(o.entry[:0], o.lastStamp, o.encoded(batch))
	return o.entry
}

// encoded returns the bytes of each command, in a list that is used again.
func (o *orders) encoded(batch []Pending) [][]byte {
	o.list = o.list[:0]
	for _, p := range batch {
		o.list = append(o.list, p.Encoded)
	}
	return o.list
}

// ownNumbers returns the numbers of those commands that somebody here waits for.
func ownNumbers(batch []Pending) []uint64 {
	numbers := make([]uint64, 0, len(batch))
	for _, p := range batch {
		if !p.foreign {
			numbers = append(numbers, p.Number)
		}
	}
	return numbers
}

// forwardQueue hands what has gathered to the leader, if that is another member.
func (o *orders) forwardQueue() {
	if !o.m.followsLeader() || len(o.queue.waiting()) == 0 {
		return
	}
	term := o.m.term()
	o.sender.address(term)
	for len(o.queue.waiting()) > 0 && o.sender.ready() {
		batch := o.queue.batch()
		sent := sentForward{numbers: ownNumbers(batch)}
		invariant.Assert(len(sent.numbers) == len(batch), "a member that does not lead holds commands of its own alone")
		o.m.waiters.addressed(term, sent.numbers)
		o.m.send(o.m.soft.Lead, o.sender.send(sent, o.encoded(batch)).encode())
		o.handedOver(batch)
	}
}

// foreignLimit bounds, in bytes, the commands of other members that wait at the leader. Frames beyond it
// are not accepted; their senders learn that they are not done.
const foreignLimit = 64 << 20

// receiveForward takes commands that another member wants ordered.
func (o *orders) receiveForward(from uint64, f *forward) {
	if !o.m.leads() || f.term != o.m.term() {
		return // settled by the first entry of the newer term
	}
	r := o.receivers[from]
	if r == nil {
		r = &forwardReceiver{retired: make(map[uint64]bool)}
		o.receivers[from] = r
	}
	commands, leaveOut := o.foreignCommands(f)
	answer, accepted := r.accept(f, o.queue.bytes < foreignLimit, leaveOut)
	if accepted {
		o.enqueue(commands)
	}
	if answer != nil {
		o.m.send(from, answer.encode())
	}
}

// foreignCommands returns the commands of a frame without those that a full cluster does not take, and the places of these in the
// frame. What does not parse never enters the log, where every member would choke on it.
func (o *orders) foreignCommands(f *forward) (commands []Pending, leaveOut []uint64) {
	commands = make([]Pending, 0, len(f.proposals))
	for i, encoded := range f.proposals {
		var p command.Proposal
		if command.DecodeProposal(encoded, &p) != nil {
			continue
		}
		grows := command.Grows(p.Command)
		if grows && o.m.space.full {
			leaveOut = append(leaveOut, uint64(i))
			continue
		}
		commands = append(commands, Pending{
			Encoded: encoded, Grows: grows, foreign: true, change: p.Command.Kind() == command.KindChangeMembers,
		})
	}
	return commands, leaveOut
}

// dropForeign forgets commands of other members, and of our own those that only a leader may
// propose, when this member no longer leads. Their senders learn from the new term's first entry.
func (o *orders) dropForeign() {
	o.queue.keep(func(p Pending) bool {
		if p.LeaderOnly {
			o.m.notDone([]uint64{p.Number})
		}
		return !p.LeaderOnly && !p.foreign
	})
}

// maybeBootstrap proposes the settings of a new cluster, once in each term, until they are applied.
func (o *orders) maybeBootstrap() {
	if o.m.bootstrapped || !o.m.leads() || o.m.appliedTerm != o.m.term() || o.bootstrap == o.m.term() {
		return
	}
	o.bootstrap = o.m.term()
	o.internal(&command.Bootstrap{Settings: o.m.opts.Settings})
}

// internal queues a command of okapi's own that nobody waits for.
func (o *orders) internal(c command.Command) {
	o.enqueue([]Pending{{
		Encoded:    command.AppendProposal(nil, &command.Proposal{Command: c}),
		LeaderOnly: true,
	}})
}
