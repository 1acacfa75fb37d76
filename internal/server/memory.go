package server

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How much garbage may gather before it is collected. The store is a large live heap that changes slowly: Go's 100 per
// cent of what lives would double its memory. A fixed amount would make collections, each of which walks all that lives,
// the dearer the more keys there are. Where neither memory nor time is to be wasted, the garbage grows with the square root of
// what lives (Kirisame et al., Optimal Heap Limits for Reducing Browser Memory Use, 2022): 90 MiB at 64 MiB, 202 at
// 320, 362 at 1 GiB. It goes back to the system when the member is idle (runTrimmer). A heap that grows fast may be
// collected once with the setting of the collection before, so there is a most, too.
const (
	gcPercentMin  = 20
	gcPercentMax  = 200
	headroomBytes = 128 << 20
)

// gcPercent is the setting for a heap of which live bytes live.
func gcPercent(live uint64) int {
	lives := max(1, float64(live))
	return int(min(gcPercentMax, max(gcPercentMin, 100*math.Sqrt(lives*headroomBytes)/lives)))
}

// followHeap sets the collector anew after each collection, for which a finalizer is the only signal there is.
func followHeap() {
	type sentinel struct {
		percent int
		_       [16]byte // Smaller objects share a block with others, and live for as long as those do.
	}
	var again func(*sentinel)
	again = func(s *sentinel) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p != s.percent {
			s.percent = p
			debug.SetGCPercent(p)
		}
		runtime.SetFinalizer(s, again)
	}
	again(&sentinel{})
}

// idleInterval is how long nothing must have been applied before garbage is given back to the system.
const idleInterval = 5 * time.Second

// tuneMemory sets the collector. What the environment says (GOGC, GOMEMLIMIT) goes first.
func tuneMemory(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		followHeap()
	}
	limit := memoryBytes() * 9 / 10
	if os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	log.Debug("memory", "limit", limit)
}

// memoryBytes is what this process may use: the limit of its control group or the machine's memory; 0 if
// neither can be read.
func memoryBytes() int64 {
	best := machineMemory()
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // another version of control groups, or none
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && (best == 0 || n < best) {
			best = n
		}
	}
	return best
}

// machineMemory reads MemTotal of /proc/meminfo.
func machineMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64) // 0 if it is no number
			return kib << 10
		}
	}
	return 0
}

// runTrimmer gives garbage back to the system once after each time of work, when the member has become idle: a
// heap that only grew while data was loaded would otherwise stay at its high-water mark.
func runTrimmer(ctx context.Context, applied func() uint64) error {
	ticker := time.NewTicker(idleInterval)
	defer ticker.Stop()
	last, trimmed := applied(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := applied()
		if now == last && now > trimmed+idleWork {
			debug.FreeOSMemory()
			trimmed = now
		}
		last = now
	}
}

// freeMemory collects garbage and gives what is free back to the system. It takes a collection, so somebody who finds
// another at it waits for that one and is content.
func freeMemory(freeing *sync.Mutex) {
	if !freeing.TryLock() {
		freeing.Lock()
		freeing.Unlock()
		return
	}
	defer freeing.Unlock()
	debug.FreeOSMemory()
}

// idleWork is how many entries must have been applied for another trim to be worth its time.
const idleWork = 1000
