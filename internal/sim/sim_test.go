package sim

import (
	"flag"
	"fmt"
	"testing"
	"testing/cryptotest"
	"time"
)

var (
	seedsFlag = flag.Int("sim.seeds", 60, "how many seeds to run")
	seedFlag  = flag.Uint64("sim.seed", 0, "run this seed alone and print its events")
	firstFlag = flag.Uint64("sim.first", 1, "the first seed")
)

// runSeed runs one seed with raft's election jitter drawn from it.
func runSeed(t *testing.T, cfg Config) (r Result) {
	t.Run(fmt.Sprintf("seed%d", cfg.Seed), func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, cfg.Seed)
		r = Run(cfg)
	})
	return r
}

// TestSeeds runs seeds one after the other; no promise may be broken in any.
func TestSeeds(t *testing.T) {
	if *seedFlag != 0 {
		r := runSeed(t, FromSeed(*seedFlag))
		for _, line := range r.Trace {
			t.Log(line)
		}
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return
	}
	start := time.Now()
	var done, notDone, unknown, refused, crashes, changed, watched, violations int
	var simulated int64
	for seed := *firstFlag; seed < *firstFlag+uint64(*seedsFlag); seed++ {
		cfg := FromSeed(seed)
		r := runSeed(t, cfg)
		simulated += cfg.FaultTime + cfg.HealTime
		if seed%100 == 0 {
			if again := runSeed(t, FromSeed(seed)); again.Fingerprint != r.Fingerprint {
				t.Errorf("seed %d is not deterministic", seed)
			}
		}
		if r.Err != nil {
			violations++
			t.Errorf("seed %d: %v\nreplay: make sim SEED=%d", seed, r.Err, seed)
		}
		done, notDone, unknown, crashes = done+r.Done, notDone+r.NotDone, unknown+r.Unknown, crashes+r.Crashes
		watched, changed, refused = watched+r.Watched, changed+r.Changed, refused+r.Refused
		if violations >= 5 {
			break
		}
	}
	rate := float64(*seedsFlag) / time.Since(start).Seconds()
	t.Logf("%d commands done, %d not done, %d unknown, %d refused by full disks; %d crashes; %d changes of members; %d events watched",
		done, notDone, unknown, refused, crashes, changed, watched)
	t.Logf("%.1f seeds a second, %.0f simulated seconds a second", rate, rate*float64(simulated/second)/float64(*seedsFlag))
	t.Logf("%d seeds, %d violations", *seedsFlag, violations)
}

// TestCorpus runs the seeds that once found a defect which no other test shows.
func TestCorpus(t *testing.T) {
	for seed, found := range map[uint64]string{
		434:  "a leader that was removed stopped before the only other voter knew that this was committed, and was needed to find out",
		305:  "members with a cut log refused even the pre-votes of the one who could have led them, for ever",
		3340: "a member vouched for a session of which the leader had not heard for its whole timeout",
	} {
		cfg := FromSeed(seed)
		if seed < 1000 {
			cfg.Death, cfg.FailIO, cfg.Jump = 0, 0, 0 // as it was then
		}
		if r := runSeed(t, cfg); r.Err != nil {
			t.Errorf("seed %d (%s): %v", seed, found, r.Err)
		}
	}
}

// TestPlantedBugs checks that every planted bug is caught.
func TestPlantedBugs(t *testing.T) {
	for name, bug := range Bugs {
		t.Run(name, func(t *testing.T) {
			const limit = 400
			for seed := *firstFlag; seed < *firstFlag+limit; seed++ {
				cfg := FromSeed(seed)
				cfg.Bug = bug
				if r := runSeed(t, cfg); r.Err != nil {
					t.Logf("caught by seed %d: %.200s", seed, r.Err.Error())
					return
				}
			}
			t.Fatalf("not caught in %d seeds", limit)
		})
	}
}

// TestLinearizable checks the checker: a stale read is found, an unknown write may explain a read.
func TestLinearizable(t *testing.T) {
	write := func(value string, call, answer int64, known bool) access {
		return access{key: "k", write: true, value: value, call: call, answer: answer, known: known}
	}
	read := func(value string, call, answer int64) access {
		return access{key: "k", value: value, call: call, answer: answer, known: true}
	}
	for _, c := range []struct {
		name     string
		accesses []access
		legal    bool
	}{
		{"read of the last write", []access{write("a", 1, 2, true), read("a", 3, 4)}, true},
		{"stale read", []access{write("a", 1, 2, true), write("b", 3, 4, true), read("a", 5, 6)}, false},
		{"read during the write", []access{write("a", 1, 2, true), write("b", 3, 9, true), read("a", 5, 6)}, true},
		{"reads that go back", []access{write("a", 1, 2, true), write("b", 3, 9, true), read("b", 4, 5), read("a", 6, 7)}, false},
		{"late unknown write", []access{write("a", 1, 2, true), write("b", 3, 4, false), read("a", 5, 6), read("b", 7, 8)}, true},
		{"value from nowhere", []access{read("x", 1, 2)}, false},
	} {
		w := &World{}
		(&registers{w, c.accesses}).linearizable()
		if legal := w.failure == nil; legal != c.legal {
			t.Errorf("%s: legal %v, want %v", c.name, legal, c.legal)
		}
	}
}
