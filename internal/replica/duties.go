package replica

import (
	"cmp"
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/lessor"
)

// Sessions and leases stay alive by being heard of. Members gather whom they heard of and report it to
// the leader, whose Lessor counts down. Reports are numbered; the leader's answer tells a member up to
// when it may vouch for its clients: one that hears nothing from the leader must disconnect
// them before the leader lets their sessions expire. A report dates what it holds, because it may take long: dating.go.
//
// The leader answers, and vouches for its own clients, only after a read index round that began when it
// had the reports: a leader that was paused may still believe in its office while another lets the
// sessions expire.
//
// A report also carries what clients ask of the leader alone, and the confirmation the answers: asker.go.

// keeper is the Member's care for sessions and leases.
type keeper struct {
	m      *Member
	lessor *lessor.Lessor

	touched   map[int64]heard
	asker     asker
	report    uint64          // number of the last report
	reportAt  map[uint64]Time // at which a report was sent
	vouchedAt int64           // MonotonicMS at which the last confirmed report was sent
	fix       fix             // the newest report that was confirmed

	// At the leader, by member: the newest report that is not confirmed, and the one that is but asks what cannot be
	// answered yet.
	reports   map[uint64]*touch
	undecided map[uint64]undecided
	wanted    bool // a confirmation is to be proven without waiting for a tick
	vouching  vouching
	proving   map[uint64][]lessor.Due
	due       []lessor.Due // proven; to be proposed
	lastProof uint64
}

// heard is when a client was last heard of here, and the first report that said so, 0 if none yet.
type heard struct {
	at    Time
	first uint64
}

// vouching is the round with which a leader proves its office before it confirms reports.
type vouching struct {
	id      uint64 // of the read; 0: none is under way
	reports map[uint64]*touch
}

// undecided is a report that asks about ids which are unknown at a leader that has not yet applied what was
// committed when it proved its office: one of the entries to come may know them.
type undecided struct {
	report *touch
	index  uint64 // that the leader must have applied
}

// newKeeper numbers reports from what no other run of this member uses: an answer to a report of an earlier run is
// none to this one.
func newKeeper(m *Member) *keeper {
	return &keeper{
		m: m, lessor: lessor.New(m.opts.TickMS), report: m.opts.Incarnation << 20,
		touched: make(map[int64]heard), reportAt: make(map[uint64]Time), vouchedAt: -1 << 62,
		reports: make(map[uint64]*touch), undecided: make(map[uint64]undecided),
		proving: make(map[uint64][]lessor.Due), lastProof: proofBit,
	}
}

// tick lets one tick pass.
func (k *keeper) tick() {
	k.asker.tick()
	k.sendReport()
	k.prove(k.lessor.Tick())
}

// flush moves on what need not wait for a tick.
func (k *keeper) flush() {
	if k.asker.ready() {
		k.sendReport()
	}
	if k.wanted && k.vouching.id == 0 {
		k.beginVouching()
	}
}

// proofBit marks reads with which a leader proves its office.
const proofBit uint64 = 1 << 63

// reportsKept is how many reports back an answer still counts.
const reportsKept = 64

// touch notes sessions and leases whose clients were heard of here.
func (k *keeper) touch(ids []int64) {
	for _, id := range ids {
		k.touched[id] = heard{at: k.m.now}
	}
}

// sendReport tells the leader whom we heard of, and asks what clients ask. An id stays in every report until one
// of them is confirmed, so none is lost with a frame or a leader, or until its time is over by any clock. An empty report goes too: the answer
// is what lets us vouch. A leader reports to itself.
func (k *keeper) sendReport() {
	if !k.m.leads() && !k.m.followsLeader() {
		return
	}
	k.report++
	k.reportAt[k.report] = k.m.now
	delete(k.reportAt, k.report-reportsKept)
	r := k.reckon()
	t := &touch{term: k.m.term(), report: k.report, low: k.m.space.low, tick: r.tick, ids: k.news(&r)}
	t.renew, t.look = k.asker.report(k.report, r)
	if k.m.leads() {
		k.wanted = true
		k.receiveTouch(k.m.id, t)
		return
	}
	k.m.send(k.m.soft.Lead, t.encode())
}

// news returns, in order, whom the report that is being made says to be heard of.
func (k *keeper) news(r *reckoning) []dated {
	if len(k.touched) == 0 {
		return nil
	}
	all := make([]dated, 0, len(k.touched))
	for id, h := range k.touched {
		if k.lessor.Over(id, r.passed(h.at)) {
			delete(k.touched, id)
			continue
		}
		if h.first == 0 {
			h.first = k.report
			k.touched[id] = h
		}
		all = append(all, dated{id, r.age(h.at)})
	}
	slices.SortFunc(all, func(a, b dated) int { return cmp.Compare(a.id, b.id) })
	return all
}

// receiveTouch takes a member's report. The newest holds what those before it asked, if it is not answered.
func (k *keeper) receiveTouch(from uint64, t *touch) {
	if !k.m.leads() || t.term != k.m.term() {
		return
	}
	t.heard = k.lessor.Now()
	k.count(t, t.ids)
	k.count(t, t.renew)
	k.m.space.hear(from, t.low)
	if last := k.reports[from]; last == nil || last.report < t.report {
		k.reports[from] = t
	}
	k.wanted = k.wanted || t.asks()
}

