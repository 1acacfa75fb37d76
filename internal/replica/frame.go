package replica

import (
	"encoding/binary"
	"errors"
)

// frameKind is the first byte of a frame between members.
type frameKind byte

const (
	frameRaft       frameKind = 1 // a raft message, as protobuf
	frameForward    frameKind = 2 // commands for the leader
	frameForwardAck frameKind = 3 // what became of them
	frameTouch      frameKind = 4 // sessions heard of, and what is asked about them
	frameTouchAck   frameKind = 5 // that it counts, and the answers
	frameCutQuery   frameKind = 6 // how far does your log reach?
	frameCutAnswer  frameKind = 7
)

// errFrame is returned for a frame that does not parse. Links check sums, so it means a peer of
// another version or a defect; the frame is dropped.
var errFrame = errors.New("malformed frame")

// forward carries commands of one member to the leader. Frames of one epoch are accepted only in
// sequence, so that the sender knows what a lost one took with it; see forward.go.
type forward struct {
	term        uint64 // of the leader it is addressed to
	incarnation uint64 // of the sender's process
	epoch       uint64
	seq         uint64 // from 1 in each epoch; 0 only opens the epoch
	proposals   [][]byte
}

// forwardAck tells a member what became of its forwarded commands.
type forwardAck struct {
	term        uint64 // the term the forward was addressed to
	incarnation uint64 // as in the forward
	epoch       uint64 // the epoch that is open
	next        uint64 // frames of epoch below next were accepted, none from next on so far
	closed      uint64 // of the epoch before, frames below closed were accepted, and no other ever will be
	// refused are the commands that were left out of accepted frames of epoch, closedRefused those of the epoch before. Each answer
	// has all that the sender may not have heard of: answers are lost too.
	refused, closedRefused []refusal
}

// refusal names the commands of an accepted frame that the leader left out, because they grow and the disks of the cluster were
// full. All others of the frame were taken.
type refusal struct {
	seq    uint64
	places []uint64 // in the frame, from 0
}

// touch reports the sessions and leases that a member heard of since its last report, and carries what its
// clients ask of the leader.
type touch struct {
	term   uint64
	report uint64
	low    bool  // the member's disk has less room than its reserve
	tick   int64 // of the leader's Lessor, in which the report is sent at the latest; 0: not known
	ids    []dated
	renew  []dated // to be given their whole time again: the answer is waited for
	look   []int64 // whose time left is asked

	heard int64 // at the leader: the tick in which it came
}

// asks tells whether the report carries something to be answered.
func (t *touch) asks() bool { return len(t.renew)+len(t.look) > 0 }

// touchAck confirms a report: its touches count from now on.
type touchAck struct {
	term, report uint64
	heard        int64 // the tick of the leader's Lessor in which the report came
	// decided says that what the report asks is answered too. What was to be renewed is, unless one of the lists
	// has it.
	decided bool
	full    bool    // the disks of the cluster are full: nothing that grows is taken
	gone    []int64 // no such session or lease
	open    []int64 // its time is up, and what becomes of it is not settled
	left    []timeLeft
}

// timeLeft is how long a session or lease has before it may expire.
type timeLeft struct{ id, ms int64 }

func (f *forward) encode() []byte {
	size := 1 + 5*binary.MaxVarintLen64
	for _, p := range f.proposals {
		size += binary.MaxVarintLen64 + len(p)
	}
	b := make([]byte, 0, size)
	b = append(b, byte(frameForward))
	b = appendUvarints(b, f.term, f.incarnation, f.epoch, f.seq, uint64(len(f.proposals)))
	for _, p := range f.proposals {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// decodeForward parses a forward; its proposals alias body.
func decodeForward(body []byte) (*forward, error) {
	r := frameReader{rest: body}
	f := &forward{term: r.uvarint(), incarnation: r.uvarint(), epoch: r.uvarint(), seq: r.uvarint()}
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)) {
		return nil, errFrame
	}
	f.proposals = make([][]byte, 0, min(n, batchCommands)) // no member sends more
	for range n {
		f.proposals = append(f.proposals, r.bytes())
	}
	return f, r.done()
}

func (a *forwardAck) encode() []byte {
	b := appendUvarints([]byte{byte(frameForwardAck)}, a.term, a.incarnation, a.epoch, a.next, a.closed)
	return appendRefusals(appendRefusals(b, a.refused), a.closedRefused)
}

func decodeForwardAck(body []byte) (*forwardAck, error) {
	r := frameReader{rest: body}
	a := &forwardAck{term: r.uvarint(), incarnation: r.uvarint(), epoch: r.uvarint(), next: r.uvarint(), closed: r.uvarint()}
	a.refused, a.closedRefused = r.refusals(), r.refusals()
	return a, r.done()
}

