package check

import (
	"slices"
	"strings"
	"time"
)

// Lie makes a good history of a real run a bad one by altering one thing that was recorded. It is the control of the checkers: one that
// does not find the lie would not find the fault either.
type Lie struct {
	// Name says what is altered.
	Name string
	// Finder is the checker that has to find it.
	Finder func(*History) []error
	// tell alters a history; false if there is nothing in it to alter.
	tell func(*History) bool
}

// Tell returns a copy of a history with the lie in it; nil if there is nothing in it to alter.
func (l Lie) Tell(h *History) *History {
	copied := h.clone()
	if !l.tell(copied) {
		return nil
	}
	return copied
}

// clone copies all that a lie may alter.
func (h *History) clone() *History {
	out := &History{Events: slices.Clone(h.Events), Pauses: h.Pauses, Contents: h.Contents}
	owners := map[*Owner]*Owner{}
	for _, o := range h.Owners {
		copied := *o
		owners[o] = &copied
		out.Owners = append(out.Owners, &copied)
	}
	for _, o := range h.Operations {
		copied := *o
		if copied.Owner = owners[o.Owner]; o.Read != nil {
			read := *o.Read
			copied.Read = &read
		}
		out.Operations = append(out.Operations, &copied)
	}
	return out
}

// Lies are one or more for each checker.
func Lies() []Lie {
	return []Lie{
		{"an acknowledged write is not in the reference", NothingLost, loseWrite},
		{"a write that was not done is in the reference", NothingLost, doRefused},
		{"a write is done twice", NothingLost, doTwice},
		{"a linearizable get is answered at an old revision", NeverBack, func(h *History) bool { return ageRead(h, false) }},
		{"a client of ZooKeeper is shown an old zxid", NeverBack, func(h *History) bool { return ageRead(h, true) }},
		{"two writes have one revision", OneNumber, shareRevision},
		{"the number of a sequential node comes again", OneNumber, repeatNumber},
		{"a linearizable get shows an old value", NeverStale, func(h *History) bool { return staleRead(h, false, "") }},
		{"a getData after a sync shows old data", NeverStale, func(h *History) bool { return staleRead(h, true, "") }},
		{"a register shows an old value", Linearizable, staleRegister},
		{"a session that is kept alive ends", OwnersLive, func(h *History) bool { return endEarly(h, true) }},
		{"a lease that is kept alive ends", OwnersLive, func(h *History) bool { return endEarly(h, false) }},
		{"what a dead session leaves goes too late", OwnersGo, func(h *History) bool { return goLate(h, true) }},
		{"what a dead lease leaves goes too late", OwnersGo, func(h *History) bool { return goLate(h, false) }},
		{"what a dead session leaves stays", OwnersGo, stay},
	}
}

// middle finds a number that fits, from the middle on.
func middle(n int, fits func(int) bool) int {
	for i := range n {
		if at := (n/2 + i) % n; fits(at) {
			return at
		}
	}
	return -1
}

func loseWrite(h *History) bool {
	sources := h.sources()
	i := middle(len(h.Events), func(i int) bool {
		o := sources[i].operation
		return o != nil && o.Outcome == Done && o.Owner == nil && h.Events[i].Value != ""
	})
	if i >= 0 {
		h.Events = slices.Delete(h.Events, i, i+1)
	}
	return i >= 0
}

func doRefused(h *History) bool {
	sources := h.sources()
	i := middle(len(h.Events), func(i int) bool { return sources[i].operation != nil && h.Events[i].Value != "" })
	if i >= 0 {
		sources[i].operation.Outcome = NotDone
	}
	return i >= 0
}

func doTwice(h *History) bool {
	i := middle(len(h.Events), func(i int) bool { return h.Events[i].Value != "" && i+1 < len(h.Events) })
	if i >= 0 {
		again := h.Events[i]
		again.Revision = h.Events[i+1].Revision
		h.Events = slices.Insert(h.Events, i+2, again)
	}
	return i >= 0
}

