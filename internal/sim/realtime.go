package sim

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// realTime proves that there is one order of all writes and linearizable reads, of clients of both protocols, which is that of
// real time where one ends before another begins, and that reads show what stands there in it.
type realTime struct {
	world  *World
	newest uint64 // the highest position that anybody has been told
	reads  []readCheck
}

// readCheck is a linearizable read that is compared with history at the end.
type readCheck struct {
	key      string
	revision int64
	found    bool
	value    string
}

// returned checks real time: an operation that began after another returned stands behind it in the one
// order. floor is what began() said.
func (o *realTime) returned(what string, floor, seq uint64) {
	if seq < floor {
		o.world.fail("%s is answered from position %d, but position %d had been told before it began", what, seq, floor)
	}
	o.newest = max(o.newest, seq)
}

// began returns the highest position that anybody has been told so far.
func (o *realTime) began() uint64 { return o.newest }

// readsMatch compares linearizable reads with the history.
func (o *realTime) readsMatch(v state.View) {
	for _, r := range o.reads {
		var res state.RangeResult
		code := v.Range(&command.Caller{Protocol: command.Internal}, &command.Range{Key: r.key, Revision: r.revision}, &res)
		if code == state.Compacted {
			continue
		}
		found, value := code == state.OK && len(res.KVs) == 1, ""
		if found {
			value = string(res.KVs[0].Value)
		}
		if found != r.found || value != r.value {
			o.world.fail("key %q was read as %v %q at revision %d, history says %v %q", r.key, r.found, r.value, r.revision, found, value)
		}
	}
}
