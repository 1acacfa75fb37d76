package replica

import (
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/lessor"
)

// Sessions and leases stay alive by being heard of. Members gather whom they heard of and report it to
// the leader, whose Lessor counts down. Reports are numbered; the leader's answer tells a member up to
// when it may vouch for its clients: one that hears nothing from the leader must disconnect
// them before the leader lets their sessions expire.
//
// The leader answers, and vouches for its own clients, only after a read index round that began when it
// had the reports: a leader that was paused may still believe in its office while another lets the
// sessions expire.

// vouching is the round with which a leader proves its office before it answers reports.
type vouching struct {
	id      uint64 // of the read; 0: none is under way
	at      int64  // MonotonicMS when it began
	reports map[uint64]uint64
}

// proofBit marks reads with which a leader proves its office.
const proofBit uint64 = 1 << 63

// reportsKept is how many reports back an answer still counts.
const reportsKept = 64

// touch notes sessions and leases whose clients were heard of here.
func (m *Member) touch(ids []int64) {
	for _, id := range ids {
		m.touched[id] = 0
	}
}

// reportTouches tells the leader whom we heard of. An id stays in every report until one of them is
// confirmed, so none is lost with a frame or a leader. An empty report goes too: the answer is what
// lets us vouch.
func (m *Member) reportTouches() {
	if m.leads() {
		m.lessor.Touch(slices.Sorted(maps.Keys(m.touched)))
		clear(m.touched)
		m.beginVouching()
		return
	}
	if !m.followsLeader() {
		return
	}
	m.report++
	m.reportAt[m.report] = m.now.MonotonicMS
	delete(m.reportAt, m.report-reportsKept)
	for id, first := range m.touched {
		if first == 0 {
			m.touched[id] = m.report
		}
	}
	t := &touch{term: m.term(), report: m.report, ids: slices.Sorted(maps.Keys(m.touched))}
	m.send(m.soft.Lead, t.encode())
}

// receiveTouch takes a member's report.
func (m *Member) receiveTouch(from uint64, t *touch) {
	if !m.leads() || t.term != m.term() {
		return
	}
	m.lessor.Touch(t.ids)
	m.reports[from] = max(m.reports[from], t.report)
}

// beginVouching begins the proof behind the answers to all reports so far, if none is under way.
func (m *Member) beginVouching() {
	if m.vouching.id != 0 {
		return
	}
	m.lastProof++
	m.vouching = vouching{id: m.lastProof, at: m.now.MonotonicMS, reports: m.reports}
	m.reports = make(map[uint64]uint64)
	m.reads.add(m.lastProof)
}

// vouched answers the reports that came before the proof began.
func (m *Member) vouched() {
	v := m.vouching
	m.vouching = vouching{}
	if !m.leads() {
		return
	}
	m.vouchedAt = max(m.vouchedAt, v.at)
	for _, member := range slices.Sorted(maps.Keys(v.reports)) {
		m.send(member, (&touchAck{term: m.term(), report: v.reports[member]}).encode())
	}
}

// resign drops what a leader had under way for sessions and leases.
func (m *Member) resign() {
	m.lessor.Demote()
	clear(m.proving)
	clear(m.reports)
	m.vouching = vouching{}
}

// receiveTouchAck takes the leader's word that a report counts.
func (m *Member) receiveTouchAck(a *touchAck) {
	at, ok := m.reportAt[a.report]
	if !ok || a.term != m.term() {
		return
	}
	m.vouchedAt = max(m.vouchedAt, at)
	for id, first := range m.touched {
		if first != 0 && first <= a.report {
			delete(m.touched, id)
		}
	}
}

// keepLeases follows what the state machine made of sessions and leases.
func (m *Member) keepLeases(changes []state.LeaseChange) {
	for _, c := range changes {
		if c.Gone {
			m.lessor.Forget(c.ID)
		} else {
			m.lessor.Set(c.ID, c.TTLMS, c.Generation)
		}
	}
}

// prove begins the proof that this member still leads, for sessions and leases whose time is up.
func (m *Member) prove(due []lessor.Due) {
	if len(due) == 0 {
		return
	}
	m.lastProof++
	m.proving[m.lastProof] = due
	m.reads.add(m.lastProof)
}

// proven goes on with what needed the proof: the answers to reports, or the expiries of those whose time
// was up before it began.
func (m *Member) proven(id uint64) {
	if id == m.vouching.id {
		m.vouched()
		return
	}
	due := m.proving[id]
	delete(m.proving, id)
	if !m.leads() {
		return
	}
	term := m.term()
	for _, d := range due {
		m.enqueueInternal(&command.Expire{ID: d.ID, Generation: d.Generation, Term: term})
	}
}
