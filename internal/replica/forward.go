package replica

// A command that reaches a member other than the leader is forwarded to it, once. The frames of one
// member are numbered, and the leader accepts them only in sequence, so after a lost frame it accepts
// nothing until the member opens a new epoch; opening one closes the epoch before, and the answer
// says which of its frames had been accepted. Those that had not are not done, for certain, although
// frames may be lost, repeated and overtake each other.
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
	numbers []uint64
	growing []uint64 // those of them that a full cluster refuses
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

// acknowledged takes the leader's answer and returns the frames whose commands are not done.
func (s *forwardSender) acknowledged(a *forwardAck) (notDone []sentForward) {
	if a.term != s.term || a.incarnation != s.incarnation || a.epoch != s.epoch {
		return nil
	}
	for _, f := range s.closing {
		if f.seq >= a.closed {
			notDone = append(notDone, f)
		}
	}
	s.closing = nil
	n := 0
	for n < len(s.open) && s.open[n].seq < a.next {
		n++
	}
	s.open = s.open[n:]
	return notDone
}

// forwardReceiver is the leader's side, for one member and one term.
type forwardReceiver struct {
	incarnation uint64
	retired     map[uint64]bool // incarnations before, of which late frames may still arrive
	epoch       uint64
	next        uint64
	closed      uint64
}

// accept takes a frame and tells whether its commands are to be proposed. answer is nil if the frame
// is too old to deserve one.
func (r *forwardReceiver) accept(f *forward, room bool) (answer *forwardAck, accepted bool) {
	if f.incarnation != r.incarnation {
		if r.retired[f.incarnation] {
			return nil, false
		}
		r.retired[r.incarnation] = true
		r.incarnation, r.epoch, r.next = f.incarnation, 0, 1
	}
	if f.epoch < r.epoch {
		return nil, false
	}
	if f.epoch > r.epoch {
		r.closed = 1
		if f.epoch == r.epoch+1 {
			r.closed = r.next
		}
		r.epoch, r.next = f.epoch, 1
	}
	if f.seq == r.next && room {
		r.next++
		accepted = true
	}
	return &forwardAck{term: f.term, incarnation: f.incarnation, epoch: r.epoch, next: r.next, closed: r.closed}, accepted
}
