package replica

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/lessor"
)

// reporter is a member whose leader the test plays.
type reporter struct {
	t *testing.T
	m *Member
	// wallMS is by how much the wall clock is ahead of the monotonic one.
	nowMS, wallMS int64
}

// tick lets a tick pass, with news from the leader, and returns the report that goes out.
func (r *reporter) tick(touched ...int64) *touch {
	r.t.Helper()
	r.nowMS += 100
	var fx Effects
	now := Time{MonotonicMS: r.nowMS, WallMS: r.nowMS + r.wallMS}
	beat := &raftpb.Message{Type: new(raftpb.MsgHeartbeat), From: new(uint64(2)), To: new(uint64(1)), Term: new(r.m.term())}
	r.m.Step(now, Frame{From: 2, Data: appendRaft(nil, beat)}, &fx)
	r.m.Step(now, Touched{IDs: touched}, &fx)
	r.m.Step(now, Tick{}, &fx)
	for _, out := range fx.Send {
		if frameKind(out.Data[0]) == frameTouch {
			t, err := decodeTouch(out.Data[1:])
			if err != nil {
				r.t.Fatal(err)
			}
			return t
		}
	}
	r.t.Fatal("no report goes out")
	return nil
}

// confirm lets the leader confirm a report that it had in one of its ticks.
func (r *reporter) confirm(t *touch, heard int64) {
	var fx Effects
	ack := &touchAck{term: t.term, report: t.report, heard: heard, decided: true}
	r.m.Step(Time{MonotonicMS: r.nowMS, WallMS: r.nowMS + r.wallMS}, Frame{From: 2, Data: ack.encode()}, &fx)
}

// want compares what a report says: by when it was sent, and of whom.
func (r *reporter) want(what string, t *touch, tick int64, ids ...dated) {
	r.t.Helper()
	if diff := cmp.Diff(&touch{tick: tick, ids: ids}, &touch{tick: t.tick, ids: t.ids}, cmp.AllowUnexported(touch{}, dated{})); diff != "" {
		r.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestReportsDate follows one session through reports that are not confirmed, confirmed late, and made to another leader.
func TestReportsDate(t *testing.T) {
	r := &reporter{t: t, m: follower(t), nowMS: 1000}
	r.m.keeper.follow([]state.LeaseChange{{ID: 7, TTLMS: 3000, Generation: 1}})
	r.want("with no confirmation yet, ages count back from the arrival", r.tick(7), 0, dated{7, 0})
	r.want("and are rounded down", r.tick(), 0, dated{7, 0})
	last := r.tick()
	r.want("with room for another pace", last, 0, dated{7, 1})

	r.confirm(last, 500)
	last = r.tick(7)
	r.want("100 ms after a report of tick 500", last, 502, dated{7, 0})
	last = r.tick(8)
	r.want("the date stays", last, 503, dated{7, 1}, dated{8, 0})
	for range 10 {
		last = r.tick()
	}
	r.want("although nobody answers", last, 514, dated{7, 12}, dated{8, 11})
	for range 26 {
		last = r.tick()
	}
	r.want("until nothing is left of a TTL that is known", last, 543, dated{8, 40})

	r.confirm(last, 544)
	r.want("a confirmed one goes", r.tick(), 546)
	r.wallMS += 5000
	r.want("a machine that slept knows it from its wall clock", r.tick(7), 603, dated{7, 0})
	r.wallMS -= 7000
	r.want("which may also be set back", r.tick(), 548, dated{7, 0})

	var fx Effects
	beat := &raftpb.Message{Type: new(raftpb.MsgHeartbeat), From: new(uint64(3)), To: new(uint64(1)), Term: new(r.m.term() + 1)}
	r.m.Step(Time{MonotonicMS: r.nowMS, WallMS: r.nowMS + r.wallMS}, Frame{From: 3, Data: appendRaft(nil, beat)}, &fx)
	r.want("the ticks of one leader say nothing to the next", r.tick(), 0, dated{7, 1})
}

// TestLeaderCounts: a leader counts from the tick that a report names, or from its arrival, never from later than that.
func TestLeaderCounts(t *testing.T) {
	for name, c := range map[string]struct {
		tick int64
		age  uint64
		due  int64
	}{
		"named":               {tick: 18, age: 3, due: 15 + 11},
		"not named":           {age: 3, due: 17 + 11},
		"named but not yet":   {tick: 1000, age: 3, due: 20 + 11},
		"older than the rest": {tick: 10, age: 500, due: 12 + 11},
	} {
		l := lessor.New(100)
		l.Promote(0)
		for l.Now() < 12 {
			l.Tick()
		}
		l.Set(1, 1000, 1)
		k := &keeper{lessor: l}
		for l.Now() < 20 {
			l.Tick()
		}
		k.count(&touch{tick: c.tick, heard: l.Now()}, []dated{{2, 0}, {1, c.age}})
		for len(l.Tick()) == 0 {
		}
		if l.Now() != c.due {
			t.Errorf("%s: due at tick %d, want %d", name, l.Now(), c.due)
		}
	}
}

// TestDatesAreNeverEarly lets a member whose clock runs at another rate than the leader's report a touch, after a confirmation that it had
// long before or never, over links of any delay, to a leader whose ticks may come late. The session must have its whole TTL
// by the leader's clock, and little more if nothing came late but the report.
func TestDatesAreNeverEarly(t *testing.T) {
	const tickMS, ttlMS = 100, 3000
	rapid.Check(t, func(t *rapid.T) {
		ms := func(name string, most int64) float64 {
			return float64(rapid.Int64Range(0, most*1000).Draw(t, name)) / 1000
		}
		leaderRate := 1 + float64(rapid.IntRange(-50, 50).Draw(t, "leader's rate"))/1000
		rate := 1 + float64(rapid.IntRange(-50, 50).Draw(t, "member's rate"))/1000
		punctual := rapid.Bool().Draw(t, "punctual")
		clock := func(at float64) Time {
			return Time{MonotonicMS: int64(at * rate), WallMS: 1e9 + int64(at*rate)}
		}
		l, tickAt := lessor.New(tickMS), ms("phase", 100)
		l.Promote(0)
		l.Set(1, ttlMS, 1)
		until := func(at float64) (due bool) {
			for tickAt <= at && !due {
				due = len(l.Tick()) > 0
				if tickAt += tickMS / leaderRate; !punctual && rapid.IntRange(0, 9).Draw(t, "late") == 0 {
					tickAt += ms("lateness", 3000)
				}
			}
			return due
		}
		sent := ms("first report", 500)
		transit := ms("its transit", 800)
		touched := sent + ms("from there to the touch", 900)
		reported := touched + ms("from there to the report", 900)
		arrived := max(sent+transit, reported+ms("its transit", 900))
		r := reckoning{now: clock(reported), tickMS: tickMS}
		until(sent + transit)
		confirmed := rapid.Bool().Draw(t, "confirmed")
		if confirmed {
			r.fix = fix{1, clock(sent), l.Now()}
			r.tick = r.fix.latest(r.now, tickMS)
		}
		if until(arrived) {
			return // its old time was over
		}
		from := r.tick
		if !confirmed {
			from = l.Now()
		}
		l.Touch(1, from-int64(r.age(clock(touched))))
		end := tickAt
		for !until(end) {
			end = tickAt
		}
		had := (end - touched) * leaderRate
		if had < ttlMS {
			t.Fatalf("ends after %.3f ms of %d", had, ttlMS)
		}
		late := transit + (touched-sent)/4
		if !confirmed {
			late = arrived - reported + (reported-touched)/4
		}
		// The granting of the session at the start gives it time too.
		if most := max(ttlMS+4*tickMS+late*leaderRate, ttlMS+3*tickMS-touched*leaderRate); punctual && had > most {
			t.Fatalf("ends after %.3f ms, want %.3f at most", had, most)
		}
	})
}
