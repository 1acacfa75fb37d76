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

// keeper is the Member's care for sessions and leases.
type keeper struct {
	m      *Member
	lessor *lessor.Lessor

	touched   map[int64]uint64 // heard of here: the first report that said so, 0 if none yet
	report    uint64           // number of the last report
	reportAt  map[uint64]int64 // MonotonicMS at which a report was sent
	vouchedAt int64            // MonotonicMS at which the last confirmed report was sent, or the leader's last proof began

	reports   map[uint64]uint64 // at the leader, by member: the newest report not yet answered
	vouching  vouching
	proving   map[uint64][]lessor.Due
	lastProof uint64
}

func newKeeper(m *Member) *keeper {
	return &keeper{
		m: m, lessor: lessor.New(m.opts.TickMS),
		touched: make(map[int64]uint64), reportAt: make(map[uint64]int64), vouchedAt: -1 << 62,
		reports: make(map[uint64]uint64), proving: make(map[uint64][]lessor.Due), lastProof: proofBit,
	}
}

// tick lets one tick pass.
func (k *keeper) tick() {
	k.reportTouches()
	k.prove(k.lessor.Tick())
}

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
func (k *keeper) touch(ids []int64) {
	for _, id := range ids {
		k.touched[id] = 0
	}
}

// reportTouches tells the leader whom we heard of. An id stays in every report until one of them is
// confirmed, so none is lost with a frame or a leader. An empty report goes too: the answer is what
// lets us vouch.
func (k *keeper) reportTouches() {
	if k.m.leads() {
		k.lessor.Touch(slices.Sorted(maps.Keys(k.touched)))
		clear(k.touched)
		k.beginVouching()
		return
	}
	if !k.m.followsLeader() {
		return
	}
	k.report++
	k.reportAt[k.report] = k.m.now.MonotonicMS
	delete(k.reportAt, k.report-reportsKept)
	for id, first := range k.touched {
		if first == 0 {
			k.touched[id] = k.report
		}
	}
	t := &touch{term: k.m.term(), report: k.report, ids: slices.Sorted(maps.Keys(k.touched))}
	k.m.send(k.m.soft.Lead, t.encode())
}

// receiveTouch takes a member's report.
func (k *keeper) receiveTouch(from uint64, t *touch) {
	if !k.m.leads() || t.term != k.m.term() {
		return
	}
	k.lessor.Touch(t.ids)
	k.reports[from] = max(k.reports[from], t.report)
}

// beginVouching begins the proof behind the answers to all reports so far, if none is under way.
func (k *keeper) beginVouching() {
	if k.vouching.id != 0 {
		return
	}
	k.lastProof++
	k.vouching = vouching{id: k.lastProof, at: k.m.now.MonotonicMS, reports: k.reports}
	k.reports = make(map[uint64]uint64)
	k.m.reads.add(k.lastProof)
}

// vouched answers the reports that came before the proof began.
func (k *keeper) vouched() {
	v := k.vouching
	k.vouching = vouching{}
	if !k.m.leads() {
		return
	}
	k.vouchedAt = max(k.vouchedAt, v.at)
	for _, member := range slices.Sorted(maps.Keys(v.reports)) {
		k.m.send(member, (&touchAck{term: k.m.term(), report: v.reports[member]}).encode())
	}
}

// resign drops what a leader had under way for sessions and leases.
func (k *keeper) resign() {
	k.lessor.Demote()
	clear(k.proving)
	clear(k.reports)
	k.vouching = vouching{}
}

// receiveTouchAck takes the leader's word that a report counts.
func (k *keeper) receiveTouchAck(a *touchAck) {
	at, ok := k.reportAt[a.report]
	if !ok || a.term != k.m.term() {
		return
	}
	k.vouchedAt = max(k.vouchedAt, at)
	for id, first := range k.touched {
		if first != 0 && first <= a.report {
			delete(k.touched, id)
		}
	}
}

// follow follows what the state machine made of sessions and leases.
func (k *keeper) follow(changes []state.LeaseChange) {
	for _, c := range changes {
		if c.Gone {
			k.lessor.Forget(c.ID)
		} else {
			k.lessor.Set(c.ID, c.TTLMS, c.Generation)
		}
	}
}

// prove begins the proof that this member still leads, for sessions and leases whose time is up.
func (k *keeper) prove(due []lessor.Due) {
	if len(due) == 0 {
		return
	}
	k.lastProof++
	k.proving[k.lastProof] = due
	k.m.reads.add(k.lastProof)
}

// proven goes on with what needed the proof: the answers to reports, or the expiries of those whose time
// was up before it began.
func (k *keeper) proven(id uint64) {
	if id == k.vouching.id {
		k.vouched()
		return
	}
	due := k.proving[id]
	delete(k.proving, id)
	if !k.m.leads() {
		return
	}
	term := k.m.term()
	for _, d := range due {
		k.m.orders.internal(&command.Expire{ID: d.ID, Generation: d.Generation, Term: term})
	}
}
