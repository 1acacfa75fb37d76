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
	// Whole says that an entry ends here, or that a snapshot was installed.
	Whole bool
	// Installed says that a snapshot has replaced the state: what happened in between is not told.
	Installed bool
}

// publisher tells subscribers of what was applied, one command after the other.
type publisher struct {
	mu   sync.Mutex
	last Publication // where the subscribers stand; without events
	// subscribers are never changed in place.
	subscribers []*func(Publication)
}

// Subscribe calls fn, in the order of the log, for each command applied from now on and at the end of each entry, and
// returns where that order stands now. fn is called when a view shows what the command did, and before those who wait
// for its result are told. It must not block, nor call cancel, after which it is not called any more.
func (s *Store) Subscribe(fn func(Publication)) (now Publication, cancel func()) {
	p := &s.publisher
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

// at is a publication of the position of a view, where an entry ends.
func at(v state.View) Publication {
	return Publication{Seq: v.Seq(), Zxid: v.Zxid(), Revision: v.Revision(), Whole: true}
}

// Pin keeps what a view at its sequence number needs, and all changes after it, below the floor too. Its calls do not
// overlap.
type Pin struct {
	store *Store
	seq   uint64
}

// Pin returns a pin at the newest view. It is the caller's duty to move it on, or memory fills.
func (s *Store) Pin() *Pin {
	s.mu.RLock() // so that nothing is freed before the pin is there
	defer s.mu.RUnlock()
	s.pin(s.head.Seq())
	return &Pin{s, s.head.Seq()}
}

// Keep moves the pin on to seq; one that is not above the present one changes nothing.
func (p *Pin) Keep(seq uint64) {
	if seq <= p.seq {
		return
	}
	p.store.pin(seq)
	p.store.unpin(p.seq)
	p.seq = seq
}

// Release takes the pin off. It is called once, as the last.
func (p *Pin) Release() { p.store.unpin(p.seq) }
