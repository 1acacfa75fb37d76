package replica

import (
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// A crash in the middle of a write leaves a torn batch, which the log cuts off. The batch was not synced and so
// nobody was told of it, if the disk keeps its word. A disk that does not may have lost what this member
// acknowledged, votes included. So a member with a cut asks the others how far their logs reach. Until a
// majority of the members has told, our own word not counted, it does not stand for election and does not
// vote; afterwards it votes only in terms above all that it was told of, in which it cannot have voted before,
// and stands for election once its log reaches as far as the furthest that it was told of. With one member
// damaged and another one down, three members therefore do not serve.

// tale is how far the log of a member reaches, as that member tells.
type tale struct {
	term, lastTerm, lastIndex uint64
}

// beyond tells whether t reaches further than u in raft's order of logs.
func (t tale) beyond(u tale) bool {
	return t.lastTerm > u.lastTerm || t.lastTerm == u.lastTerm && t.lastIndex > u.lastIndex
}

// cut is a Member's care for the end of its log.
type cut struct {
	m     *Member
	open  bool // something was cut off and it is not yet known what it was
	tales map[uint64]tale
	// floor is the highest term that the tales told of; votes are given only above it.
	floor uint64
}

func newCut(m *Member) *cut {
	return &cut{m: m, open: m.opts.Boot.Cut, tales: make(map[uint64]tale)}
}

// voters are the members whose voices count, without this one.
func (c *cut) voters() []uint64 {
	ids := c.m.raft.Status().Config.Voters.IDs()
	delete(ids, c.m.id)
	return slices.Sorted(maps.Keys(ids))
}

// tick asks the others again while something is open.
func (c *cut) tick() {
	if !c.open {
		return
	}
	for _, id := range c.voters() {
		c.m.send(id, []byte{byte(frameCutQuery)})
	}
	c.settle()
}

// answer tells another member how far our log reaches.
func (c *cut) answer(to uint64) {
	t := c.own()
	c.m.send(to, appendUvarints([]byte{byte(frameCutAnswer)}, t.term, t.lastTerm, t.lastIndex))
}

// own is our tale: what is durable here.
func (c *cut) own() tale {
	last := c.m.store.last()
	term, err := c.m.store.Term(last)
	if err != nil {
		return tale{term: c.m.store.hard.GetTerm()} // it cannot be read back: claim nothing
	}
	return tale{term: c.m.store.hard.GetTerm(), lastTerm: term, lastIndex: last}
}

// hear takes a tale of another member.
func (c *cut) hear(from uint64, body []byte) {
	r := frameReader{rest: body}
	t := tale{term: r.uvarint(), lastTerm: r.uvarint(), lastIndex: r.uvarint()}
	if r.done() != nil || !c.open {
		return
	}
	c.tales[from] = t
	c.settle()
}

// settle closes the matter when a majority has spoken and nobody reaches further than we do.
func (c *cut) settle() {
	if !c.told() {
		return
	}
	own, behind := c.own(), false
	for _, t := range c.tales { // a maximum and a disjunction over all: the order does not matter
		c.floor = max(c.floor, t.term)
		behind = behind || t.beyond(own)
	}
	if behind {
		return
	}
	c.open = false
	a := &Append{Sync: true, ClearCut: true}
	c.m.appends = append(c.m.appends, a)
	c.m.fx.Append = append(c.m.fx.Append, a)
}

// told tells whether a majority has spoken.
func (c *cut) told() bool {
	voters := c.voters()
	heard := 0
	for _, id := range voters {
		if _, ok := c.tales[id]; ok {
			heard++
		}
	}
	majority := (len(voters)+1)/2 + 1
	return heard >= min(majority, len(voters))
}

// refuses tells whether a message from a peer must not be answered because of the cut.
func (c *cut) refuses(msg *raftpb.Message) bool {
	switch msg.GetType() {
	case raftpb.MsgVote:
		return c.open && !c.told() || msg.GetTerm() <= c.floor
	case raftpb.MsgPreVote:
		// It binds nobody. Were it refused up to the floor, a candidate whose term lies behind would
		// never hear of the newer one and ask in vain for ever.
		return c.open && !c.told()
	case raftpb.MsgTimeoutNow:
		return c.open
	}
	return false
}

// silences tells whether a message of ours must not be sent because of the cut.
func (c *cut) silences(msg *raftpb.Message) bool {
	t := msg.GetType()
	return c.open && (t == raftpb.MsgVote || t == raftpb.MsgPreVote)
}
