package replica

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// forwarding is a member and a leader with a bad link between them, and what each of them thinks of every command.
type forwarding struct {
	t        *rapid.T
	sender   forwardSender
	receiver *forwardReceiver
	term     uint64
	next     uint64
	toLeader []*forward
	toMember []*forwardAck

	full     bool              // the leader leaves out the commands with odd numbers
	sent     map[uint64]uint64 // number to the term it was addressed to
	accepted map[uint64]bool
	left     map[uint64]bool // left out by the leader
	notDone  map[uint64]bool // that, or its frame never accepted
}

func newForwarding(t *rapid.T) *forwarding {
	f := &forwarding{
		t: t, sender: forwardSender{incarnation: 77}, sent: map[uint64]uint64{}, accepted: map[uint64]bool{},
		left: map[uint64]bool{}, notDone: map[uint64]bool{},
	}
	f.elect()
	return f
}

// elect begins a term: the leader knows nothing of its members, the member addresses itself to it.
func (f *forwarding) elect() {
	f.term++
	f.receiver = &forwardReceiver{retired: map[uint64]bool{}}
	f.sender.address(f.term)
}

func (f *forwarding) put(fw *forward) {
	if fw == nil {
		return
	}
	decoded, err := decodeForward(fw.encode()[1:])
	if err != nil {
		f.t.Fatalf("a frame does not decode: %v", err)
	}
	f.toLeader = append(f.toLeader, decoded)
}

// send hands two commands to the leader.
func (f *forwarding) send() {
	if !f.sender.ready() {
		return
	}
	numbers := []uint64{f.next + 1, f.next + 2}
	f.next += 2
	var proposals [][]byte
	for _, n := range numbers {
		f.sent[n] = f.term
		proposals = append(proposals, fmt.Append(nil, n))
	}
	f.put(f.sender.send(sentForward{numbers: numbers}, proposals))
}

