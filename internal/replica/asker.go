package replica

// Some answers only the leader has: whether a lease that a client wants to keep alive is renewed, and how much
// time is left. Members ask with their reports, and the leader answers with its confirmation, so any
// number of clients share a round trip, and an answer is proven as a confirmation is. A report
// goes out at once if none that asks is under way; what is asked meanwhile goes with the next.

// asksMax bounds what one report asks, so that no step takes long; the rest goes with the next report.
const asksMax = 16384

// ask is one question of one client.
type ask struct {
	number uint64
	at     int
	asked  Time
	id     int64
	renew  bool
	first  uint64 // the report that asked it first; 0: none yet, or not since the last answer
	open   bool   // the leader could not tell; asked again at the next tick
}

// asker is a member's side of asking; every member has one, the leader too. A client that asks for what is
// under way already waits for the next report: the leader may have taken the one before as of earlier.
type asker struct {
	asks        []ask
	fresh, said int    // asks that no report has yet, and that reports under way have
	underWay    uint64 // the last report that asks and is not answered; 0: none
	abandoned   map[uint64]bool
}

// add takes the questions of a client.
func (a *asker) add(in Ask, now Time) {
	for i, id := range in.IDs {
		a.asks = append(a.asks, ask{number: in.Number, at: i, asked: now, id: id, renew: in.Renew})
	}
	a.fresh += len(in.IDs)
}

// giveUp drops what was asked under a number at the next tick.
func (a *asker) giveUp(number uint64) {
	if len(a.asks) == 0 {
		return
	}
	if a.abandoned == nil {
		a.abandoned = make(map[uint64]bool)
	}
	a.abandoned[number] = true
}

// ready tells whether a report should go out at once.
func (a *asker) ready() bool { return a.fresh > 0 && a.underWay == 0 }

// tick lets one tick pass: what was given up is dropped, and what is open is asked again.
func (a *asker) tick() {
	a.keep(func(q *ask) bool {
		q.open = false
		return !a.abandoned[q.number]
	})
	a.abandoned = nil
}

// restart asks everything again, of another leader.
func (a *asker) restart() {
	a.keep(func(q *ask) bool {
		q.first, q.open = 0, false
		return true
	})
	a.underWay = 0
}

// report returns what the report of that number is to ask: all that is not answered, as far as asksMax allows.
func (a *asker) report(number uint64, r reckoning) (renew []dated, look []int64) {
	room := asksMax - a.said
	for i := range a.asks {
		q := &a.asks[i]
		if q.open || q.first == 0 && room == 0 {
			continue
		}
		if q.first == 0 {
			q.first = number
			room--
			a.fresh--
			a.said++
		}
		if q.renew {
			renew = append(renew, dated{q.id, r.age(q.asked)})
		} else {
			look = append(look, q.id)
		}
	}
	if a.said > 0 {
		a.underWay = number
	}
	return renew, look
}

// settle takes the leader's answers to what was first asked in a report up to that one.
func (a *asker) settle(ack *touchAck) (answers []Answer) {
	if ack.report >= a.underWay {
		a.underWay = 0
	}
	gone, open := setOf(ack.gone), setOf(ack.open)
	left := make(map[int64]int64, len(ack.left))
	for _, l := range ack.left {
		left[l.id] = l.ms
	}
	a.keep(func(q *ask) bool {
		if q.first == 0 || q.first > ack.report {
			return true
		}
		ms, looked := left[q.id]
		switch {
		case gone[q.id]:
			answers = append(answers, Answer{Number: q.number, At: q.at})
		case q.renew && !open[q.id]:
			answers = append(answers, Answer{Number: q.number, At: q.at, Known: true})
		case !q.renew && looked:
			answers = append(answers, Answer{Number: q.number, At: q.at, Known: true, LeftMS: ms})
		default:
			q.first, q.open = 0, true
			return true
		}
		return false
	})
	return answers
}

// ended answers all who ask about sessions or leases that have just ended here.
func (a *asker) ended(ids map[int64]bool) (answers []Answer) {
	if len(a.asks) == 0 || len(ids) == 0 {
		return nil
	}
	a.keep(func(q *ask) bool {
		if ids[q.id] {
			answers = append(answers, Answer{Number: q.number, At: q.at})
		}
		return !ids[q.id]
	})
	return answers
}

// keep drops the asks for which fn is false and counts the others anew.
func (a *asker) keep(fn func(*ask) bool) {
	kept := a.asks[:0]
	a.fresh, a.said = 0, 0
	for i := range a.asks {
		q := a.asks[i]
		if !fn(&q) {
			continue
		}
		switch {
		case q.first != 0:
			a.said++
		case !q.open:
			a.fresh++
		}
		kept = append(kept, q)
	}
	clear(a.asks[len(kept):])
	a.asks = kept
	if len(kept) == 0 && cap(kept) > spareItems {
		a.asks = nil
	}
}

// setOf makes a set; nil for an empty list.
func setOf(ids []int64) map[int64]bool {
	if len(ids) == 0 {
		return nil
	}
	set := make(map[int64]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
