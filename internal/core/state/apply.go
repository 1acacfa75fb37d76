package state

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// stepProposals is how many commands are applied between two calls of yield.
const stepProposals = 64

// Apply carries out one entry of the log and reports to out what it did, replacing what out held. Entries
// come in the order of their indexes, those without proposals included, since the first of a new term
// sets the zxid. It never fails: what cannot be done is a Result.
//
// yield, which may be nil, is called between bounded steps, also in the midst of a long command. Readers
// that use View may run then, and Reclaim; Apply, Export's start and Load may not. What e holds is not
// kept, out's slices are used again by the next call.
func (m *Machine) Apply(e *Entry, out *Output, yield func()) {
	invariant.Assert(e.Index > m.index && e.Term >= m.term, "entries are applied in order")
	if yield == nil {
		yield = func() {}
	}
	out.Results, out.Events, out.Leases = out.Results[:0], out.Events[:0], out.Leases[:0]
	m.out, m.yield = out, yield
	m.beginEntry(e)
	for i := range e.Batch.Proposals {
		if i > 0 && i%stepProposals == 0 {
			yield()
		}
		out.Results = append(out.Results, m.applyOne(&e.Batch.Proposals[i]))
	}
	m.index = e.Index
	m.moveTreeFloor()
	m.publish()
	m.out, m.yield = nil, nil
}

// beginEntry moves the clock of the state and, in a new term, begins a new epoch of zxids, so that
// the zxids of two leaders differ as ZooKeeper's do.
func (m *Machine) beginEntry(e *Entry) {
	m.time = max(m.time, e.Batch.Time)
	if e.Term > m.term {
		m.term = e.Term
		m.zxid = (m.zxid>>32 + 1) << 32
	}
}

// applyOne carries out one command and settles the counters.
func (m *Machine) applyOne(p *command.Proposal) Result {
	if code := m.admit(p); code != OK {
		return m.result(code, nil)
	}
	m.begin(p)
	code, body := m.carryOut(p.Command)
	if code == OK {
		code = m.settle()
	}
	if code != OK {
		m.rollback()
		body = failedBody(body)
	}
	m.finish(p.Command.Kind(), code)
	return m.result(code, body)
}

// result makes the Result of the command just done.
func (m *Machine) result(code Code, body any) Result {
	r := Result{Code: code, Revision: m.revision, Zxid: m.zxid, Seq: m.seq, Time: m.time, Body: body}
	if code != OK {
		r.Detail = m.do.detail
	}
	m.do.detail = ""
	return r
}

// failedBody keeps what a refused command still tells: a Multi says which operation failed.
func failedBody(body any) any {
	if r, ok := body.(*MultiResult); ok {
		return r
	}
	return nil
}

// admit refuses what must leave no trace, not even in the zxid: everything before the settings are
// written, and commands of a connection that are not the next ones of its session. A command
// that passes has used up its place in the session's order, even if it then fails.
func (m *Machine) admit(p *command.Proposal) Code {
	if !m.bootstrapped && p.Command.Kind() != command.KindBootstrap {
		return NotBootstrapped
	}
	c := &p.Caller
	if c.Protocol != command.ZooKeeper || c.Session == 0 {
		return OK
	}
	l := m.leases.session(c.Session)
	switch {
	case l == nil:
		return SessionExpired
	case l.generation != c.Generation:
		return SessionMoved
	case c.Sequence != l.sequence+1:
		return SequenceGap
	}
	m.digest -= digestLease(l)
	l.sequence = c.Sequence
	m.digest += digestLease(l)
	return OK
}

// begin makes a new change. The slices of the last one are used again.
func (m *Machine) begin(p *command.Proposal) {
	d := &m.do
	d.caller, d.member = &p.Caller, p.ID.Member
	d.from, d.digest, d.history = m.seq, m.digest, m.treeHistory.total
	d.rev, d.zxid = m.revision+1, m.zxid+1
	d.keys, d.full = false, false
	d.events, d.leases = len(m.out.Events), len(m.out.Leases)
	d.mortals, d.links, d.removed = emptied(d.mortals), emptied(d.links), emptied(d.removed)
}

// emptied returns s without its elements, and without the memory of an unusually large command.
func emptied[T any](s []T) []T {
	const keep = 1024
	if cap(s) > keep {
		return nil
	}
	clear(s)
	return s[:0]
}

