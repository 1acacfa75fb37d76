package differential

import (
	"math/rand/v2"

	"google.golang.org/protobuf/proto"
)

// action is one request that a step makes, on both servers alike.
type action struct {
	// name is the call, where the action is one.
	name string
	// text is the request for a reader.
	text string
	// request is the message that is sent, if it is one.
	request proto.Message
	// do makes the request and returns the answer.
	do func(*side) answer
	// learn takes from the reference's answer what later steps build on; nil for nothing.
	learn func(*world, answer)
	// quiet says that only what was recorded on streams matters, not the answer.
	quiet bool
	// settle says that all events must have arrived before the action, because what it does to those under
	// way is a race in etcd too.
	settle bool
}

// kind is a sort of step.
type kind struct {
	name string
	// weight is how often it is drawn, relative to the others.
	weight int
	// draw makes the actions of the step; none if there is nothing to do now.
	draw func(*world, *rand.Rand) []action
}

// kindRestart is the one that makes no request: both servers are killed and started again.
const kindRestart = "kill and restart"

// kinds is every sort of step.
var kinds = []kind{
	{"range", 220, drawRange},
	{"range stream", 40, drawRangeStream},
	{"put", 240, drawPut},
	{"delete range", 70, drawDeleteRange},
	{"txn", 220, drawTxn},
	{"huge txn", 6, drawHugeTxn},
	{"compact", 16, drawCompact},
	{"oversize", 2, drawOversize},
	{"big values", 2, drawBigValues},
	{"lease grant", 40, drawGrant},
	{"lease grant without id", 4, drawGrantWithoutID},
	{"lease grant below minimum", 4, drawShortGrant},
	{"lease revoke", 18, drawRevoke},
	{"lease time to live", 25, drawTimeToLive},
	{"lease keep alive", 18, drawKeepAlive},
	{"lease leases", 8, drawLeases},
	{"watch create", 36, drawWatch},
	{"watch cancel", 14, drawCancel},
	{"watch progress", 8, drawProgress},
	{"watch half-close", 1, drawHalfClose},
	{"watch close", 2, drawClose},
	{kindRestart, 1, nil},
}

// kindOf draws the kind of a step. It depends on the step alone, so that a script that was shrunk does
// what it did before.
func kindOf(r *rand.Rand) *kind {
	total := 0
	for i := range kinds {
		total += kinds[i].weight
	}
	at := r.IntN(total)
	for i := range kinds {
		if at -= kinds[i].weight; at < 0 {
			return &kinds[i]
		}
	}
	panic("the weights do not add up")
}

// script is a list of steps, by number; step n of a seed is always drawn from the same random numbers,
// whichever steps stand before it.
type script struct {
	seed  uint64
	steps []int
}

func newScript(seed uint64, n int) script {
	s := script{seed: seed}
	for i := range n {
		s.steps = append(s.steps, i)
	}
	return s
}

// random returns the random numbers of a step.
func (s script) random(step int) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed, uint64(step)))
}

// world is what a script knows of the stores, from the replies of the reference. Steps are drawn with it,
// so that they name revisions, leases and watches that mean something.
type world struct {
	// revision is that of the store, compacted the last that was compacted at; 0 before that.
	revision, compacted int64
	// leases are those that live, in the order in which they were granted.
	leases []int64
	// watches are those of each stream that is open.
	streams [streamSlots]*streamState
	// history is every event so far, as the reference told it.
	history []event
}

// pick draws one of several.
func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// oneIn is true once in n times.
func oneIn(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }
