package robustness

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

var campaignMinutes = flag.Float64("campaign.minutes", 0, "how long TestCampaign goes on with new clusters, in minutes; 0 leaves it out")

// campaignFaults hit each cluster of a campaign: enough to judge how long leaders are missed, and few enough to check.
const campaignFaults = 50

// TestCampaign is TestFaults again and again, each time with a new cluster and the next seed, until its time is over.
func TestCampaign(t *testing.T) {
	if *campaignMinutes <= 0 {
		t.Skip("no -campaign.minutes")
	}
	c := campaign{gaps: map[string][]time.Duration{}}
	length := time.Duration(*campaignMinutes * float64(time.Minute))
	for start, seed := time.Now(), *faultSeed; time.Since(start) < length; seed++ {
		if !t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { c.add(runFaults(t, seed, campaignFaults)) }) {
			c.violations++
		}
		t.Logf("campaign: seed %d is done, %v of %v", seed, time.Since(start).Round(time.Second), length)
	}
	c.report(t)
}

// campaign adds up what its runs came to.
type campaign struct {
	gaps                                         map[string][]time.Duration // by kind of fault
	runs, faults, operations, writes, violations int
}

func (c *campaign) add(r *faultRun) {
	c.runs++
	c.faults += len(r.faults)
	c.operations += len(r.operations)
	for _, o := range r.operations {
		if o.Write() {
			c.writes++
		}
	}
	for _, f := range r.faults {
		if gap, ok := r.gap(f); ok {
			c.gaps[f.kind] = append(c.gaps[f.kind], gap)
		}
	}
}

func (c *campaign) report(t *testing.T) {
	for _, kind := range slices.Sorted(maps.Keys(c.gaps)) {
		g := slices.Sorted(slices.Values(c.gaps[kind]))
		t.Logf("campaign: %-17s %4d times; to the next acknowledged write: median %v, most %v", kind, len(g), ms(median(g)), ms(g[len(g)-1]))
	}
	t.Logf("campaign: %d clusters, %d faults, %d operations checked (%d of them writes), %d violations", c.runs, c.faults, c.operations, c.writes, c.violations)
}
