package replica

import (
	"github.com/okapi-kv/okapi/internal/core/command"
)

// Bounds of a batch: it closes at whichever comes first, and a larger command is an entry of its own.
const (
	batchBytes    = 256 << 10
	batchCommands = 1024
)

// appendsUnderWay is how many unsynced appends a leader starts: one that the disk works on and one
// that follows on its heels. The next batch gathers meanwhile.
const appendsUnderWay = 2

// enqueue takes commands that are to be ordered.
func (m *Member) enqueue(commands []Pending) {
	for _, p := range commands {
		if p.LeaderOnly && !m.leads() {
			m.notDone([]uint64{p.Number})
			continue
		}
		m.queue = append(m.queue, p)
		m.queueBytes += len(p.Encoded)
	}
}

// takeBatch takes the next batch off the queue.
func (m *Member) takeBatch() []Pending {
	n, size := 0, 0
	for n < len(m.queue) && n < batchCommands {
		size += len(m.queue[n].Encoded)
		if n > 0 && size > batchBytes {
			size -= len(m.queue[n].Encoded)
			break
		}
		n++
	}
	batch := m.queue[:n:n]
	m.queue = m.queue[n:]
	m.queueBytes -= size
	if len(m.queue) == 0 {
		m.queue = nil
	}
	return batch
}

// proposeBatch makes one entry of what has gathered, if this member leads and its log can take it. It
// returns whether it did.
func (m *Member) proposeBatch() bool {
	if !m.leads() || len(m.queue) == 0 || m.hung() || m.unsynced() >= appendsUnderWay {
		return false
	}
	// Raft refuses proposals while it hands its office on; then nothing is taken off the queue.
	if m.raft.BasicStatus().LeadTransferee != 0 {
		return false
	}
	batch := m.takeBatch()
	if err := m.raft.Propose(m.encodeBatch(batch)); err != nil {
		m.queue = append(batch, m.queue...)
		return false
	}
	m.waiters.addressed(m.term(), ownNumbers(batch))
	return true
}

// unsynced counts the appends under way that wait for the disk.
func (m *Member) unsynced() int {
	n := 0
	for _, a := range m.appends {
		if len(a.Entries) > 0 {
			n++
		}
	}
	return n
}

// encodeBatch stamps a batch with the leader's clock, which it never lets run back.
func (m *Member) encodeBatch(batch []Pending) []byte {
	m.lastStamp = max(m.lastStamp, m.now.WallMS)
	encoded := make([][]byte, len(batch))
	for i, p := range batch {
		encoded[i] = p.Encoded
	}
	return command.JoinBatch(make([]byte, 0, command.JoinedSize(encoded)), m.lastStamp, encoded)
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
func (m *Member) forwardQueue() {
	if !m.followsLeader() || len(m.queue) == 0 {
		return
	}
	term := m.term()
	m.sender.address(term)
	for len(m.queue) > 0 && m.sender.ready() {
		batch := m.takeBatch()
		numbers, encoded := ownNumbers(batch), make([][]byte, len(batch))
		for i, p := range batch {
			encoded[i] = p.Encoded
		}
		m.waiters.addressed(term, numbers)
		m.send(m.soft.Lead, m.sender.send(numbers, encoded).encode())
	}
}

// foreignLimit bounds, in bytes, the commands of other members that wait at the leader. Frames beyond it
// are not accepted; their senders learn that they are not done.
const foreignLimit = 64 << 20

// receiveForward takes commands that another member wants ordered.
func (m *Member) receiveForward(from uint64, f *forward) {
	if !m.leads() || f.term != m.term() {
		return // settled by the first entry of the newer term
	}
	r := m.receivers[from]
	if r == nil {
		r = &forwardReceiver{retired: make(map[uint64]bool)}
		m.receivers[from] = r
	}
	answer, accepted := r.accept(f, m.queueBytes < foreignLimit)
	if accepted {
		commands := make([]Pending, 0, len(f.proposals))
		for _, p := range f.proposals {
			// What does not parse never enters the log, where every member would choke on it.
			if command.DecodeProposal(p, new(command.Proposal)) == nil {
				commands = append(commands, Pending{Encoded: p, foreign: true})
			}
		}
		m.enqueue(commands)
	}
	if answer != nil {
		m.send(from, answer.encode())
	}
}

// dropForeign forgets commands of other members, and of our own those that only a leader may
// propose, when this member no longer leads. Their senders learn from the new term's first entry.
func (m *Member) dropForeign() {
	kept := m.queue[:0:0]
	m.queueBytes = 0
	for _, p := range m.queue {
		switch {
		case p.LeaderOnly:
			m.notDone([]uint64{p.Number})
		case !p.foreign:
			kept = append(kept, p)
			m.queueBytes += len(p.Encoded)
		}
	}
	m.queue = kept
}

// bootstrap proposes the settings of a new cluster, once in each term, until they are applied.
func (m *Member) bootstrap() {
	if m.bootstrapped || !m.leads() || m.appliedTerm != m.term() || m.bootstrapAt == m.term() {
		return
	}
	m.bootstrapAt = m.term()
	m.enqueueInternal(&command.Bootstrap{Settings: m.opts.Settings})
}

// enqueueInternal queues a command of okapi's own that nobody waits for.
func (m *Member) enqueueInternal(c command.Command) {
	m.enqueue([]Pending{{
		Encoded:    command.AppendProposal(nil, &command.Proposal{Command: c}),
		LeaderOnly: true,
	}})
}
