package replica

import (
	"slices"
	"sync"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Publication tells subscribers what one command did, or where an entry ended.
type Publication struct {
	// Events are those of the command, in order. They are good until the subscriber returns.
	Events []state.Event
	// Leases are the sessions and leases that the entry opened, attached or ended; told at its end.
	Leases []state.LeaseChange
	// Seq, Zxid and Revision are the counters after the command.
	Seq            uint64
	Zxid, Revision int64
	// Installed says that a snapshot has replaced the state: what happened in between is not told.
	Installed bool
}

// publisher tells subscribers of what was applied, one command after the other. The zero value has none.
type publisher struct {
	mu   sync.Mutex
	last Publication // where the subscribers stand; without events
	// subscribers are never changed in place.
	subscribers []*func(Publication)
}

// subscribe makes fn hear of everything that follows what is returned.
func (p *publisher) subscribe(fn func(Publication)) (last Publication, cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers = append(slices.Clip(p.subscribers), &fn)
	return p.last, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.subscribers = slices.DeleteFunc(slices.Clone(p.subscribers), func(s *func(Publication)) bool { return s == &fn })
	}
}

// publish tells all subscribers.
func (p *publisher) publish(what Publication) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = Publication{Seq: what.Seq, Zxid: what.Zxid, Revision: what.Revision}
	for _, fn := range p.subscribers {
		(*fn)(what)
	}
}

// at is a publication of the position of a view.
func at(v state.View) Publication {
	return Publication{Seq: v.Seq(), Zxid: v.Zxid(), Revision: v.Revision()}
}

// Subscribe calls fn, in the order of the log, for each command applied from now on and at the end of each entry, and
// returns where that order stands now. fn is called when a view shows what the command did, and before those who wait
// for its result are told. It must not block, nor call cancel.
func (s *Store) Subscribe(fn func(Publication)) (now Publication, cancel func()) {
	return s.publisher.subscribe(fn)
}
