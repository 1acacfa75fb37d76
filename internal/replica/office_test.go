package replica

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// office is a leader of three members with its disk and its state machine, which are done at once. The others store what it sends,
// and answer what proves its office only while they listen.
type office struct {
	t *testing.T
	*Member
	applier *Applier
	listens bool
	// holds keeps the disk from being done with the write that makes the end of a change of members durable, and with all behind it.
	holds bool
	held  []*Append
	// expiries is how many have been written to the log.
	expiries int
}

func newOffice(t *testing.T) *office {
	t.Helper()
	m, disk := oneOfThree(t, nil)
	o := &office{t: t, Member: m, applier: NewApplier(1, NewStore(disk.Machine, disk.Boot.Conf, disk.Seed), m.waiters), listens: true}
	o.until("a new leader that has its settings", func() bool { return o.leads() && o.bootstrapped })
	return o
}

// until lets time pass until something is so.
func (o *office) until(what string, is func() bool) {
	o.t.Helper()
	for range 10 * missedTicks {
		if is() {
			return
		}
		o.step(Tick{})
	}
	o.t.Fatalf("there never is %s", what)
}

// propose proposes a command.
func (o *office) propose(c command.Command) {
	o.t.Helper()
	encoded := command.AppendProposal(nil, &command.Proposal{Command: c})
	o.step(Propose{Commands: []Pending{{Encoded: encoded, foreign: true, change: c.Kind() == command.KindChangeMembers}}})
}

// step gives the member an input, has its disk and its machine done with what comes of it, and answers for the others.
func (o *office) step(in Input) {
	o.t.Helper()
	for inputs := []Input{in}; len(inputs) > 0; inputs = inputs[1:] {
		var fx Effects
		o.Step(Time{}, inputs[0], &fx)
		for _, a := range fx.Append {
			o.count(a.Entries)
			if o.holds && (len(o.held) > 0 || a == o.changes.settling && !o.changes.joint()) {
				o.held = append(o.held, a)
				continue
			}
			inputs = append(inputs, Appended{Append: a})
		}
		for _, a := range fx.Apply {
			applied, err := o.applier.Apply(a)
			if err != nil {
				o.t.Fatal(err)
			}
			inputs = append(inputs, applied)
		}
		for _, out := range fx.Send {
			if answer := o.answer(out); answer != nil {
				inputs = append(inputs, Frame{From: out.To, Data: appendRaft(nil, answer)})
			}
		}
	}
}

// count counts the expiries among entries.
func (o *office) count(entries []*raftpb.Entry) {
	o.t.Helper()
	for _, e := range entries {
		var batch command.Batch
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			continue
		}
		if err := command.DecodeBatch(e.GetData(), &batch); err != nil {
			o.t.Fatal(err)
		}
		for i := range batch.Proposals {
			if batch.Proposals[i].Command.Kind() == command.KindExpire {
				o.expiries++
			}
		}
	}
}

// answer is what another member says to a frame; nil if nothing.
func (o *office) answer(out Outgoing) *raftpb.Message {
	o.t.Helper()
	msg := sentMessage(o.t, out)
	if msg == nil {
		return nil
	}
	answer := &raftpb.Message{From: new(out.To), To: new(o.id), Term: new(msg.GetTerm())}
	switch msg.GetType() {
	case raftpb.MsgPreVote:
		answer.Type = new(raftpb.MsgPreVoteResp)
	case raftpb.MsgVote:
		answer.Type = new(raftpb.MsgVoteResp)
	case raftpb.MsgApp:
		answer.Type, answer.Index = new(raftpb.MsgAppResp), new(msg.GetIndex()+uint64(len(msg.GetEntries())))
	case raftpb.MsgHeartbeat:
		if len(msg.GetContext()) > 0 && !o.listens {
			return nil
		}
		answer.Type, answer.Context = new(raftpb.MsgHeartbeatResp), msg.GetContext()
	default:
		return nil
	}
	return answer
}