func ageRead(h *History, zk bool) bool {
	i := middle(len(h.Operations), func(i int) bool {
		o := h.Operations[i]
		return i > len(h.Operations)/2 && o.Outcome == Done && o.Read != nil && o.ZooKeeper == zk && o.Read.Fresh
	})
	if i >= 0 {
		h.Operations[i].Zxid, h.Operations[i].Revision = h.Operations[i].Zxid>>1, h.Operations[i].Revision>>1
	}
	return i >= 0
}

func shareRevision(h *History) bool {
	first := -1
	i := middle(len(h.Operations), func(i int) bool {
		o := h.Operations[i]
		if !o.Write() || o.Outcome != Done || o.ZooKeeper {
			return false
		}
		if first < 0 {
			first = i
			return false
		}
		return true
	})
	if i >= 0 {
		h.Operations[i].Revision = h.Operations[first].Revision
	}
	return i >= 0
}

func repeatNumber(h *History) bool {
	sources := h.sources()
	before := map[string]string{}
	for i, e := range h.Events {
		if sources[i].operation == nil || !sources[i].operation.sequential(e.Value) {
			continue
		}
		parent := e.Key[:strings.LastIndexByte(e.Key, '/')]
		if before[parent] != "" {
			h.Events[i].Key = before[parent]
			return true
		}
		before[parent] = e.Key
	}
	return false
}

// staleRead makes a fresh read of some key (or of any, for "") show what was there before, with the numbers that go with it.
func staleRead(h *History, zk bool, key string) bool {
	sources := h.sources()
	done := map[string][]int{} // events by key
	for i, e := range h.Events {
		if o := sources[i].operation; o != nil && o.Outcome == Done {
			done[e.Key] = append(done[e.Key], i)
		}
	}
	zxids := h.zxids(&complaints{})
	i := middle(len(h.Operations), func(i int) bool {
		o := h.Operations[i]
		return o.Outcome == Done && o.Read != nil && o.Read.Fresh && o.ZooKeeper == zk && (key == "" || o.Read.Key == key) &&
			old(h, sources, done[o.Read.Key], o, zxids) >= 0
	})
	if i < 0 {
		return false
	}
	o := h.Operations[i]
	e := h.Events[old(h, sources, done[o.Read.Key], o, zxids)]
	o.Read.Value = e.Value
	if zk {
		o.Read.Mzxid = zxids[e.Value]
	} else {
		o.Revision = e.Revision
	}
	return true
}

// old finds an event with a value that a read must not show any more, since a later write had been acknowledged when the read began: -1 if there
// is none.
func old(h *History, sources []source, events []int, o *Operation, zxids map[string]int64) int {
	for n := len(events) - 2; n >= 0; n-- {
		e, next := h.Events[events[n]], sources[events[n+1]].operation
		if next.Return < o.Call && e.Value != "" && (!o.ZooKeeper || zxids[e.Value] != 0) {
			return events[n]
		}
	}
	return -1
}

func staleRegister(h *History) bool {
	for key := range h.registers() {
		if staleRead(h, false, key) {
			return true
		}
	}
	return false
}

func endEarly(h *History, session bool) bool {
	for _, o := range h.Owners {
		if o.Fate == Kept && o.Session == session && o.Told == 0 {
			o.Told = o.alive() - o.Timeout/2
			return true
		}
	}
	return false
}

// left finds the deletion of a key that a session or lease has left; -1 if there is none.
func left(h *History, session bool) int {
	owners := map[string]*Owner{}
	for o, keys := range h.owned() {
		for _, key := range keys {
			owners[key] = o
		}
	}
	return middle(len(h.Events), func(i int) bool {
		o := owners[h.Events[i].Key]
		return o != nil && o.Session == session && o.Fate == Abandoned && h.Events[i].Value == ""
	})
}

func goLate(h *History, session bool) bool {
	i := left(h, session)
	if i >= 0 {
		h.Events[i].Seen += 10 * time.Minute
	}
	return i >= 0
}

func stay(h *History) bool {
	i := left(h, true)
	if i >= 0 {
		h.Events = slices.Delete(h.Events, i, i+1)
	}
	return i >= 0
}
