package zk

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// stats counts what srvr shows. Counters wrap only after centuries.
type stats struct {
	received, sent           atomic.Int64
	outstanding, connections atomic.Int64
	// Latencies in nanoseconds, from the receipt of a request to its answer. minPlusOne is 0
	// before the first.
	count, total, longest, minPlusOne atomic.Int64
}

// latency counts one answer after ns nanoseconds.
func (s *stats) latency(ns int64) {
	ns = max(ns, 0)
	s.count.Add(1)
	s.total.Add(ns)
	for old := s.longest.Load(); ns > old && !s.longest.CompareAndSwap(old, ns); {
		old = s.longest.Load()
	}
	for old := s.minPlusOne.Load(); (old == 0 || ns < old-1) && !s.minPlusOne.CompareAndSwap(old, ns+1); {
		old = s.minPlusOne.Load()
	}
}

// latencies formats the latencies as ZooKeeper does: whole milliseconds for the extremes, up to
// four decimals, but at least one, for the mean.
func (s *stats) latencies() string {
	mean := 0.0
	if n := s.count.Load(); n > 0 {
		mean = float64(s.total.Load()) / float64(n) / float64(time.Millisecond)
	}
	text := strings.TrimRight(strconv.FormatFloat(mean, 'f', 4, 64), "0")
	if strings.HasSuffix(text, ".") {
		text += "0"
	}
	ms := func(ns int64) int64 { return ns / int64(time.Millisecond) }
	return fmt.Sprintf("%d/%s/%d", ms(max(s.minPlusOne.Load()-1, 0)), text, ms(s.longest.Load()))
}
