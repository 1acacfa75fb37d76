package sim

import (
	"hash/fnv"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
)

// checks is everything that must hold. It believes nobody: it keeps its own record of what was
// applied, acknowledged and synced.
type checks struct {
	world                  *World
	leaders                map[uint64]uint64 // by term
	entries                map[uint64]seenEntry
	digests                map[uint64]uint64 // by index, after the whole entry
	where                  map[command.ID]uint64
	gone                   map[command.ID]bool // told not done
	newest                 uint64              // the highest position that anybody has been told
	reads                  []readCheck
	accesses               []access
	sessions               map[int64]*sessionCheck
	probes                 map[uint64]int
	done, notDone, unknown int
	refused                int
	elected                int64  // when a term first had a leader, the last time
	term                   uint64 // the newest that had one
	crashes, watched       int
	changed                int      // times that the membership was
	confs                  []confAt // in force, in order
	fingerprint            uint64
	lastIndex              uint64
}

type seenEntry struct {
	term, hash uint64
}

// readCheck is a linearizable read that is compared with history at the end.
type readCheck struct {
	key      string
	revision int64
	found    bool
	value    string
}

// sessionCheck is what we know of a session from its client's side.
type sessionCheck struct {
	timeoutMS int64
	heardAt   int64 // when the client was last vouched for
	closing   bool  // the client asked for its end
	lease     bool  // it is an etcd lease
	granted   bool  // the lease was there
	// leftAt is when the client asked how much time its lease has left, and left what it was told, in ms.
	left, leftAt int64
	endedAt      int64 // when it was first seen to end; 0: lives
	exists       bool  // it was made
	waited       int64 // ticks of leaders that count against its time; negative: extra time that a new leader gave
}

func newChecks() *checks {
	return &checks{
		leaders: map[uint64]uint64{}, entries: map[uint64]seenEntry{}, digests: map[uint64]uint64{},
		where: map[command.ID]uint64{}, gone: map[command.ID]bool{}, sessions: map[int64]*sessionCheck{}, probes: map[uint64]int{},
	}
}

// stepped checks that no term has two leaders.
func (c *checks) stepped(n *node) {
	s := n.member.Status()
	if !s.Leads {
		return
	}
	if other, ok := c.leaders[s.Term]; ok && other != n.id {
		c.world.fail("term %d has two leaders: members %d and %d", s.Term, other, n.id)
	}
	if _, ok := c.leaders[s.Term]; !ok {
		c.world.note("n%d leads term %d", n.id, s.Term)
		c.elected, c.term = c.world.now, max(c.term, s.Term)
		inOffice(c.sessions)
		c.leaders[s.Term] = n.id
	}
}

// entry checks that all members apply the same entries, that no command is in two of them, and that none
// that was reported as not done is in any.
func (c *checks) entry(n *node, e *raftpb.Entry) {
	h := fnv.New64a()
	_, _ = h.Write(e.GetData())
	seen := seenEntry{e.GetTerm(), h.Sum64()}
	index := e.GetIndex()
	if first, ok := c.entries[index]; ok {
		if first != seen {
			c.world.fail("member %d applies another entry %d than was applied before", n.id, index)
		}
		return
	}
	c.entries[index] = seen
	c.lastIndex = max(c.lastIndex, index)
	c.fingerprint = c.fingerprint*1099511628211 ^ seen.hash ^ uint64(c.world.now)
	data := e.GetData()
	if e.GetType() != raftpb.EntryNormal {
		change := new(raftpb.ConfChangeV2)
		if err := proto.Unmarshal(data, change); err != nil {
			c.world.fail("entry %d does not decode: %v", index, err)
		}
		data = change.GetContext()
	}
	if len(data) == 0 {
		return
	}
	var batch command.Batch
	if err := command.DecodeBatch(data, &batch); err != nil {
		c.world.fail("entry %d does not decode: %v", index, err)
		return
	}
	for i := range batch.Proposals {
		c.proposal(index, &batch.Proposals[i])
	}
}

