package replica

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func renewAsk(number uint64, ids ...int64) Ask { return Ask{Number: number, IDs: ids, Renew: true} }

func reported(t *testing.T, a *asker, number uint64, renew, look []int64) {
	t.Helper()
	dates, l := a.report(number, reckoning{tickMS: 100})
	var r []int64
	for _, d := range dates {
		r = append(r, d.id)
	}
	if diff := cmp.Diff([][]int64{renew, look}, [][]int64{r, l}); diff != "" {
		t.Errorf("report %d (-want +got):\n%s", number, diff)
	}
}

// TestAsker follows questions through reports that are answered, lost and answered in part.
func TestAsker(t *testing.T) {
	var a asker
	if a.ready() {
		t.Error("a report is wanted for nothing")
	}
	a.add(renewAsk(1, 10, 11), Time{})
	a.add(Ask{Number: 2, IDs: []int64{10}}, Time{})
	if !a.ready() {
		t.Error("no report is wanted")
	}
	reported(t, &a, 5, []int64{10, 11}, []int64{10})
	a.add(renewAsk(3, 10), Time{}) // too late for report 5
	if a.ready() {
		t.Error("a second report is wanted while one is under way")
	}
	got := a.settle(&touchAck{report: 5, decided: true, gone: []int64{11}, left: []timeLeft{{10, 700}}})
	want := []Answer{{Number: 1, At: 0, Known: true}, {Number: 1, At: 1}, {Number: 2, Known: true, LeftMS: 700}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if !a.ready() {
		t.Error("what came meanwhile does not go at once")
	}

	// A tick repeats what is under way, and takes what is new along.
	reported(t, &a, 6, []int64{10}, nil)
	a.add(renewAsk(4, 12), Time{})
	a.tick()
	reported(t, &a, 7, []int64{10, 12}, nil)
	if got := a.settle(&touchAck{report: 6, decided: true}); len(got) != 1 || got[0].Number != 3 || a.ready() {
		t.Errorf("report 6 answers %v; another wanted: %v", got, a.ready())
	}
	// What is open is asked again with the next tick, not before.
	if got := a.settle(&touchAck{report: 7, decided: true, open: []int64{12}}); len(got) > 0 || a.ready() {
		t.Errorf("an open question is answered with %v; another report wanted: %v", got, a.ready())
	}
	a.add(renewAsk(5, 13), Time{})
	reported(t, &a, 8, []int64{13}, nil)
	if got := a.settle(&touchAck{report: 8, decided: true}); len(got) != 1 || got[0].Number != 5 {
		t.Errorf("report 8 answers %v", got)
	}
	a.tick()
	reported(t, &a, 9, []int64{12}, nil)

	// Another leader is asked everything, an end answers, and what was given up is forgotten.
	a.add(renewAsk(6, 14, 15), Time{})
	a.restart()
	if !a.ready() {
		t.Error("another leader is not asked at once")
	}
	reported(t, &a, 10, []int64{12, 14, 15}, nil)
	if got := a.ended(map[int64]bool{14: true}); len(got) != 1 || got[0] != (Answer{Number: 6}) {
		t.Errorf("the end of a lease answers %v", got)
	}
	a.giveUp(6)
	a.giveUp(99)
	a.tick()
	reported(t, &a, 11, []int64{12}, nil)
	if got := a.settle(&touchAck{report: 11, decided: true}); len(got) != 1 || len(a.asks) > 0 || a.fresh != 0 || a.said != 0 {
		t.Errorf("at the end %v is answered, %d questions are left", got, len(a.asks))
	}
}

// TestAskerBound: no report asks more than it may, all that a report under way asks is in the next, and everything is
// answered in the end.
func TestAskerBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a asker
		total, answers, number := 0, 0, uint64(0)
		for n := range rapid.IntRange(1, 8).Draw(t, "asks") {
			ids := make([]int64, rapid.IntRange(1, asksMax).Draw(t, "ids"))
			a.add(renewAsk(uint64(n+1), ids...), Time{})
			total += len(ids)
		}
		for steps := 0; answers < total; steps++ {
			if steps > 100 {
				t.Fatalf("%d of %d are answered after %d reports", answers, total, number)
			}
			said := a.said
			number++
			renew, _ := a.report(number, reckoning{tickMS: 100})
			if len(renew) > asksMax || len(renew) < said || len(renew) != a.said {
				t.Fatalf("report %d asks %d, %d were under way", number, len(renew), said)
			}
			if rapid.Bool().Draw(t, "lost") {
				a.tick()
				continue
			}
			answers += len(a.settle(&touchAck{report: number, decided: true}))
		}
		if a.ready() || len(a.asks) != 0 {
			t.Fatalf("%d questions are left", len(a.asks))
		}
	})
}
