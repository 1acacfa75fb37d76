package check

import (
	"cmp"
	"slices"
	"time"
)

// Fate is what a client does with a session or lease in the end.
type Fate uint8

// The fates.
const (
	// Kept: the client keeps it alive to the end of the run.
	Kept Fate = iota
	// Abandoned: the client dies without a word.
	Abandoned
	// Closed: the client ends it, and was told so.
	Closed
	// Left: nobody knows whether it was closed, or it lived when the run ended: nothing more is promised of it.
	Left
)

// Owner is a session or a lease with the keys that are to go with it.
type Owner struct {
	// Name says which it is, for people.
	Name string
	// Session is one of ZooKeeper's; otherwise it is a lease.
	Session bool
	// Timeout is that of the session, or the lease's TTL.
	Timeout time.Duration
	Fate    Fate
	// Contacts are the times at which the client was answered, in order.
	Contacts []Contact
	// Quit is when the client sent the last thing of all, answered or not, and Asked are the members to which it sent anything.
	Quit  time.Duration
	Asked map[int]bool
	// Told is when the client was told that the session or lease has ended; 0 for never.
	Told time.Duration
}

// Contact is one exchange of an owner's client with a member, by its beginning and its end.
type Contact struct {
	Call, Return time.Duration
	// Sure: the leader itself gave the owner its full time then: a session was opened or attached, a lease granted or kept alive.
	Sure bool
}

// Ask notes that the client sends something to a member.
func (o *Owner) Ask(member int, at time.Duration) {
	if o.Asked == nil {
		o.Asked = map[int]bool{}
	}
	o.Quit, o.Asked[member] = at, true
}

// Meet notes an exchange.
func (o *Owner) Meet(call, end time.Duration, sure bool) {
	o.Contacts = append(o.Contacts, Contact{call, end, sure})
}

// These bound how long what an owner leaves may stay beyond its timeout.
const (
	// electionTimeout is the members': a new leader grants every session and lease its full time and that.
	electionTimeout = time.Second
	// expirySlack is for the granularity of deadlines, the reports of touches, a command and a watch on a busy machine.
	expirySlack = 2 * time.Second
)

// reportedPart is the part of a session's timeout for which a member answers its client without news from the leader. So what a member
// answers says that the leader knows of what it had answered that long before.
const reportedPart = 3

// alive returns the time until which an owner is sure to live: its timeout after the last contact of which the leader is sure to know.
func (o *Owner) alive() time.Duration {
	if len(o.Contacts) == 0 {
		return 0
	}
	known := o.Contacts[len(o.Contacts)-1].Call - o.Timeout/reportedPart
	last := time.Duration(0)
	for _, c := range o.Contacts {
		if c.Sure || c.Return <= known {
			last = max(last, c.Call)
		}
	}
	return last + o.Timeout
}

// OwnersLive checks that no session and no lease ends while its client keeps it alive: not before its time after the last contact has passed,
// as seen by the client itself or by anybody who watches its keys.
func OwnersLive(h *History) []error {
	var wrong complaints
	ends := h.ends()
	for _, o := range h.Owners {
		if o.Fate == Closed {
			continue
		}
		until := o.alive()
		if o.Told != 0 && o.Told < until {
			wrong.add("%s of %v, alive until %v at least, has ended at %v, contacts %v", o.Name, o.Timeout, until, o.Told, o.latest())
		}
		for _, e := range ends[o] {
			if e.Seen != 0 && e.Seen < until && o.Fate != Left {
				wrong.add("%s of %v, alive until %v at least, and %s is gone at %v, contacts %v", o.Name, o.Timeout, until, e.Key, e.Seen, o.latest())
			}
			if o.Fate == Kept && o.Told == 0 {
				wrong.add("%s of %v lives, and %s was deleted at revision %d", o.Name, o.Timeout, e.Key, e.Revision)
			}
		}
	}
	return wrong.all()
}

// latest are the last contacts, for a complaint.
func (o *Owner) latest() []Contact { return o.Contacts[max(0, len(o.Contacts)-5):] }

