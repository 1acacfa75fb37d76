package replica

import "slices"

// A command that reaches a member other than the leader is forwarded to it, once. The frames of one
// member are numbered, and the leader accepts them only in sequence, so after a lost frame it accepts
// nothing until the member opens a new epoch; opening one closes the epoch before, and the answer
// says which of its frames had been accepted. Those that had not are not done, for certain, although
// frames may be lost, repeated and overtake each other.
//
// The leader of a full cluster accepts frames all the same, leaves out what grows and names it in its answers: those commands
// are not done, for certain, and what stands around them goes on in its order.
//
// Nothing of this outlives the term: commands addressed to a leader that is gone are settled by the
// first entry of a newer term.

// forwardWindow bounds the frames under way to the leader; commands beyond wait and gather.
const forwardWindow = 8

// forwardPatience is how many ticks a frame may stay unanswered before its epoch is given up.
const forwardPatience = 5

// sentForward is a frame that the leader has not yet confirmed.
type sentForward struct {
	seq     uint64
	numbers []uint64 // of the commands, as they stand in the frame
	ticks   int      // since it was sent
}

// forwardSender is the member's side.
type forwardSender struct {
	incarnation uint64
	term        uint64 // of the leader that the open epoch is addressed to
	epoch, seq  uint64
	open        []sentForward // of this epoch
	closing     []sentForward // of the epoch before, until the leader has closed it
}

// address turns the sender to the leader of term. What was under way to an earlier leader is left to
// the first entry of the new term.
func (s *forwardSender) address(term uint64) {
	if term == s.term {
		return
	}
	s.term, s.open, s.closing = term, nil, nil
	s.epoch, s.seq = s.epoch+1, 0
}

// ready tells whether another frame may be sent.
func (s *forwardSender) ready() bool { return len(s.open) < forwardWindow }

// send makes the next frame.
func (s *forwardSender) send(batch sentForward, proposals [][]byte) *forward {
	s.seq++
	batch.seq = s.seq
	s.open = append(s.open, batch)
	f := s.opening()
	f.seq, f.proposals = s.seq, proposals
	return f
}

// opening makes a frame that carries nothing and opens the epoch.
func (s *forwardSender) opening() *forward {
	return &forward{term: s.term, incarnation: s.incarnation, epoch: s.epoch}
}

// tick counts the time that frames stay unanswered. It returns a frame to send, if the epoch must
// be given up or the opening of this one be asked again.
func (s *forwardSender) tick() *forward {
	for i := range s.open {
		s.open[i].ticks++
	}
	if len(s.closing) > 0 {
		return s.opening()
	}
	if len(s.open) == 0 || s.open[0].ticks < forwardPatience {
		return nil
	}
	s.closing, s.open = s.open, nil
	s.epoch, s.seq = s.epoch+1, 0
	return s.opening()
}

// acknowledged takes the leader's answer and returns the commands that are not done: those of frames that the leader will never
// accept, and those that it left out because the cluster is full.
func (s *forwardSender) acknowledged(a *forwardAck) (notDone, refused []uint64) {
	if a.term != s.term || a.incarnation != s.incarnation || a.epoch != s.epoch {
		return nil, nil
	}
	for _, f := range s.closing {
		if f.seq >= a.closed {
			notDone = append(notDone, f.numbers...)
		} else {
			refused = f.appendNamed(refused, a.closedRefused)
		}
	}
	s.closing = nil
	for len(s.open) > 0 && s.open[0].seq < a.next {
		refused = s.open[0].appendNamed(refused, a.refused)
		s.open = s.open[1:]
	}
	return notDone, refused
}

// appendNamed appends the numbers of those commands of the frame that refusals name.
func (f *sentForward) appendNamed(to []uint64, refusals []refusal) []uint64 {
	for _, r := range refusals {
		if r.seq != f.seq {
			continue
		}
		for _, place := range r.places {
			if place < uint64(len(f.numbers)) {
				to = append(to, f.numbers[place])
			}
		}
	}
	return to
}

// forwardReceiver is the leader's side, for one member and one term.
type forwardReceiver struct {
	incarnation uint64
	retired     map[uint64]bool // incarnations before, of which late frames may still arrive
	epoch       uint64
	next        uint64
	closed      uint64
	// refused is what was left out of the last forwardWindow frames that were accepted: the sender has no more under way. An epoch
	// that was closed leaves its own in closedRefused.
	refused, closedRefused []refusal
}

// accept takes a frame and tells whether its commands are to be proposed, but for those at the places in leaveOut, which are then
// refused. answer is nil if the frame is too old to deserve one.
func (r *forwardReceiver) accept(f *forward, room bool, leaveOut []uint64) (answer *forwardAck, accepted bool) {
	if f.incarnation != r.incarnation {
		if r.retired[f.incarnation] {
			return nil, false
		}
		r.retired[r.incarnation] = true
		r.incarnation, r.epoch, r.next, r.refused = f.incarnation, 0, 1, nil
	}
	if f.epoch < r.epoch {
		return nil, false
	}
	if f.epoch > r.epoch {
		r.closed, r.closedRefused = 1, nil
		if f.epoch == r.epoch+1 {
			r.closed, r.closedRefused = r.next, r.refused
		}
		r.epoch, r.next, r.refused = f.epoch, 1, nil
	}
	if f.seq == r.next && room {
		r.next++
		accepted = true
		r.refuse(f.seq, leaveOut)
	}
	return &forwardAck{
		term: f.term, incarnation: f.incarnation, epoch: r.epoch, next: r.next, closed: r.closed,
		refused: r.refused, closedRefused: r.closedRefused,
	}, accepted
}

// refuse remembers what is left out of the frame that was just accepted, and forgets what the sender has heard of: it sent this
// frame only after an answer for the one that many before it.
func (r *forwardReceiver) refuse(seq uint64, places []uint64) {
	r.refused = slices.DeleteFunc(r.refused, func(f refusal) bool { return f.seq+forwardWindow <= seq })
	if len(places) > 0 {
		r.refused = append(r.refused, refusal{seq, places})
	}
}
