package lessor_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/lessor"
)

const tickMS = 100

// run ticks n times and returns what was due, by tick from 1.
func run(l *lessor.Lessor, n int) map[int][]lessor.Due {
	due := map[int][]lessor.Due{}
	for i := 1; i <= n; i++ {
		if d := l.Tick(); len(d) > 0 {
			due[i] = d
		}
	}
	return due
}

func leader() *lessor.Lessor {
	l := lessor.New(tickMS)
	l.Promote(0)
	return l
}

// TestWhenDue: the tick under way is already partly over, so a TTL of n ticks ends with the tick n+1 and never
// before n whole ticks.
func TestWhenDue(t *testing.T) {
	type at = map[int][]lessor.Due
	one := func(tick int) at { return at{tick: {{ID: 1, Generation: 7}}} }
	for name, c := range map[string]struct {
		do   func(l *lessor.Lessor)
		want at
	}{
		"nothing":        {func(*lessor.Lessor) {}, at{}},
		"ten ticks":      {func(l *lessor.Lessor) { l.Set(1, 1000, 7) }, one(11)},
		"rounded up":     {func(l *lessor.Lessor) { l.Set(1, 1001, 7) }, one(12)},
		"one ms":         {func(l *lessor.Lessor) { l.Set(1, 1, 7) }, one(2)},
		"no time at all": {func(l *lessor.Lessor) { l.Set(1, 0, 7) }, one(1)},
		"shortened":      {func(l *lessor.Lessor) { l.Set(1, 5000, 6); l.Set(1, 1000, 7) }, one(11)},
		"lengthened":     {func(l *lessor.Lessor) { l.Set(1, 1000, 6); l.Set(1, 5000, 7) }, one(51)},
		"both":           {func(l *lessor.Lessor) { l.Set(1, 1000, 5); l.Set(1, 5000, 6); l.Set(1, 2000, 7) }, one(21)},
		"touched":        {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 10); l.Touch(1, 10) }, one(11)},
		"touched often": {func(l *lessor.Lessor) {
			l.Set(1, 1000, 7)
			for range 100 {
				run(l, 3)
				l.Touch(1, l.Now())
				l.Touch(2, l.Now())
			}
		}, one(11)},
		"touched a while ago": {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 10); l.Touch(1, 6) }, one(7)},
		"touched long ago":    {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 8); l.Touch(1, -100) }, one(3)},
		"old news after new":  {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 8); l.Touch(1, 8); l.Touch(1, 5) }, one(11)},
		"touched in future":   {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 8); l.Touch(1, 1000) }, one(11)},
		"touched too late":    {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 11); l.Touch(1, l.Now()) }, at{}},
		"set when frozen":     {func(l *lessor.Lessor) { l.Set(1, 1000, 6); run(l, 11); l.Set(1, 500, 7) }, one(6)},
		"forgotten":           {func(l *lessor.Lessor) { l.Set(1, 1000, 7); l.Forget(1); l.Forget(2) }, at{}},
		"forgotten and back":  {func(l *lessor.Lessor) { l.Set(1, 1000, 7); l.Forget(1); run(l, 5); l.Set(1, 1000, 7) }, one(11)},
		"reset":               {func(l *lessor.Lessor) { l.Set(1, 1000, 7); l.Reset() }, at{}},
		"reset and back":      {func(l *lessor.Lessor) { l.Set(1, 1000, 7); l.Reset(); l.Set(1, 1000, 7) }, one(11)},
		"not leading":         {func(l *lessor.Lessor) { l.Set(1, 1000, 7); l.Demote() }, at{}},
		"leading again": {func(l *lessor.Lessor) {
			l.Set(1, 1000, 7)
			l.Demote()
			run(l, 500)
			l.Promote(150)
		}, one(13)},
		"frozen at a new leader": {func(l *lessor.Lessor) { l.Set(1, 1000, 7); run(l, 11); l.Promote(0) }, one(11)},
		"set while following":    {func(l *lessor.Lessor) { l.Demote(); l.Set(1, 9000, 6); l.Set(1, 1000, 7); l.Promote(0) }, one(11)},
		"touch within the grace": {func(l *lessor.Lessor) {
			l.Set(1, 1000, 7)
			l.Promote(1000)
			run(l, 3)
			l.Touch(1, l.Now())
		}, one(18)},
		"touch after the grace": {func(l *lessor.Lessor) {
			l.Set(1, 1000, 7)
			l.Promote(1000)
			run(l, 13)
			l.Touch(1, l.Now())
		}, one(11)},
		"in order of id": {func(l *lessor.Lessor) {
			for _, id := range []int64{3, -1, 2} {
				l.Set(id, 1000, uint64(id+1))
			}
		}, at{11: {{ID: -1}, {ID: 2, Generation: 3}, {ID: 3, Generation: 4}}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := leader()
			c.do(l)
			if diff := cmp.Diff(c.want, run(l, 200)); diff != "" {
				t.Errorf("due at other ticks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemaining(t *testing.T) {
	l := leader()
	l.Set(1, 1000, 1)
	run(l, 4)
	if ms, ok := l.Remaining(1); ms != 500 || !ok || l.Frozen(1) {
		t.Errorf("Remaining = %d, %v; frozen %v", ms, ok, l.Frozen(1))
	}
	run(l, 6)
	if ms, ok := l.Remaining(1); ms != 0 || !ok || l.Frozen(1) {
		t.Errorf("Remaining just before it is due = %d, %v; frozen %v", ms, ok, l.Frozen(1))
	}
	run(l, 20)
	if ms, ok := l.Remaining(1); ms != 0 || !ok || !l.Frozen(1) {
		t.Errorf("Remaining of a frozen id = %d, %v", ms, ok)
	}
	if _, ok := l.Remaining(2); ok || l.Frozen(2) {
		t.Error("Remaining knows an id that was never set")
	}
}

// TestOver: nobody is given up before his whole TTL has passed, nor who is not known.
func TestOver(t *testing.T) {
	l := leader()
	l.Set(1, 1000, 1)
	if l.Over(1, 11) || !l.Over(1, 12) || l.Over(2, 1000) {
		t.Errorf("a TTL of 1 s is over after 11 ticks of 100 ms: %v, after 12: %v; that of an unknown id: %v", l.Over(1, 11), l.Over(1, 12), l.Over(2, 1000))
	}
}

// modelEntry is what a model without a wheel knows of an id.
type modelEntry struct {
	ttl, due   int64 // ticks
	generation uint64
	frozen     bool
}

// model looks at every id at every tick.
type model struct {
	now     int64
	leading bool
	ids     map[int64]*modelEntry
}

func ticksOf(ms int64) int64 {
	n := ms / tickMS
	if ms%tickMS != 0 {
		n++
	}
	return n
}

func (m *model) tick() (due []lessor.Due) {
	m.now++
	for _, id := range slices.Sorted(maps.Keys(m.ids)) {
		if e := m.ids[id]; m.leading && !e.frozen && e.due <= m.now {
			e.frozen = true
			due = append(due, lessor.Due{ID: id, Generation: e.generation})
		}
	}
	return due
}

// TestAgainstModel does the same to a Lessor and to the model.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, m := lessor.New(tickMS), &model{ids: map[int64]*modelEntry{}}
		id := rapid.Int64Range(1, 6)
		ttl := rapid.OneOf(rapid.Int64Range(0, 900), rapid.SampledFrom([]int64{100, 1 << 40}))
		check := func() {
			for i := range m.ids {
				want := max(0, m.ids[i].due-m.now-2) * tickMS
				if got, ok := l.Remaining(i); !ok || got != want {
					t.Fatalf("Remaining(%d) = %d, %v; want %d", i, got, ok, want)
				}
				if l.Frozen(i) != m.ids[i].frozen {
					t.Fatalf("Frozen(%d) = %v", i, l.Frozen(i))
				}
			}
			if _, err := l.Places(); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"set": func(t *rapid.T) {
				i, ms, generation := id.Draw(t, "id"), ttl.Draw(t, "ttl"), rapid.Uint64().Draw(t, "generation")
				l.Set(i, ms, generation)
				m.ids[i] = &modelEntry{ttl: ticksOf(ms) + 1, due: m.now + ticksOf(ms) + 1, generation: generation}
			},
			"touch": func(t *rapid.T) {
				i, at := id.Draw(t, "id"), m.now+rapid.Int64Range(-30, 30).Draw(t, "after now")
				l.Touch(i, at)
				if e := m.ids[i]; e != nil && !e.frozen {
					e.due = max(e.due, min(at, m.now)+e.ttl)
				}
			},
			"forget": func(t *rapid.T) {
				i := id.Draw(t, "id")
				l.Forget(i)
				delete(m.ids, i)
			},
			"reset":  func(*rapid.T) { l.Reset(); clear(m.ids) },
			"demote": func(*rapid.T) { l.Demote(); m.leading = false },
			"promote": func(t *rapid.T) {
				grace := rapid.Int64Range(0, 500).Draw(t, "grace")
				l.Promote(grace)
				m.leading = true
				for _, e := range m.ids {
					e.frozen, e.due = false, m.now+e.ttl+ticksOf(grace)
				}
			},
			"tick": func(t *rapid.T) {
				for range rapid.IntRange(1, 12).Draw(t, "ticks") {
					if diff := cmp.Diff(m.tick(), l.Tick()); diff != "" {
						t.Fatalf("due at tick %d (-model +lessor):\n%s", m.now, diff)
					}
				}
			},
		})
	})
}