// A leader ends no lease before it has proven its office, after the time of the lease was over: while it was paused, another one may
// have come into office, or news of the client may wait to be taken.
func TestExpiryIsProven(t *testing.T) {
	o := newOffice(t)
	o.propose(&command.LeaseGrant{ID: 7, TTL: 1})
	o.listens = false
	o.until("a lease whose time is over", func() bool { return len(o.keeper.proving) > 0 || o.expiries > 0 })
	o.step(Tick{})
	if o.expiries > 0 {
		t.Fatal("the end of the lease is proposed though nobody has confirmed the leader's office")
	}
	o.listens = true
	o.until("the end of the lease", func() bool { return o.expiries > 0 })
}

// A member that was removed is told so only by one whose disk holds for good that this is committed: else it might be needed once
// more, to find that out.
func TestRemovedIsDismissedWhenThatIsDurable(t *testing.T) {
	o := newOffice(t)
	o.holds = true
	o.propose(&command.ChangeMembers{Changes: []command.MemberChange{{Action: command.RemoveMember, ID: 3}}})
	o.until("a member that is not counted any more", func() bool { return o.Status().Members.WasRemoved(3) && len(o.Status().Counted) == 2 })
	if len(o.held) == 0 || o.Status().Dismisses {
		t.Fatalf("the end of the change is on its way to the disk: %v; the removed one may be told: %v", len(o.held) > 0, o.Status().Dismisses)
	}
	o.holds = false
	for _, a := range o.held {
		o.step(Appended{Append: a})
	}
	if !o.Status().Dismisses {
		t.Error("the removed one is told nothing, though the end of the change is durable")
	}
}

// A member whose disk hangs while another one leads says so, and lets go of those who wait there.
func TestHungDiskOfAFollower(t *testing.T) {
	m := follower(t)
	message := func(typ raftpb.MessageType, entries ...*raftpb.Entry) Frame {
		return Frame{From: 2, Data: appendRaft(nil, &raftpb.Message{
			Type: &typ, From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(5)), LogTerm: new(uint64(bootTerm)), Index: new(uint64(bootIndex)), Entries: entries,
		})}
	}
	number := m.waiters.Add(nil)
	var fx Effects
	m.Step(Time{}, message(raftpb.MsgApp, &raftpb.Entry{Index: new(uint64(bootIndex + 1)), Term: new(uint64(5))}), &fx)
	if len(fx.Append) == 0 {
		t.Fatal("nothing is appended")
	}
	for tick := 1; tick <= 2*missedTicks; tick++ {
		fx.reset()
		m.Step(Time{}, message(raftpb.MsgHeartbeat), &fx)
		m.Step(Time{}, Tick{}, &fx)
		hangs := tick == 2*missedTicks
		if m.Status().DiskHangs != hangs || slices.Contains(fx.Unknown, number) != hangs {
			t.Fatalf("tick %d: it hangs: %v, commands let go: %v, want %v", tick, m.Status().DiskHangs, fx.Unknown, hangs)
		}
	}
}

// A leader takes what was forwarded to it, and nothing that was meant for the leader of another term: who sent that counts on its never
// being done.
func TestForwardedToAnotherTerm(t *testing.T) {
	o := newOffice(t)
	revision := func() int64 { return o.applier.store.published().Revision() }
	encoded := command.AppendProposal(nil, &command.Proposal{Command: &command.Put{Key: "k"}})
	for _, c := range []struct {
		term uint64
		done int64
	}{{o.term() - 1, 0}, {o.term() + 1, 0}, {o.term(), 1}} {
		before := revision()
		f := &forward{term: c.term, incarnation: 1, epoch: 1, seq: 1, proposals: [][]byte{encoded}}
		o.step(Frame{From: 2, Data: f.encode()})
		o.step(Tick{})
		if done := revision() - before; done != c.done {
			t.Errorf("forwarded to the leader of term %d, in term %d: done %d times, want %d", c.term, o.term(), done, c.done)
		}
	}
}
