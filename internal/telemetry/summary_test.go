package telemetry

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	var s Summary
	check := func(name string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	check("minimum of nothing", s.Min(), time.Duration(0))
	check("quantile of nothing", s.Quantile(0.5), time.Duration(0))
	for _, ms := range []float64{2.5, 1, 7} {
		s.Observe(ms / 1000)
	}
	s.Add(-time.Second)
	check("count", s.Count(), int64(4))
	check("sum", s.Total(), 10_500*time.Microsecond)
	check("minimum", s.Min(), time.Duration(0))
	check("maximum", s.Max(), 7*time.Millisecond)
	check("median", s.Quantile(0.5), time.Millisecond)
	check("third quartile", s.Quantile(0.75), 2*time.Millisecond)
	check("last", s.Quantile(1), 7*time.Millisecond)
	s.Reset()
	s.Add(time.Minute)
	check("count after a reset", s.Count(), int64(1))
	check("minimum after a reset", s.Min(), time.Minute)
	check("quantile after a reset", s.Quantile(0.999), time.Minute)
}

// Buckets follow each other without a gap, whatever the duration.
func TestSummaryBuckets(t *testing.T) {
	for i := range summaryBuckets - 1 {
		last := bucketEnd(i)
		if bucketOf(last) != i || bucketOf(last+time.Millisecond) != i+1 {
			t.Fatalf("bucket %d ends at %v, which is in bucket %d, and what follows in %d", i, last, bucketOf(last), bucketOf(last+time.Millisecond))
		}
	}
	if got := bucketOf(math.MaxInt64); got != summaryBuckets-1 {
		t.Errorf("the longest duration is in bucket %d", got)
	}
}

// A quantile is the true one or an eighth too long at most.
func TestSummaryQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var s Summary
		all := make([]time.Duration, 1+random.IntN(500))
		for i := range all {
			all[i] = time.Duration(random.ExpFloat64() * float64(time.Second))
			s.Add(all[i])
		}
		slices.Sort(all)
		for _, share := range []float64{0.5, 0.95, 0.99, 0.999} {
			exact := all[int(math.Ceil(share*float64(len(all))))-1].Truncate(time.Millisecond)
			if got := s.Quantile(share); got < exact || got > exact+exact/8 {
				t.Fatalf("quantile %v of %d is %v, exactly %v", share, len(all), got, exact)
			}
		}
	}
}
