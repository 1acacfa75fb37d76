package server

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent is how much garbage may gather before it is collected, relative to what lives. The store is a
// large live heap that changes slowly: Go's 100 would double its memory, while each collection costs a
// little more CPU than fewer would.
const gcPercent = 25

// tuneMemory sets the collector. What the environment says (GOGC, GOMEMLIMIT) goes first.
func tuneMemory(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limit := memoryBytes() * 9 / 10
	if os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	log.Debug("memory", "limit", limit, "gc percent", gcPercent)
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
