package replica

import "encoding/binary"

// readPatience is how many ticks a read index round may take before it is tried again.
const readPatience = 5

// readRounds turns any number of linearizable reads into one read index request at a time. Reads that
// come while a round is under way wait for the next: the leader may have answered already with an
// index from before they began.
type readRounds struct {
	member  uint64
	try     uint64   // the last identity used; each try has its own
	waiting []uint64 // reads that wait for a round to begin
	asked   []uint64 // reads of the round under way
	ticks   int      // since the round was last tried
}

// add registers a read.
func (r *readRounds) add(id uint64) { r.waiting = append(r.waiting, id) }

// begin returns the identity of a round to ask for; nil if one is under way or nobody waits.
func (r *readRounds) begin() []byte {
	if len(r.asked) > 0 || len(r.waiting) == 0 {
		return nil
	}
	r.asked, r.waiting = r.waiting, nil
	return r.again()
}

// again gives the round under way a new identity, after a leader change or a lost message.
func (r *readRounds) again() []byte {
	r.try++
	r.ticks = 0
	b := binary.BigEndian.AppendUint64(nil, r.member)
	return binary.BigEndian.AppendUint64(b, r.try)
}

// tick counts time; it returns true if the round under way should be tried again.
func (r *readRounds) tick() bool {
	if len(r.asked) == 0 {
		return false
	}
	r.ticks++
	return r.ticks >= readPatience
}

// answered returns the reads that the answer to identity settles; none if it is an answer to an
// earlier try.
func (r *readRounds) answered(identity []byte) []uint64 {
	if len(identity) != 16 || binary.BigEndian.Uint64(identity) != r.member ||
		binary.BigEndian.Uint64(identity[8:]) != r.try || len(r.asked) == 0 {
		return nil
	}
	done := r.asked
	r.asked = nil
	return done
}