func (c *checks) proposal(index uint64, p *command.Proposal) {
	if p.ID.Member == 0 {
		return
	}
	if before, ok := c.where[p.ID]; ok {
		c.world.fail("command %v is applied twice: in entries %d and %d", p.ID, before, index)
	}
	if c.gone[p.ID] {
		c.world.fail("command %v is applied in entry %d, but its client was told that it was not done", p.ID, index)
	}
	c.where[p.ID] = index
}

// applied checks that members agree on the state at each index.
func (c *checks) applied(n *node) {
	index, digest := n.store.Digest()
	if before, ok := c.digests[index]; ok && before != digest {
		c.world.fail("member %d has digest %x at entry %d, others have %x", n.id, digest, index, before)
	}
	c.digests[index] = digest
}

// outcome checks what a client is told of its command: a result only if the entry is durable on a
// majority and on the member that answers.
func (c *checks) outcome(n *node, id command.ID, err error) {
	switch err {
	case nil:
		c.done++
		if n.drive.hangs() {
			c.world.fail("member %d acknowledges a command while its disk hangs", n.id)
		}
		index := c.where[id]
		c.durable(n, index)
	case replica.ErrNotDone, replica.ErrDiskFull:
		if err == replica.ErrDiskFull {
			c.refused++
		} else {
			c.notDone++
		}
		c.gone[id] = true
		if index, ok := c.where[id]; ok {
			c.world.fail("command %v is in entry %d, but its client is told that it was not done", id, index)
		}
	default:
		c.unknown++
	}
}

func (c *checks) durable(n *node, index uint64) {
	term := c.entries[index].term
	if !c.quorumHolds(index, term) {
		c.world.fail("entry %d is acknowledged but not durable on a quorum", index)
	}
	if !n.log.holds(index, term) {
		c.world.fail("entry %d is acknowledged by member %d, where it is not durable", index, n.id)
	}
}

// returned checks real time: an operation that began after another returned stands behind it in the one
// order. floor is what began() said.
func (c *checks) returned(what string, floor, seq uint64) {
	if seq < floor {
		c.world.fail("%s is answered from position %d, but position %d had been told before it began", what, seq, floor)
	}
	c.newest = max(c.newest, seq)
}

// began returns the highest position that anybody has been told so far.
func (c *checks) began() uint64 { return c.newest }

// leases checks that no session ends while its client has been vouched for, and no lease before its time. first says that nobody has applied
// the entry before.
func (c *checks) leases(changes []state.LeaseChange, first bool) {
	for _, l := range changes {
		s := c.sessions[l.ID]
		if s == nil || s.endedAt != 0 {
			continue
		}
		if !l.Gone {
			if first {
				s.exists, s.waited = true, min(s.waited, 0)
			}
			continue
		}
		c.world.note("session or lease %x ends", l.ID)
		s.endedAt = c.world.now
		if s.lease {
			c.endedInTime(l.ID, s)
			continue
		}
		// A member vouches for as long as a third after a report that the leader confirmed, and that
		// holds the pings up to it, four of which fit a timeout; clocks differ by at most a twentieth
		// each, and ticks are rounded.
		if !s.closing && c.world.now-s.heardAt < s.timeoutMS*millisecond*35/100 {
			c.world.fail("session %x with timeout %d ms ends %s after its client was vouched for",
				l.ID, s.timeoutMS, stamp(c.world.now-s.heardAt))
		}
	}
}

// probe asks every member for a write, a read and about a lease that is not there; all must succeed before the run ends.
func (w *World) probe() {
	for _, n := range w.current() {
		if !n.up {
			w.fail("member %d is down although nothing harms it", n.id)
			return
		}
		n.propose(command.Caller{Protocol: command.Etcd}, &command.Put{Key: "probe"}, func(r state.Result, err error) {
			if err == nil && r.Code == state.OK {
				w.check.probes[n.id] |= 1
			}
		})
		n.readIndex(func(err error) {
			if err == nil {
				w.check.probes[n.id] |= 2
			}
		})
		n.inquiries.ask(1, true, func(a replica.Answer, err error) {
			if err == nil && !a.Known {
				w.check.probes[n.id] |= 4
			}
		})
	}
}