func (t *touch) encode() []byte {
	b := make([]byte, 0, 1+7*binary.MaxVarintLen64+(8+2)*(len(t.ids)+len(t.renew))+8*len(t.look))
	b = appendUvarints(append(b, byte(frameTouch)), t.term, t.report, flagBits(t.low), uint64(t.tick))
	return appendIDs(appendDated(appendDated(b, t.ids), t.renew), t.look)
}

func decodeTouch(body []byte) (*touch, error) {
	r := frameReader{rest: body}
	t := &touch{term: r.uvarint(), report: r.uvarint()}
	r.flags(&t.low)
	t.tick = int64(r.uvarint())
	t.ids, t.renew, t.look = r.dated(), r.dated(), r.ids()
	return t, r.done()
}

func (a *touchAck) encode() []byte {
	b := appendUvarints([]byte{byte(frameTouchAck)}, a.term, a.report, uint64(a.heard), flagBits(a.decided, a.full))
	b = appendIDs(appendIDs(b, a.gone), a.open)
	b = binary.AppendUvarint(b, uint64(len(a.left)))
	for _, l := range a.left {
		b = binary.BigEndian.AppendUint64(b, uint64(l.id))
		b = binary.BigEndian.AppendUint64(b, uint64(l.ms))
	}
	return b
}

func decodeTouchAck(body []byte) (*touchAck, error) {
	r := frameReader{rest: body}
	a := &touchAck{term: r.uvarint(), report: r.uvarint(), heard: int64(r.uvarint())}
	r.flags(&a.decided, &a.full)
	a.gone, a.open = r.ids(), r.ids()
	for range r.count(16) {
		a.left = append(a.left, timeLeft{id: r.int64(), ms: r.int64()})
	}
	return a, r.done()
}

func appendIDs(b []byte, ids []int64) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	return b
}

func appendDated(b []byte, all []dated) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, d := range all {
		b = binary.AppendUvarint(binary.BigEndian.AppendUint64(b, uint64(d.id)), d.age)
	}
	return b
}

func appendRefusals(b []byte, refusals []refusal) []byte {
	b = binary.AppendUvarint(b, uint64(len(refusals)))
	for _, f := range refusals {
		b = appendUvarints(appendUvarints(b, f.seq, uint64(len(f.places))), f.places...)
	}
	return b
}

func appendUvarints(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// flagBits packs flags into a number, the first into the lowest bit.
func flagBits(flags ...bool) (bits uint64) {
	for i, set := range flags {
		if set {
			bits |= 1 << i
		}
	}
	return bits
}

// frameReader takes fields off the front of a frame and remembers whether one was missing.
type frameReader struct {
	rest []byte
	bad  bool
}

func (r *frameReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// flags takes what flagBits made of as many flags.
func (r *frameReader) flags(into ...*bool) {
	bits := r.uvarint()
	r.bad = r.bad || bits>>len(into) != 0
	for i, flag := range into {
		*flag = bits>>i&1 == 1
	}
}

// count takes the number of items of size bytes each that follow; 0 if they cannot all be there.
func (r *frameReader) count(size int) int {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

// int64 takes a number of eight bytes, which count has seen to be there.
func (r *frameReader) int64() int64 {
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return int64(v)
}

// ids takes a list of ids; nil for an empty one.
func (r *frameReader) ids() []int64 {
	n := r.count(8)
	if n == 0 {
		return nil
	}
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = r.int64()
	}
	return ids
}

// dated takes a list of ids with their ages; nil for an empty one.
func (r *frameReader) dated() []dated {
	n := r.count(8 + 1)
	if n == 0 {
		return nil
	}
	all := make([]dated, n)
	for i := range all {
		if len(r.rest) < 8 { // longer ages than count reckons with
			r.bad = true
			return nil
		}
		all[i] = dated{r.int64(), r.uvarint()}
	}
	return all
}

// refusals takes what appendRefusals made; nil for an empty list.
func (r *frameReader) refusals() (refusals []refusal) {
	for range r.count(2) {
		f := refusal{seq: r.uvarint()}
		for range r.count(1) {
			f.places = append(f.places, r.uvarint())
		}
		refusals = append(refusals, f)
	}
	return refusals
}

func (r *frameReader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		r.rest = nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// done says whether the frame held all fields and nothing else.
func (r *frameReader) done() error {
	if r.bad || len(r.rest) != 0 {
		return errFrame
	}
	return nil
}