// numbersOf returns the commands of a frame.
func (f *forwarding) numbersOf(fw *forward) (numbers []uint64) {
	for _, p := range fw.proposals {
		var n uint64
		if _, err := fmt.Sscan(string(p), &n); err != nil {
			f.t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// arrive has the leader take a frame.
func (f *forwarding) arrive(fw *forward, room bool) {
	if fw.term != f.term {
		return // as Member does: it is settled by the first entry of the newer term
	}
	var leaveOut []uint64
	for i, n := range f.numbersOf(fw) {
		if f.full && n%2 == 1 {
			leaveOut = append(leaveOut, uint64(i))
		}
	}
	answer, accepted := f.receiver.accept(fw, room, leaveOut)
	if answer != nil {
		decoded, err := decodeForwardAck(answer.encode()[1:])
		if err != nil {
			f.t.Fatalf("an answer does not decode: %v", err)
		}
		if n := len(decoded.refused); n > forwardWindow {
			f.t.Fatalf("an answer names commands of %d frames of one epoch", n)
		}
		f.toMember = append(f.toMember, decoded)
	}
	if !accepted {
		return
	}
	for i, n := range f.numbersOf(fw) {
		if slices.Contains(leaveOut, uint64(i)) {
			f.left[n] = true
			continue
		}
		if f.accepted[n] {
			f.t.Fatalf("command %d is accepted twice", n)
		}
		if f.notDone[n] {
			f.t.Fatalf("command %d is accepted after it was reported not done", n)
		}
		f.accepted[n] = true
	}
}

// hear has the member take an answer.
func (f *forwarding) hear(a *forwardAck) {
	lost, refused := f.sender.acknowledged(a)
	for _, n := range slices.Concat(lost, refused) {
		if f.accepted[n] {
			f.t.Fatalf("command %d is reported not done and was accepted", n)
		}
		if f.notDone[n] {
			f.t.Fatalf("command %d is reported not done twice", n)
		}
		f.notDone[n] = true
	}
	for _, n := range refused {
		if !f.left[n] {
			f.t.Fatalf("command %d is reported refused and was not left out", n)
		}
	}
	for _, n := range lost {
		if f.left[n] {
			f.t.Fatalf("command %d was left out and is reported lost", n)
		}
	}
}

// pick draws one of the frames under way, sometimes leaving it there to arrive once more.
func pick[T any](t *rapid.T, from *[]T, what string) (one T, ok bool) {
	if len(*from) == 0 {
		return one, false
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(t, what)
	one = (*from)[i]
	if rapid.IntRange(0, 3).Draw(t, "repeat") > 0 {
		*from = slices.Delete(*from, i, i+1)
	}
	return one, true
}

// settle lets the link work and time pass.
func (f *forwarding) settle() {
	for range 5 * forwardPatience {
		f.put(f.sender.tick())
		f.exchange()
	}
}

func (f *forwarding) exchange() {
	for _, fw := range f.toLeader {
		f.arrive(fw, true)
	}
	f.toLeader = nil
	for _, a := range f.toMember {
		f.hear(a)
	}
	f.toMember = nil
}

// TestForwardOverBadLink loses, repeats, delays and reorders frames and answers, fills the leader and its disks, and changes
// leaders. Nothing is accepted twice or against what was reported, and once the link works every command of the present
// term is accepted, or reported lost or refused, whichever it is.
func TestForwardOverBadLink(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newForwarding(t)
		room := true
		t.Repeat(map[string]func(*rapid.T){
			"send": func(*rapid.T) { f.send() },
			"sends": func(*rapid.T) {
				for range 4 {
					f.send()
				}
			},
			"tick": func(t *rapid.T) {
				for range rapid.IntRange(1, forwardPatience).Draw(t, "ticks") {
					f.put(f.sender.tick())
				}
			},
			"arrive": func(t *rapid.T) {
				if fw, ok := pick(t, &f.toLeader, "frame"); ok {
					f.arrive(fw, room)
				}
			},
			"hear": func(t *rapid.T) {
				if a, ok := pick(t, &f.toMember, "answer"); ok {
					f.hear(a)
				}
			},
			"exchange": func(*rapid.T) { f.exchange() },
			"lose": func(t *rapid.T) {
				pick(t, &f.toLeader, "lost frame")
				pick(t, &f.toMember, "lost answer")
			},
			"full":  func(*rapid.T) { room = !room },
			"disks": func(*rapid.T) { f.full = !f.full },
			"elect": func(*rapid.T) { f.elect() },
		})
		f.settle()
		for n, term := range f.sent {
			if term == f.term && !f.accepted[n] && !f.notDone[n] {
				t.Fatalf("command %d is neither accepted nor reported not done", n)
			}
		}
		if len(f.sender.open)+len(f.sender.closing) > 0 {
			t.Fatalf("under way for ever: %+v %+v", f.sender.open, f.sender.closing)
		}
		// And the link works as before.
		f.full = false
		f.send()
		f.settle()
		if last := f.next; !f.accepted[last] {
			t.Fatalf("command %d is not accepted over a link that works", last)
		}
	})
}

// TestForwardIncarnations: frames of an earlier process of the member are not accepted behind those of the present.
func TestForwardIncarnations(t *testing.T) {
	r := &forwardReceiver{retired: map[uint64]bool{}}
	frame := func(incarnation, epoch, seq uint64) *forward {
		return &forward{term: 1, incarnation: incarnation, epoch: epoch, seq: seq}
	}
	for i, c := range []struct {
		f        *forward
		accepted bool
		answered bool
	}{
		{frame(5, 1, 1), true, true}, {frame(5, 1, 2), true, true}, {frame(5, 1, 2), false, true},
		{frame(9, 1, 1), true, true}, {frame(5, 1, 3), false, false}, {frame(5, 2, 1), false, false},
		{frame(9, 1, 2), true, true}, {frame(9, 1, 4), false, true}, {frame(9, 2, 0), false, true},
		{frame(9, 1, 3), false, false}, {frame(9, 2, 1), true, true},
	} {
		answer, accepted := r.accept(c.f, true, nil)
		if accepted != c.accepted || (answer != nil) != c.answered {
			t.Errorf("frame %d, %+v: accepted %v, answer %+v", i, c.f, accepted, answer)
		}
	}
}

func TestForwardWindow(t *testing.T) {
	s := forwardSender{incarnation: 1}
	s.address(3)
	for i := range forwardWindow {
		if !s.ready() {
			t.Fatalf("full after %d frames", i)
		}
		s.send(sentForward{numbers: []uint64{uint64(i)}}, nil)
	}
	if s.ready() {
		t.Error("the window has no bound")
	}
}