// access notes that a client asks for something, and returns how to note the answer.
func (c *checks) access(a access) (answered func(value string, done bool)) {
	if a.key == "" || strings.HasPrefix(a.key, "/zk/") {
		return func(string, bool) {}
	}
	c.accesses = append(c.accesses, a)
	at := len(c.accesses) - 1
	return func(value string, done bool) {
		a := &c.accesses[at]
		a.known, a.value, a.answer = true, value, c.world.now
		a.void = !done
	}
}

// end checks what must hold once the cluster has healed.
func (c *checks) end() {
	w := c.world
	for _, n := range w.current() {
		if c.probes[n.id] != 7 && w.cfg.Bug != LocalKeepAlive {
			w.fail("member %d does not serve after the faults have ended (probe %d)", n.id, c.probes[n.id])
		}
		if n.up && n.applied != c.lastIndex {
			w.fail("member %d has applied %d of %d entries after the faults have ended", n.id, n.applied, c.lastIndex)
		}
	}
	if w.failure != nil {
		return
	}
	if w.cfg.Seed%10 == 0 {
		c.linearizable()
	}
	w.current()[0].store.Read(func(v state.View) {
		c.readsMatch(v)
		c.sessionsMatch(v)
		c.leasesMatch(v)
		c.leaseKeysGoTogether(v)
		c.watchesMatch(v)
	})
}

// readsMatch compares linearizable reads with the history.
func (c *checks) readsMatch(v state.View) {
	for _, r := range c.reads {
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
			c.world.fail("key %q was read as %v %q at revision %d, history says %v %q", r.key, r.found, r.value, r.revision, found, value)
		}
	}
}

// sessionsMatch checks that sessions of living clients live, and those of dead ones are gone with all they
// owned.
func (c *checks) sessionsMatch(v state.View) {
	for _, p := range c.world.people {
		if p.session == 0 {
			continue
		}
		s := c.sessions[p.session]
		_, lives := v.Session(p.session)
		owned := v.Ephemerals(p.session)
		switch {
		case p.dead && lives && c.world.now-s.heardAt > 3*s.timeoutMS*millisecond:
			c.world.fail("session %x of a client that is gone still lives after %s", p.session, stamp(c.world.now-s.heardAt))
		case !lives && len(owned) > 0:
			c.world.fail("nodes %v outlive their session %x", owned, p.session)
		case lives && s.endedAt != 0:
			c.world.fail("session %x lives again", p.session)
		case !lives && s.endedAt == 0:
			c.world.fail("session %x is gone, but nothing ended it", p.session)
		}
	}
}

// leasesMatch checks that leases which nobody kept are gone, and no key outlives its lease.
func (c *checks) leasesMatch(v state.View) {
	for _, id := range slices.Sorted(maps.Keys(c.sessions)) {
		s := c.sessions[id]
		_, lives := v.Lease(id)
		if s.lease && lives && c.world.now-s.heardAt > 15*second {
			c.world.fail("lease %x with TTL %d ms lives %s after it was last heard of", id, s.timeoutMS, stamp(c.world.now-s.heardAt))
		}
	}
	var res state.RangeResult
	v.Range(&command.Caller{Protocol: command.Internal}, &command.Range{Key: "\x00", End: "\x00"}, &res)
	for _, kv := range res.KVs {
		if _, ok := v.Lease(kv.Lease); kv.Lease != 0 && !ok {
			c.world.fail("key %q outlives its lease %x", kv.Key, kv.Lease)
		}
	}
}

func stack() []byte { return debug.Stack() }
