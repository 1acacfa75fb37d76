package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// cutMember is a member of three whose log was cut at the start. Its disk is always done at once.
type cutMember struct {
	t *testing.T
	*Member
	// sent are the kinds of raft's messages that it has sent since the last look, and cleared says that the cut is settled.
	sent    []raftpb.MessageType
	cleared bool
}

func newCutMember(t *testing.T) *cutMember {
	t.Helper()
	m, _ := oneOfThree(t, func(b *Boot) { b.Cut = true })
	return &cutMember{t: t, Member: m}
}

// step gives the member an input and has its disk done with what comes of it. Refusals are not noted.
func (c *cutMember) step(in Input) {
	c.t.Helper()
	for inputs := []Input{in}; len(inputs) > 0; inputs = inputs[1:] {
		var fx Effects
		c.Step(Time{}, inputs[0], &fx)
		for _, a := range fx.Append {
			c.cleared = c.cleared || a.ClearCut
			inputs = append(inputs, Appended{Append: a})
		}
		for _, out := range fx.Send {
			if msg := sentMessage(c.t, out); msg != nil && !msg.GetReject() {
				c.sent = append(c.sent, msg.GetType())
			}
		}
	}
}

// looks returns what was sent since the last look.
func (c *cutMember) looks() (sent []raftpb.MessageType) {
	sent, c.sent = c.sent, nil
	return sent
}

// tell has another member tell how far its log reaches.
func (c *cutMember) tell(from uint64, t tale) {
	c.t.Helper()
	c.step(Frame{From: from, Data: appendUvarints([]byte{byte(frameCutAnswer)}, t.term, t.lastTerm, t.lastIndex)})
}

// votes asks for its vote in a term, for a member whose log reaches far, and says whether it was given.
func (c *cutMember) votes(term uint64) bool {
	c.t.Helper()
	c.looks()
	c.step(Frame{From: 2, Data: appendRaft(nil, &raftpb.Message{
		Type: new(raftpb.MsgVote), From: new(uint64(2)), To: new(uint64(1)), Term: new(term), LogTerm: new(uint64(50)), Index: new(uint64(500)),
	})})
	for _, kind := range c.looks() {
		if kind == raftpb.MsgVoteResp {
			return true
		}
	}
	return false
}

// stands lets so much time pass that it would have stood for election, and says whether it did.
func (c *cutMember) stands() bool {
	c.t.Helper()
	c.looks()
	for range 4 * missedTicks {
		c.step(Tick{})
	}
	for _, kind := range c.looks() {
		if kind == raftpb.MsgPreVote || kind == raftpb.MsgVote {
			return true
		}
	}
	return false
}

// A member with a cut log does not vote before a majority of the others has told, and then only above the terms told of.
func TestCutMemberVotes(t *testing.T) {
	c := newCutMember(t)
	if c.votes(5) {
		t.Error("it votes before anybody has told")
	}
	c.tell(2, tale{term: 9, lastTerm: 3, lastIndex: 7})
	if c.votes(20) {
		t.Error("it votes before a majority has told")
	}
	c.tell(3, tale{term: 30, lastTerm: 3, lastIndex: 6})
	if c.votes(30) {
		t.Error("it votes in a term that it was told of, in which it may have voted before")
	}
	if !c.votes(31) {
		t.Error("it does not vote in a term above all that it was told of")
	}
	if c.cleared {
		t.Error("the cut is settled though another member's log reaches further")
	}
}

// A member with a cut log stands for election once nobody's log reaches further.
func TestCutMemberStands(t *testing.T) {
	c := newCutMember(t)
	if c.stands() {
		t.Error("it stands before anybody has told")
	}
	c.tell(2, tale{term: 9, lastTerm: bootTerm, lastIndex: bootIndex})
	if c.stands() {
		t.Error("it stands before a majority has told")
	}
	c.tell(3, tale{term: 9, lastTerm: bootTerm, lastIndex: bootIndex + 1})
	if c.stands() || c.cleared {
		t.Errorf("it stands, or the cut is settled (%v), though the log of another member reaches further", c.cleared)
	}
	c.tell(3, tale{term: 9, lastTerm: bootTerm, lastIndex: bootIndex})
	if !c.cleared || !c.stands() {
		t.Errorf("the cut is settled: %v; then it stands for election, as nobody's log reaches further", c.cleared)
	}
}
