package check

import (
	"cmp"
	"slices"
)

// NeverStale checks what reads show, key by key, against the reference. A read shows what was there at its revision or zxid, never what
// nobody has written yet; a fresh one shows nothing older than a write that had been acknowledged, or a fresh read that had
// returned, when it began. It takes time n log n in the number of operations.
func NeverStale(h *History) []error {
	var wrong complaints
	sources := h.sources()
	keys := map[string]*register{}
	of := func(key string) *register {
		if keys[key] == nil {
			keys[key] = &register{states: []state{{}}, place: map[string]int{}}
		}
		return keys[key]
	}
	for i, e := range h.Events {
		of(e.Key).append(e, sources[i].operation)
	}
	zxids := h.zxids(&wrong)
	for _, o := range h.Operations {
		if o.Read != nil && o.Answered() {
			of(o.Read.Key).reads = append(of(o.Read.Key).reads, o)
		}
	}
	for _, r := range keys {
		r.check(zxids, &wrong)
	}
	return wrong.all()
}

// zxids finds when values were written, in ZooKeeper's numbers, from what anybody was told.
func (h *History) zxids(wrong *complaints) map[string]int64 {
	out := map[string]int64{}
	learn := func(value string, zxid int64, o *Operation) {
		if known := out[value]; known != 0 && known != zxid {
			wrong.add("%q was written at zxid %#x and at %#x: %v", value, known, zxid, o)
		}
		out[value] = zxid
	}
	for _, o := range h.Operations {
		if o.Outcome != Done || !o.ZooKeeper {
			continue
		}
		for _, c := range o.Changes {
			if c.Value != "" {
				learn(c.Value, o.Zxid, o)
			}
		}
		if o.Read != nil && o.Read.Value != "" {
			learn(o.Read.Value, o.Read.Mzxid, o)
		}
	}
	return out
}

// register is what a key held, one state after the other; the first is nothing.
type register struct {
	states []state
	place  map[string]int // of values in states
	reads  []*Operation
}

type state struct {
	revision int64
	value    string
	by       *Operation
}

func (r *register) append(e Event, by *Operation) {
	if e.Value != "" {
		r.place[e.Value] = len(r.states)
	}
	r.states = append(r.states, state{e.Revision, e.Value, by})
}

// check goes through the reads as they began.
func (r *register) check(zxids map[string]int64, wrong *complaints) {
	type fact struct {
		op *Operation
		at int
	}
	var facts []fact
	for i, s := range r.states {
		if s.by != nil && s.by.Outcome == Done {
			facts = append(facts, fact{s.by, i})
		}
	}
	shown := map[*Operation]int{}
	for _, o := range r.reads {
		first, last, ok := r.shows(o, zxids, wrong)
		if !ok {
			continue
		}
		shown[o] = last
		if o.Read.Fresh {
			facts = append(facts, fact{o, first})
		}
	}
	slices.SortFunc(facts, func(a, b fact) int { return cmp.Compare(a.op.Return, b.op.Return) })
	newest := fact{}
	for _, o := range byCall(r.reads) {
		for len(facts) > 0 && facts[0].op.Return < o.Call {
			if facts[0].at > newest.at {
				newest = facts[0]
			}
			facts = facts[1:]
		}
		if at, ok := shown[o]; ok && o.Read.Fresh && at < newest.at {
			wrong.add("stale read: %v shows state %d of %s, and began after state %d was known by %v", o, at, o.Read.Key, newest.at, newest.op)
		}
	}
}

// shows returns the first and the last state that a read may have shown; not ok if there is none.
func (r *register) shows(o *Operation, zxids map[string]int64, wrong *complaints) (first, last int, ok bool) {
	if !o.ZooKeeper {
		at, _ := slices.BinarySearchFunc(r.states, o.Revision+1, func(s state, revision int64) int { return cmp.Compare(s.revision, revision) })
		at-- // the last state at or before the revision; the first is at revision 0
		if r.states[at].value != o.Read.Value {
			wrong.add("shows %q at a revision at which %s is %q: %v", o.Read.Value, o.Read.Key, r.states[at].value, o)
			return 0, 0, false
		}
		return at, at, r.written(o, at, wrong)
	}
	if o.Read.Value == "" {
		return r.absent(o, zxids)
	}
	at, found := r.place[o.Read.Value]
	if !found {
		wrong.add("shows what nobody wrote: %v", o)
		return 0, 0, false
	}
	if at+1 < len(r.states) {
		if next := zxids[r.states[at+1].value]; next != 0 && next <= o.Zxid {
			wrong.add("hides the change at zxid %#x: %v", next, o)
		}
	}
	return at, at, r.written(o, at, wrong)
}

// absent returns the states without a node that a read of ZooKeeper's may have shown: those before a change that it must have seen.
func (r *register) absent(o *Operation, zxids map[string]int64) (first, last int, ok bool) {
	first = -1
	for i, s := range r.states {
		if z := zxids[s.value]; z > o.Zxid {
			break
		}
		if s.value == "" && first < 0 {
			first = i
		}
		if s.value == "" {
			last = i
		}
	}
	return first, last, first >= 0
}

// written checks that what a read shows was begun before the read returned.
func (r *register) written(o *Operation, at int, wrong *complaints) bool {
	if by := r.states[at].by; by != nil && by.Call > o.Return {
		wrong.add("shows what was written later: %v, by %v", o, by)
		return false
	}
	return true
}