// TestNoLeak does again and again what leaves places in the wheel behind.
func TestNoLeak(t *testing.T) {
	const year = 365 * 24 * 3600 * 1000
	for name, once := range map[string]func(l *lessor.Lessor, i int){
		"granted and revoked": func(l *lessor.Lessor, i int) { l.Set(int64(i), year, 1); l.Forget(int64(i)) },
		"same id revoked":     func(l *lessor.Lessor, _ int) { l.Set(1, year, 1); l.Forget(1) },
		"set anew":            func(l *lessor.Lessor, i int) { l.Set(1, year, uint64(i)) },
		"long and short": func(l *lessor.Lessor, i int) {
			l.Set(1, 1, uint64(i))
			l.Set(1, year, uint64(i))
			l.Tick()
			l.Tick()
		},
		"ever shorter":  func(l *lessor.Lessor, i int) { l.Set(1, year-int64(i)*tickMS, uint64(i)) },
		"touched":       func(l *lessor.Lessor, _ int) { l.Set(1, 2*tickMS, 1); l.Touch(1, l.Now()); l.Tick() },
		"term for term": func(l *lessor.Lessor, _ int) { l.Set(1, year, 1); l.Demote(); l.Promote(0) },
		"following": func(l *lessor.Lessor, i int) {
			if i == 0 {
				l.Demote()
			}
			l.Set(int64(i), year, 1)
			l.Forget(int64(i))
			l.Tick()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := leader()
			for i := range 100 {
				l.Set(-int64(i)-1, year, 1) // some that stay
			}
			for i := range 20_000 {
				once(l, i)
			}
			places, err := l.Places()
			if err != nil {
				t.Fatal(err)
			}
			if places > 101+1025 || name == "following" && places > 0 {
				t.Errorf("the wheel has %d places for 101 ids", places)
			}
		})
	}
}

