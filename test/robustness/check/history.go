// Package check says whether what clients of both protocols saw of one cluster can be, if the cluster keeps its promises. It knows no
// cluster: a History goes in, and what is wrong with it comes out. Each promise has a file and a function of its own.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outcome is what a client knows of an operation that it began.
type Outcome uint8

// The outcomes. They are never confused: what is not known to be done or not is Unknown.
const (
	// Done: it was answered, and a write changed what it was to change.
	Done Outcome = iota
	// Refused: it was answered, decided in its place in the order, and changed nothing: a comparison failed, a node was missing.
	Refused
	// NotDone: the server says, or the client knows, that it was not carried out and never will be.
	NotDone
	// Unknown: it may have been carried out, or may still be.
	Unknown
)

// Operation is one call of one client. Times are of one monotonic clock, since the beginning of the run.
type Operation struct {
	// Client is who called, with one call at a time; Member is where.
	Client, Member int
	// ZooKeeper tells the doors apart; otherwise the call went to etcd's.
	ZooKeeper bool
	// Kind is the operation's name, for people.
	Kind         string
	Call, Return time.Duration
	Outcome      Outcome
	// Revision is that of etcd's reply, Zxid that of ZooKeeper's; 0 without a reply.
	Revision, Zxid int64
	// Term is raft's, of etcd's reply.
	Term uint64
	// Changes are what a write changes if it is done, all at once.
	Changes []Change
	// Expected is what a conditional write found, if it is done; "" is that there was nothing.
	Conditional bool
	Expected    string
	// Read is what a read was told; nil if the operation is none, or has no answer.
	Read *Reading
	// Owner is the session or lease with which the keys that a write makes are to go; nil for keys that stay.
	Owner *Owner
}

// Write tells whether the operation is to change something.
func (o *Operation) Write() bool { return len(o.Changes) > 0 }

// Answered tells whether the operation has its place in the order.
func (o *Operation) Answered() bool { return o.Outcome == Done || o.Outcome == Refused }

// String shows the operation in a complaint.
func (o *Operation) String() string {
	return fmt.Sprintf("%s of client %d at member %d (%v to %v, revision %d, zxid %#x, changes %v, read %v)",
		o.Kind, o.Client, o.Member+1, o.Call.Round(time.Millisecond), o.Return.Round(time.Millisecond), o.Revision, o.Zxid, o.Changes, o.Read)
}

// Change is what a write does to one key. A znode has the key under which etcd's clients see it.
type Change struct {
	Key string
	// Value is one of which no two changes have the same; "" deletes the key.
	Value string
	// Sequential: the server appends a number to Key, which the client does not know without a reply.
	Sequential bool
}

// Reading is what a read was told of one key.
type Reading struct {
	Key string
	// Value is what was read; "" is that there is no such key.
	Value string
	// Fresh: the read promises the newest value (a linearizable get, a sync and a getData).
	Fresh bool
	// Mzxid is when the node was changed, in a Stat.
	Mzxid int64
}

// String shows the reading in a complaint.
func (r *Reading) String() string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s=%q", r.Key, r.Value)
}

// Event is one change of the reference, which a watch reads from the first revision on when all is quiet.
type Event struct {
	Revision   int64
	Key, Value string // Value is "" for a deletion
	// Seen is when a watch was told first while the cluster was under load; 0 for never.
	Seen time.Duration
}

// History is all that is known of a run.
type History struct {
	Operations []*Operation
	// Events are in the order of their revisions.
	Events []Event
	// Owners are the sessions and leases with keys.
	Owners []*Owner
	// Pauses are the times in which the process of a member was stopped.
	Pauses []Pause
	// Contents are what each member held at the end.
	Contents []map[string]string
}

// Checkers are all of them, by the promise that each one checks.
var Checkers = map[string]func(*History) []error{
	"nothing acknowledged is lost":            NothingLost,
	"numbers never go back":                   NeverBack,
	"one command has one number":              OneNumber,
	"reads are never stale":                   NeverStale,
	"clients see one register":                Linearizable,
	"owners live as long as they are alive":   OwnersLive,
	"what an owner leaves goes once, in time": OwnersGo,
}

// Names returns the promises, in order.
func Names() []string {
	var names []string
	for name := range Checkers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// complaints gathers what is wrong. The first ones say it all.
type complaints struct {
	errs    []error
	dropped int
}

const complaintsMax = 10

func (c *complaints) add(format string, args ...any) {
	if len(c.errs) < complaintsMax {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
		return
	}
	c.dropped++
}

func (c *complaints) all() []error {
	if c.dropped > 0 {
		c.errs = append(c.errs, fmt.Errorf("and %d more", c.dropped))
	}
	return c.errs
}

// source says who made an event.
type source struct {
	operation *Operation
	owner     *Owner
}

// sources finds who made each event, by number; an event whose maker nobody knows has an empty one. A put is known by its value. A
// deletion is known by its key, and its revision if somebody was told.
func (h *History) sources() []source {
	out := make([]source, len(h.Events))
	puts, deletions, owned := map[string]*Operation{}, map[string][]*Operation{}, map[string]*Owner{}
	for _, o := range h.Operations {
		for _, c := range o.Changes {
			if c.Value != "" {
				puts[c.Value] = o
			} else if o.Outcome == Done || o.Outcome == Unknown {
				deletions[c.Key] = append(deletions[c.Key], o)
			}
		}
	}
	for i, e := range h.Events {
		if e.Value != "" {
			if out[i].operation = puts[e.Value]; out[i].operation != nil {
				owned[e.Key] = out[i].operation.Owner
			}
			continue
		}
		if found := deletion(deletions[e.Key], e); found >= 0 {
			out[i].operation = deletions[e.Key][found]
			deletions[e.Key] = slices.Delete(deletions[e.Key], found, found+1)
		} else {
			out[i].owner = owned[e.Key]
		}
	}
	return out
}

// deletion finds the operation that made a deletion, the surest first: -1 if none did.
func deletion(by []*Operation, e Event) int {
	for _, fits := range []func(*Operation) bool{
		func(o *Operation) bool { return o.Outcome == Done && o.Revision == e.Revision && !o.ZooKeeper },
		func(o *Operation) bool { return o.Outcome == Done && o.ZooKeeper },
		func(o *Operation) bool { return o.Outcome == Unknown },
	} {
		if i := slices.IndexFunc(by, fits); i >= 0 {
			return i
		}
	}
	return -1
}

// revisions returns the revision of each write that is in the reference.
func (h *History) revisions(sources []source) map[*Operation]int64 {
	out := map[*Operation]int64{}
	for i, s := range sources {
		if s.operation != nil {
			out[s.operation] = h.Events[i].Revision
		}
	}
	return out
}

// byCall and byReturn are the operations in two orders.
func byCall(ops []*Operation) []*Operation {
	return slices.SortedFunc(slices.Values(ops), func(a, b *Operation) int { return cmp.Compare(a.Call, b.Call) })
}

func byReturn(ops []*Operation) []*Operation {
	return slices.SortedFunc(slices.Values(ops), func(a, b *Operation) int { return cmp.Compare(a.Return, b.Return) })
}

// names tells whether a key is the one that a change is about.
func (c Change) names(key string) bool {
	if c.Sequential {
		return strings.HasPrefix(key, c.Key)
	}
	return c.Key == key
}
