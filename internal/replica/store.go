package replica

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// Store is the state machine together with the one lock between its applier and its readers. The
// lock is held for bounded steps: the applier lets go of it every 64 commands or 256 keys, a reader every
// 256 keys. Nothing is encoded, sent or waited for under it by the applier; a reader's function should
// only collect.
//
// A reader that has let go of the lock reads on at the view where it began, and a pin keeps what that
// view needs from being dropped.
type Store struct {
	seed uint64

	// whole is held while one entry is applied: who holds it finds the state between two entries. It is
	// taken before mu.
	whole sync.Mutex

	mu      sync.RWMutex
	machine *state.Machine
	head    state.View        // the state after the last whole command that is published
	conf    *raftpb.ConfState // as of the last applied entry

	pinMu sync.Mutex
	pins  map[uint64]int // readers that have let go of the lock, by sequence number

	publisher publisher
}

// NewStore takes over a machine that stands at a snapshot with configuration conf. The seed is for machines that take its
// place; see state.New.
func NewStore(m *state.Machine, conf *raftpb.ConfState, seed uint64) *Store {
	return &Store{
		machine: m, head: m.View(), conf: conf, seed: seed, pins: make(map[uint64]int), publisher: publisher{last: at(m.View())},
	}
}

// Read runs fn at the newest view. fn must not block; its scans let the applier through.
func (s *Store) Read(fn func(v state.View)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.readLocked(s.head, fn)
}

// ReadTree is Read at the view of the tree after an earlier command, which left seq and zxid; false if what it needs may
// have been reclaimed, and fn was not run then.
func (s *Store) ReadTree(seq uint64, zxid int64, fn func(v state.View)) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.head.TreeAt(seq, zxid)
	if ok {
		s.readLocked(v, fn)
	}
	return ok
}

// readLocked runs fn at a view, which is pinned when fn first lets the applier through.
func (s *Store) readLocked(v state.View, fn func(v state.View)) {
	pinned := false
	v.Yield = func() {
		if !pinned {
			pinned = true
			s.pin(v.Seq())
		}
		s.mu.RUnlock()
		s.mu.RLock()
	}
	fn(v)
	if pinned {
		s.unpin(v.Seq())
	}
}

// ReadHistory runs fn as Read does. What fn reads of the past, in many steps, stays there until it returns, though
// a compaction comes in between: no version is dropped meanwhile.
func (s *Store) ReadHistory(fn func(v state.View)) {
	s.pin(0)
	defer s.unpin(0)
	s.Read(fn)
}

// Export writes the whole state, as it is between two entries, while the applier goes on. begin is told the
// view and the configuration that belongs to it, and returns where the records go and what to call
// at the end; a nil sink gives up.
func (s *Store) Export(begin func(v state.View, conf *raftpb.ConfState) (sink state.Sink, finish func(error))) {
	s.whole.Lock()
	s.mu.RLock()
	v, conf, m := s.head, s.conf, s.machine
	s.pin(v.Seq())
	begun := false
	start := func() {
		if !begun {
			begun = true
			s.whole.Unlock()
		}
	}
	v.Yield = func() {
		start()
		s.mu.RUnlock()
		s.mu.RLock()
	}
	sink, finish := begin(v, conf)
	var err error
	if sink != nil {
		err = m.Export(v, sink)
	}
	s.mu.RUnlock()
	start()
	s.unpin(v.Seq())
	if finish != nil {
		finish(err)
	}
}

func (s *Store) pin(seq uint64) {
	s.pinMu.Lock()
	s.pins[seq]++
	s.pinMu.Unlock()
}

func (s *Store) unpin(seq uint64) {
	s.pinMu.Lock()
	if s.pins[seq]--; s.pins[seq] == 0 {
		delete(s.pins, seq)
	}
	s.pinMu.Unlock()
}

// oldestPin returns the oldest sequence number that a reader still needs.
func (s *Store) oldestPin(head uint64) uint64 {
	s.pinMu.Lock()
	defer s.pinMu.Unlock()
	oldest := head
	for seq := range s.pins { // the minimum does not depend on the order
		oldest = min(oldest, seq)
	}
	return oldest
}

// apply runs one entry, after which the configuration is conf, and publishes the view after it.
func (s *Store) apply(e *state.Entry, conf *raftpb.ConfState, out *state.Output) {
	s.whole.Lock()
	defer s.whole.Unlock()
	s.mu.Lock()
	s.conf = conf
	defer s.mu.Unlock()
	s.machine.Apply(e, out, func() {
		s.head = s.machine.View()
		s.mu.Unlock()
		s.mu.Lock()
	})
	s.head = s.machine.View()
}

// published is the newest view, for its counters alone: nothing may be read from it without the lock.
func (s *Store) published() state.View {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head
}

// install replaces the machine. Readers under way finish on the old one.
func (s *Store) install(m *state.Machine, conf *raftpb.ConfState) {
	s.whole.Lock()
	defer s.whole.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine, s.head, s.conf = m, m.View(), conf
}

// reclaim frees some of what no floor and no reader needs; it returns whether there is more.
func (s *Store) reclaim(steps int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Reclaim(steps, s.oldestPin(s.head.Seq()))
}

// bootstrapped tells whether the cluster has its settings.
func (s *Store) bootstrapped() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.head.Settings()
	return ok
}

// members is who belongs to the cluster.
func (s *Store) members() state.Membership {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return state.Members(s.head)
}

// leases lists the sessions and leases of the machine.
func (s *Store) leases() []state.LeaseChange {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return leasesOf(s.head)
}

// leasesOf lists sessions and leases for a keeper of deadlines.
func leasesOf(v state.View) []state.LeaseChange {
	all := v.Leases()
	changes := make([]state.LeaseChange, len(all))
	for i, l := range all {
		changes[i] = state.LeaseChange{ID: l.ID, TTLMS: l.TTLMS, Generation: l.Generation}
	}
	return changes
}

// Digest returns the digest of the state between two entries and the index up to which it is applied.
func (s *Store) Digest() (index, digest uint64) {
	s.whole.Lock()
	defer s.whole.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	index, _ = s.machine.Index()
	return index, s.machine.Digest()
}

// Hash returns etcd's hash of the state between two entries, and the revision there.
func (s *Store) Hash() (hash uint32, revision int64) {
	s.whole.Lock()
	defer s.whole.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return state.Hash(s.machine)
}
