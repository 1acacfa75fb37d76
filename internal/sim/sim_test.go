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
	var done, notDone, unknown, crashes, violations int
	for seed := *firstFlag; seed < *firstFlag+uint64(*seedsFlag); seed++ {
		r := runSeed(t, FromSeed(seed))
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
		if violations >= 5 {
			break
		}
	}
	t.Logf("%d seeds, %d violations; %d commands done, %d not done, %d unknown, %d crashes; %.1f seeds/s",
		*seedsFlag, violations, done, notDone, unknown, crashes, float64(*seedsFlag)/time.Since(start).Seconds())
}

// TestPlantedBugs checks that every planted bug is caught.
func TestPlantedBugs(t *testing.T) {
	for name, bug := range Bugs {
		t.Run(name, func(t *testing.T) {
			const limit = 400
			for seed := uint64(1); seed <= limit; seed++ {
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
