package telemetry

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Summary sums durations up as ZooKeeper's counters do (org.apache.zookeeper.server.metric.AvgMinMaxPercentileCounter): how
// many there were, their mean, extremes and quantiles. Adding one is three atomic additions; nothing is allocated. The zero
// value is empty. What is read while others add may be a little apart.
type Summary struct {
	count, total, longest atomic.Int64
	// shortestPlusOne is 0 before the first.
	shortestPlusOne atomic.Int64
	buckets         [summaryBuckets]atomic.Int64
}

// Durations are sorted into buckets by whole milliseconds: those below 1 << summaryExact are told apart, and every doubling
// above has as many buckets, so a quantile is off by an eighth at most.
const (
	summaryExact   = 3
	summaryBuckets = 24 << summaryExact
)

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	ms := uint64(d / time.Millisecond)
	if ms < 1<<summaryExact {
		return int(ms)
	}
	doubling := bits.Len64(ms) - summaryExact - 1
	return min(doubling<<summaryExact+int(ms>>doubling), summaryBuckets-1)
}

// bucketEnd returns the longest duration of a bucket, in whole milliseconds.
func bucketEnd(bucket int) time.Duration {
	if bucket < 1<<summaryExact {
		return time.Duration(bucket) * time.Millisecond
	}
	doubling := bucket>>summaryExact - 1
	first := uint64(bucket-doubling<<summaryExact) << doubling
	return time.Duration(first+1<<doubling-1) * time.Millisecond
}

// Add counts one duration; a negative one counts as none at all.
func (s *Summary) Add(d time.Duration) {
	d = max(d, 0)
	s.count.Add(1)
	s.total.Add(int64(d))
	s.buckets[bucketOf(d)].Add(1)
	for old := s.longest.Load(); int64(d) > old && !s.longest.CompareAndSwap(old, int64(d)); {
		old = s.longest.Load()
	}
	for old := s.shortestPlusOne.Load(); (old == 0 || int64(d) < old-1) && !s.shortestPlusOne.CompareAndSwap(old, int64(d)+1); {
		old = s.shortestPlusOne.Load()
	}
}

// Observe counts a duration in seconds. It makes a Summary an observer of Prometheus.
func (s *Summary) Observe(seconds float64) { s.Add(time.Duration(seconds * float64(time.Second))) }

// Reset forgets everything.
func (s *Summary) Reset() {
	s.count.Store(0)
	s.total.Store(0)
	s.longest.Store(0)
	s.shortestPlusOne.Store(0)
	for i := range s.buckets {
		s.buckets[i].Store(0)
	}
}

// Count returns how many durations there were.
func (s *Summary) Count() int64 { return s.count.Load() }

// Total returns their sum.
func (s *Summary) Total() time.Duration { return time.Duration(s.total.Load()) }

// Max returns the longest; 0 if there was none.
func (s *Summary) Max() time.Duration { return time.Duration(s.longest.Load()) }

// Min returns the shortest; 0 if there was none.
func (s *Summary) Min() time.Duration { return time.Duration(max(s.shortestPlusOne.Load()-1, 0)) }

// Quantile returns a duration in whole milliseconds that the given share of all did not exceed: it is an eighth too long at
// most, and no longer than Max. It is 0 if there was none.
func (s *Summary) Quantile(share float64) time.Duration {
	var total, seen int64
	for i := range s.buckets {
		total += s.buckets[i].Load()
	}
	wanted := int64(math.Ceil(share * float64(total)))
	for i := range s.buckets {
		if seen += s.buckets[i].Load(); seen >= wanted && seen > 0 {
			return min(bucketEnd(i), s.Max().Truncate(time.Millisecond))
		}
	}
	return 0
}
