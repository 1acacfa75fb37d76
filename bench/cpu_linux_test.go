package bench

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// wanted skips a test that takes minutes unless it was asked for.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("OKAPI_BENCH") != "1" {
		t.Skip("set OKAPI_BENCH=1 to run it")
	}
}

const (
	// A round is samples measurements of blockOps operations each: some tens of milliseconds, so that one of them
	// falls between the neighbours' bursts.
	rounds   = 24
	samples  = 15
	blockOps = 1024
)

// work is one thing to measure: prepare makes the next block of blockOps operations ready, and run does them.
type work struct {
	prepare func()
	run     func()
}

// cost is what one operation takes.
type cost struct {
	cpu    time.Duration // of the goroutine that does it
	gc     time.Duration // its share of the collector's work, done on other threads
	allocs float64
}

// measure returns the least of the medians of the rounds.
func measure(w work) cost {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := cost{cpu: time.Hour}
	for range rounds {
		percent := debug.SetGCPercent(-1) // collections are accounted for below
		var all []time.Duration
		for range samples {
			w.prepare()
			start := threadTime()
			w.run()
			all = append(all, threadTime()-start)
		}
		debug.SetGCPercent(percent)
		slices.Sort(all)
		if d := all[len(all)/2] / blockOps; d < best.cpu {
			best.cpu = d
		}
	}
	var bytes float64
	best.allocs, bytes = allocations(w)
	best.gc = time.Duration(bytes * collection())
	return best
}

// allocations counts them apart from the time, because reading the count stops the world.
func allocations(w work) (count, bytes float64) {
	var before, after runtime.MemStats
	for range samples / 4 {
		w.prepare()
		runtime.ReadMemStats(&before)
		w.run()
		runtime.ReadMemStats(&after)
		count += float64(after.Mallocs - before.Mallocs)
		bytes += float64(after.TotalAlloc - before.TotalAlloc)
	}
	const ops = samples / 4 * blockOps
	return count / ops, bytes / ops
}

// threadTime is the processor time that this thread has used. The clock is read, not getrusage, which lags behind
// by up to a tick.
func threadTime() time.Duration {
	const clockThreadCPU = 3 // CLOCK_THREAD_CPUTIME_ID
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

// processTime is the processor time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// collection is what one collection costs for each byte of garbage that it waited for.
func collection() (nsPerByte float64) {
	runtime.GC()
	start := processTime()
	runtime.GC()
	spent := processTime() - start
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(spent) / (float64(m.HeapAlloc) * gcPercent / 100)
}

// target is a promise about a cost.
type target struct {
	name      string
	cpu       time.Duration
	allocFree bool
}

// hold prints what was measured and fails the test if it is not what was promised.
func (g target) hold(t *testing.T, c cost) {
	t.Helper()
	us := func(d time.Duration) string { return fmt.Sprintf("%.2f us", float64(d)/1e3) }
	t.Logf("spine-6: %-34s %s (limit %s), %.1f allocations, collector %s",
		g.name, us(c.cpu), us(g.cpu), c.allocs, us(c.gc))
	if c.cpu > g.cpu {
		t.Errorf("%s takes %s, more than %s", g.name, us(c.cpu), us(g.cpu))
	}
	if g.allocFree && c.allocs > 0.01 {
		t.Errorf("%s allocates %.2f times, want not at all", g.name, c.allocs)
	}
}
