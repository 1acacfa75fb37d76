package model

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Model is the whole state that clients can tell. It is not safe for concurrent use.
type Model struct {
	settings command.Settings
	booted   bool

	index, term    uint64
	timeMS         int64
	revision, zxid int64

	keys  space[key]
	nodes space[node]

	leases map[int64]*lease
	alarms map[state.Alarm]bool
	cast   cast

	// compacted is the floor of the plain keys, -1 if there is none.
	compacted int64
	// moments are past revisions and their times, in order, and treeFloor is the revision below which
	// the tree's keys are gone; see floor.go.
	moments   []moment
	treeFloor int64

	// do is the command under way; empty between commands.
	do *step
}

// step is what the command under way has done so far.
type step struct {
	// rev and zxid are what its writes are stamped with.
	rev, zxid int64
	// wroteKey says that the revision will move.
	wroteKey bool
	// doomed are the nodes that were deleted but wait for their children to go.
	doomed  map[string]bool
	events  []state.Event
	changes []state.LeaseChange
	// atEnd are the changes of what has no versions. They are made only if the command succeeds.
	atEnd []func()
}

// New returns the model of an empty cluster of these members, which takes no command but Bootstrap.
func New(founders ...state.Member) *Model {
	m := &Model{
		revision: 1, compacted: -1, treeFloor: -1,
		keys: newSpace[key](), nodes: newSpace[node](),
		do:     &step{},
		leases: map[int64]*lease{}, alarms: map[state.Alarm]bool{}, cast: newCast(founders),
	}
	for path, n := range firstNodes() {
		m.nodes.live[path] = n
	}
	return m
}

// Apply carries out one entry and returns what it must do. Entries come in the order of their
// indexes. Results have no Detail, and neither they nor the events have a Seq.
func (m *Model) Apply(index, term uint64, timeMS int64, ps []command.Proposal) state.Output {
	m.index = index
	if term > m.term {
		m.term = term
		m.zxid = (m.zxid>>32 + 1) << 32
	}
	m.timeMS = max(m.timeMS, timeMS)
	var out state.Output
	for i := range ps {
		result, done := m.carryOut(&ps[i])
		out.Results = append(out.Results, result)
		if done != nil {
			out.Events = append(out.Events, done.events...)
			out.Leases = append(out.Leases, done.changes...)
		}
	}
	m.moveTreeFloor()
	return out
}

// Revision returns etcd's revision.
func (m *Model) Revision() int64 { return m.revision }

// Zxid returns the zxid of the last numbered command.
func (m *Model) Zxid() int64 { return m.zxid }

// carryOut does one command. The step it returns is nil if the command was refused.
func (m *Model) carryOut(p *command.Proposal) (state.Result, *step) {
	if code := m.admit(p); code != state.OK {
		return m.result(code, nil), nil
	}
	defer func() { m.do = &step{} }()
	m.do = &step{rev: m.revision + 1, zxid: m.zxid + 1, doomed: map[string]bool{}}
	body, code := m.execute(&p.Caller, p.Command)
	if code == state.OK {
		code = m.settle()
	}
	if code != state.OK {
		if _, failed := body.(*state.MultiResult); !failed {
			body = nil
		}
	}
	if numbered(p.Command) && code != state.Stale {
		m.zxid = m.do.zxid
	}
	if code != state.OK {
		m.keys.putBack()
		m.nodes.putBack()
		return m.result(code, body), nil
	}
	if m.do.wroteKey {
		m.revision = m.do.rev
	}
	for _, fn := range m.do.atEnd {
		fn()
	}
	m.keys.keep(m.revision)
	m.nodes.keep(m.revision)
	return m.result(code, body), m.do
}

func (m *Model) result(code state.Code, body any) state.Result {
	return state.Result{Code: code, Revision: m.revision, Zxid: m.zxid, Time: m.timeMS, Body: body}
}

// admit says whether a command may be tried at all. What is refused here leaves no trace.
func (m *Model) admit(p *command.Proposal) state.Code {
	if _, ok := p.Command.(*command.Bootstrap); ok {
		return state.OK
	}
	if !m.booted {
		return state.NotBootstrapped
	}
	if p.Caller.Protocol != command.ZooKeeper || p.Caller.Session == 0 {
		return state.OK
	}
	s := m.session(p.Caller.Session)
	switch {
	case s == nil:
		return state.SessionExpired
	case p.Caller.Generation != s.generation:
		return state.SessionMoved
	case p.Caller.Sequence != s.sequence+1:
		return state.SequenceGap
	}
	s.sequence++
	return state.OK
}

// numbered says whether a command uses up a zxid, whether it succeeds or not.
func numbered(c command.Command) bool {
	switch c.Kind() {
	case command.KindBootstrap, command.KindAttachSession, command.KindLeaseGrant,
		command.KindCompact, command.KindAlarm, command.KindPublishMember, command.KindChangeMembers, command.KindSetLevel:
		return false
	default:
		return true
	}
}

// execute does what a command says, up to what is decided at its end.
func (m *Model) execute(c *command.Caller, cmd command.Command) (any, state.Code) {
	if code := m.alarmed(cmd); code != state.OK {
		return nil, code
	}
	switch cmd := cmd.(type) {
	case *command.Put, *command.DeleteRange:
		return m.txnOp(c, cmd)
	case *command.Txn:
		return m.txn(c, cmd)
	case *command.Compact:
		return nil, m.compact(cmd)
	case *command.LeaseGrant:
		return m.grant(cmd)
	case *command.LeaseRevoke:
		return nil, m.revoke(cmd)
	case *command.Alarm:
		return m.alarm(cmd)
	case *command.Create, *command.Delete, *command.SetData, *command.SetACL, *command.Check:
		return m.znodeOp(c, cmd)
	case *command.Multi:
		return m.multi(c, cmd)
	case *command.OpenSession:
		return m.open(cmd)
	case *command.AttachSession:
		return m.attach(cmd)
	case *command.CloseSession:
		return nil, m.closeSession(c.Session)
	case *command.Expire:
		return nil, m.expire(cmd)
	case *command.Reap:
		return nil, m.reap(cmd)
	case *command.Bootstrap:
		return nil, m.bootstrap(cmd)
	case *command.PublishMember:
		return nil, m.publishMember(cmd)
	case *command.ChangeMembers:
		return nil, m.changeMembers(cmd)
	case *command.SetLevel:
		m.do.atEnd = append(m.do.atEnd, func() { m.cast.level = max(m.cast.level, cmd.Level) })
		return nil, state.OK
	default:
		return nil, state.Unimplemented
	}
}

// bootstrap takes the settings, once.
func (m *Model) bootstrap(c *command.Bootstrap) state.Code {
	if !m.booted {
		m.do.atEnd = append(m.do.atEnd, func() { m.settings, m.booted = c.Settings, true })
	}
	return state.OK
}