// count gives ids their whole time from when they were heard of, by what their report says.
func (k *keeper) count(t *touch, ids []dated) {
	from := t.tick
	if from == 0 {
		from = t.heard
	}
	for _, d := range ids {
		k.lessor.Touch(d.id, from-int64(d.age))
	}
}

// beginVouching begins the proof behind the answers to all reports so far.
func (k *keeper) beginVouching() {
	k.lastProof++
	k.vouching = vouching{id: k.lastProof, reports: k.reports}
	k.reports = make(map[uint64]*touch)
	k.wanted = false
	k.m.reads.add(k.lastProof)
}

// vouched confirms the reports that came before the proof began. index was committed then.
func (k *keeper) vouched(index uint64) {
	reports := k.vouching.reports
	k.vouching = vouching{}
	if !k.m.leads() {
		return
	}
	for _, member := range slices.Sorted(maps.Keys(reports)) {
		t := reports[member]
		if a := k.answer(t, index); a != nil {
			k.confirm(member, a)
			continue
		}
		k.confirm(member, &touchAck{term: k.m.term(), report: t.report, heard: t.heard})
		k.undecided[member] = undecided{t, index}
	}
}

// confirm sends a confirmation to a member, be it the leader itself.
func (k *keeper) confirm(member uint64, a *touchAck) {
	a.full = k.m.space.full
	if member == k.m.id {
		k.receiveTouchAck(a)
		return
	}
	k.m.send(member, a.encode())
}

// answer says what became of the ids that a report asks about; nil if that cannot be said before index is applied.
//
// An id that is known and not frozen has its whole time since it was asked for: either that counts, or it was made since.
func (k *keeper) answer(t *touch, index uint64) *touchAck {
	a := &touchAck{term: t.term, report: t.report, heard: t.heard, decided: true}
	for _, id := range t.look {
		if ms, known := k.lessor.Remaining(id); known {
			a.left = append(a.left, timeLeft{id, ms})
		} else {
			a.gone = append(a.gone, id)
		}
	}
	for _, d := range t.renew {
		if _, known := k.lessor.Remaining(d.id); !known {
			a.gone = append(a.gone, d.id)
		} else if k.lessor.Frozen(d.id) {
			a.open = append(a.open, d.id)
		}
	}
	if len(a.gone) > 0 && k.m.applied < index {
		return nil
	}
	return a
}

// decide answers the reports that waited for entries which are applied now.
func (k *keeper) decide() {
	for _, member := range slices.Sorted(maps.Keys(k.undecided)) {
		u := k.undecided[member]
		if a := k.answer(u.report, u.index); a != nil {
			delete(k.undecided, member)
			k.confirm(member, a)
		}
	}
}

// resign drops what a leader had under way for sessions and leases.
func (k *keeper) resign() {
	k.lessor.Demote()
	clear(k.proving)
	clear(k.reports)
	clear(k.undecided)
	k.vouching, k.wanted, k.due = vouching{}, false, nil
}

// receiveTouchAck takes the leader's word that a report counts, and its answers.
func (k *keeper) receiveTouchAck(a *touchAck) {
	sent, ok := k.reportAt[a.report]
	if !ok || a.term != k.m.term() {
		return
	}
	if sent.MonotonicMS >= k.vouchedAt { // not an answer that others have overtaken
		k.m.space.tell(a.full)
	}
	k.vouchedAt = max(k.vouchedAt, sent.MonotonicMS)
	if k.fix.term != a.term || sent.MonotonicMS > k.fix.sent.MonotonicMS {
		k.fix = fix{a.term, sent, a.heard}
	}
	for id, h := range k.touched {
		if h.first != 0 && h.first <= a.report {
			delete(k.touched, id)
		}
	}
	if a.decided {
		k.m.fx.Answers = append(k.m.fx.Answers, k.asker.settle(a)...)
	}
}

// follow follows what the state machine made of sessions and leases. Who asks about one that has ended need not
// wait for the leader's answer.
func (k *keeper) follow(changes []state.LeaseChange) {
	var ended map[int64]bool
	for _, c := range changes {
		if !c.Gone {
			k.lessor.Set(c.ID, c.TTLMS, c.Generation)
			continue
		}
		k.lessor.Forget(c.ID)
		if len(k.asker.asks) > 0 {
			if ended == nil {
				ended = make(map[int64]bool)
			}
			ended[c.ID] = true
		}
	}
	if answers := k.asker.ended(ended); len(answers) > 0 {
		k.m.fx.Answers = append(k.m.fx.Answers, answers...)
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

// proven goes on with what needed the proof, before which index was committed: the confirmation of reports, or the
// expiries of those whose time was up before it began.
func (k *keeper) proven(id, index uint64) {
	if id == k.vouching.id {
		k.vouched(index)
		return
	}
	due := k.proving[id]
	delete(k.proving, id)
	if k.m.leads() {
		k.due = append(k.due, due...)
	}
}

// expiriesMax is how many expiries go into one batch: when very many sessions and leases end at once, what clients
// do must not stand behind all of them.
const expiriesMax = 128

// expireSome queues expiries behind the commands that have gathered for the next batch.
func (k *keeper) expireSome() {
	n := min(len(k.due), expiriesMax)
	for _, d := range k.due[:n] {
		k.m.orders.internal(&command.Expire{ID: d.ID, Generation: d.Generation, Term: k.m.term()})
	}
	if k.due = k.due[n:]; len(k.due) == 0 {
		k.due = nil
	}
}