// TestTouchAllocatesNothing checks the path that every keep-alive takes.
func TestTouchAllocatesNothing(t *testing.T) {
	l, ids := filled(1000)
	if n := testing.AllocsPerRun(100, func() {
		for _, id := range ids {
			l.Touch(id, l.Now())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func filled(n int) (*lessor.Lessor, []int64) {
	l := leader()
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i) * 0x9e3779b9
		l.Set(ids[i], 10_000, 1)
	}
	return l, ids
}

func BenchmarkTouch(b *testing.B) {
	for name, n := range map[string]int{"1000": 1000, "100000": 100_000, "1000000": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			l, ids := filled(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Touch(ids[i], l.Now())
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

// BenchmarkTickMoves ticks while 100,000 ids are touched once in a TTL, so that buckets are full of ids that move on.
func BenchmarkTickMoves(b *testing.B) {
	l, ids := filled(100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		part := len(ids) / 50
		from := i % 50 * part
		for _, id := range ids[from : from+part] {
			l.Touch(id, l.Now())
		}
		l.Tick()
	}
}

func BenchmarkExpire100000AtOnce(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		l, _ := filled(100_000)
		run(l, 100)
		b.StartTimer()
		if due := l.Tick(); len(due) != 100_000 {
			b.Fatalf("%d were due", len(due))
		}
	}
}