// OwnersGo checks that the keys of an owner that ends go exactly once, all at one revision, and, where its client died, in time: after
// timeout, election and slack, counted anew from each change of leaders that comes in between, and from the end of a pause of a member
// that the client had used: it hears then what the client had sent. That a member could not report what it had heard gives no time.
func OwnersGo(h *History) []error {
	var wrong complaints
	keys, ends, vacancies := h.owned(), h.ends(), h.vacancies()
	for _, o := range h.Owners {
		if o.Fate == Left || o.Fate == Kept && o.Told == 0 {
			continue
		}
		at := map[string]Event{}
		for _, e := range ends[o] {
			if _, twice := at[e.Key]; twice {
				wrong.add("%s: %s was deleted twice, at revision %d again", o.Name, e.Key, e.Revision)
			}
			if at[e.Key] = e; e.Revision != ends[o][0].Revision {
				wrong.add("%s: its keys went at two revisions, %d and %d", o.Name, ends[o][0].Revision, e.Revision)
			}
		}
		limit := o.deadline(vacancies, h.Pauses)
		for _, key := range keys[o] {
			e, gone := at[key]
			switch {
			case !gone:
				wrong.add("%s has ended and %s is still there", o.Name, key)
			case o.Fate == Abandoned && (e.Seen == 0 || e.Seen > limit):
				wrong.add("%s of %v was left at %v, and %s went at %v, want %v at most", o.Name, o.Timeout, o.Quit, key, e.Seen, limit)
			}
		}
	}
	return wrong.all()
}

// owned finds the keys that each owner had, also those of which its client never heard.
func (h *History) owned() map[*Owner][]string {
	out := map[*Owner][]string{}
	sources := h.sources()
	for i, e := range h.Events {
		if by := sources[i].operation; by != nil && by.Owner != nil && e.Value != "" {
			out[by.Owner] = append(out[by.Owner], e.Key)
		}
	}
	return out
}

// ends finds the deletions of each owner's keys.
func (h *History) ends() map[*Owner][]Event {
	owners := map[string]*Owner{}
	for o, keys := range h.owned() {
		for _, key := range keys {
			owners[key] = o
		}
	}
	out := map[*Owner][]Event{}
	for _, e := range h.Events {
		if o := owners[e.Key]; o != nil && e.Value == "" {
			out[o] = append(out[o], e)
		}
	}
	return out
}

// vacancy is a time without a leader that anybody heard of: from the last answer in one term to the first in a later one.
type vacancy struct{ from, to time.Duration }

// vacancies finds them by the terms in etcd's replies.
func (h *History) vacancies() []vacancy {
	first := map[uint64]time.Duration{}
	for _, o := range h.Operations {
		if o.Term == 0 || o.Outcome != Done || !o.Write() {
			continue
		}
		if at, known := first[o.Term]; !known || o.Return < at {
			first[o.Term] = o.Return
		}
	}
	last := map[uint64]time.Duration{}
	for _, o := range h.Operations {
		if o.Term != 0 && o.Outcome == Done && o.Write() {
			last[o.Term] = max(last[o.Term], o.Return)
		}
	}
	var out []vacancy
	before := uint64(0)
	for _, term := range sortedKeys(first) {
		if before != 0 {
			out = append(out, vacancy{min(last[before], first[term]), first[term]})
		}
		before = term
	}
	return out
}

func sortedKeys(m map[uint64]time.Duration) []uint64 {
	var keys []uint64
	for k := range m {
		keys = append(keys, k)
	}
	return slices.SortedFunc(slices.Values(keys), cmp.Compare[uint64])
}

// Pause is a time in which a member's process was stopped.
type Pause struct {
	Member   int
	From, To time.Duration
}

// deadline is when the keys of an owner whose client died must be gone.
func (o *Owner) deadline(vacancies []vacancy, pauses []Pause) time.Duration {
	limit := o.Quit + o.Timeout + expirySlack
	for _, p := range pauses {
		if o.Session && o.Asked[p.Member] && p.From <= o.Quit && p.To >= o.Quit {
			limit = max(limit, p.To+o.Timeout+expirySlack)
		}
	}
	for _, v := range vacancies {
		if v.from <= limit && v.to >= o.Quit {
			limit = max(limit, v.to+o.Timeout+electionTimeout+expirySlack)
		}
	}
	return limit
}
