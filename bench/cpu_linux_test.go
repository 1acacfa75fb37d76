package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
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

// processTime is the processor time that this process and the programs that it has run to their end have used.
func processTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			return 0
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// userHZ is how much time a tick in the figures of /proc is: USER_HZ is 100 on every Linux.
const userHZ = 10 * time.Millisecond

// machineTime is the processor time that all of this machine has used, in steps of 10 ms. It is 0 where it cannot be read.
func machineTime() (sum time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	// The first line is "cpu", then ticks: user, nice, system, idle, iowait, irq, softirq, and others that we do not use.
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	for i, f := range fields[1:min(8, len(fields))] {
		const idle, iowait = 3, 4
		if n, err := strconv.ParseInt(f, 10, 64); err == nil && i != idle && i != iowait {
			sum += time.Duration(n) * userHZ
		}
	}
	return sum
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

// memoryLatency is how long a read of a random place in memory takes, when each has to wait for the one before. The core
// does little else: a get is four or five such reads, so its figures say little without this one.
func memoryLatency() time.Duration {
	const line, lines, steps = 16, 1 << 20, 4096 // words in a line of the cache; 64 MiB; reads in a sample
	chain := make([]uint32, line*lines)
	order := rand.New(rand.NewPCG(1, 2)).Perm(lines)
	for i, at := range order {
		chain[at*line] = uint32(order[(i+1)%lines] * line)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	at, all := uint32(0), make([]time.Duration, 0, rounds*samples)
	for range cap(all) {
		start := threadTime()
		for range steps {
			at = chain[at]
		}
		all = append(all, threadTime()-start)
	}
	runtime.KeepAlive(at)
	slices.Sort(all)
	return all[len(all)/2] / steps
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
	const shared = 0.1 // short strings of a reader share a block, so one of many requests allocates it
	if g.allocFree && c.allocs > shared {
		t.Errorf("%s allocates %.2f times, want not at all", g.name, c.allocs)
	}
}