// carryOut checks what holds for every command of etcd's API, and then does the command.
func (m *Machine) carryOut(c command.Command) (Code, any) {
	if c.Kind() < command.KindCreate && c.Kind() != command.KindAlarm {
		if m.corrupt() {
			return Corrupt, nil
		}
		if code := m.room(m.costOf(c)); code != OK {
			return code, nil
		}
		if code := m.authorize(m.do.caller, c); code != OK {
			return code, nil
		}
	}
	return m.execute(c)
}

// execute does one command, whatever it is. Commands that stand only inside others are refused.
func (m *Machine) execute(c command.Command) (Code, any) {
	switch c := c.(type) {
	case *command.Put:
		return m.put(c)
	case *command.DeleteRange:
		return m.deleteRange(c)
	case *command.Txn:
		return m.txn(c)
	case *command.Compact:
		return m.compact(c)
	case *command.LeaseGrant:
		return m.leaseGrant(c)
	case *command.LeaseRevoke:
		return m.leaseRevoke(c)
	case *command.Alarm:
		return m.alarm(c)
	case *command.Create:
		return m.create(c)
	case *command.Delete:
		return m.remove(c)
	case *command.SetData:
		return m.setData(c)
	case *command.SetACL:
		return m.setACL(c)
	case *command.Multi:
		return m.multi(c)
	case *command.OpenSession:
		return m.openSession(c)
	case *command.AttachSession:
		return m.attachSession(c)
	case *command.CloseSession:
		return m.closeSession()
	case *command.Bootstrap:
		return m.bootstrap(c)
	case *command.Expire:
		return m.expire(c)
	case *command.Reap:
		return m.reap(c)
	case *command.PublishMember:
		return publishMember(m, c)
	case *command.ChangeMembers:
		return changeMembers(m, c)
	case *command.SetLevel:
		return setLevel(m, c)
	default: // Range and Check
		return BadArguments, nil
	}
}

// settle does what a command leaves for its end: it deletes the znodes that waited for their children
// to go, and then the implicit nodes that lost their last child.
func (m *Machine) settle() Code {
	if code := m.settleDoomed(); code != OK {
		return code
	}
	for i := 0; i < len(m.do.removed); i++ { // grows while it runs
		m.sweepImplicit(parentOf(m.do.removed[i]))
	}
	m.settleLinks()
	m.mortals.settle(m)
	return OK
}

// rollback undoes everything that the command under way did. It may be called twice.
func (m *Machine) rollback() {
	d := &m.do
	if m.seq > d.from {
		m.plain.Rollback(d.from)
		m.tree.Rollback(d.from)
	}
	m.seq, m.digest, m.treeHistory.total = d.from, d.digest, d.history
	m.out.Events, m.out.Leases = m.out.Events[:d.events], m.out.Leases[:d.leases]
	d.mortals, d.links, d.removed, d.keys = d.mortals[:0], d.links[:0], d.removed[:0], false
	clear(d.doomed)
}

// finish moves the counters and lets readers see what was done.
func (m *Machine) finish(kind command.Kind, code Code) {
	if m.do.keys {
		m.revision = m.do.rev
	}
	if numbered(kind) && code != Stale {
		m.zxid = m.do.zxid
	}
	if m.do.full {
		m.alarms.raise(Alarm{Member: m.do.member, Type: command.AlarmNoSpace})
	}
	m.publish()
}

// publish makes the present state the one that View returns.
func (m *Machine) publish() {
	h := &m.head // its pointers never change, so only numbers are written
	h.seq, h.revision, h.zxid = m.seq, m.revision, m.zxid
	h.term, h.index, h.time = m.term, m.index, m.time
}

// numbered says whether commands of a kind use up a zxid, refused ones included: those that ZooKeeper
// would log, and those by which an etcd client may write. An expiry or reaping that came too
// late does not; finish sees to that.
func numbered(kind command.Kind) bool {
	switch kind {
	case command.KindPut, command.KindDeleteRange, command.KindTxn, command.KindLeaseRevoke,
		command.KindCreate, command.KindDelete, command.KindSetData, command.KindSetACL, command.KindMulti,
		command.KindOpenSession, command.KindCloseSession,
		command.KindExpire, command.KindReap:
		return true
	default:
		return false
	}
}
