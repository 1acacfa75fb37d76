package harness

import (
	"bufio"
	"fmt"
	"os"
)

// Memory returns the peak and the present resident memory of the process, in bytes. The peak is that since the last
// ForgetPeak.
func (m *Member) Memory() (peak, resident int64) {
	m.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		m.t.Fatalf("read the memory of %s: %v", m.Name, err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); err == nil {
			peak = kib << 10
		}
		if _, err := fmt.Sscanf(lines.Text(), "VmRSS: %d kB", &kib); err == nil {
			resident = kib << 10
		}
	}
	return peak, resident
}

// ForgetPeak makes the present resident memory of the process its peak.
func (m *Member) ForgetPeak() {
	m.t.Helper()
	// proc(5): 5 resets the peak.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", m.cmd.Process.Pid), []byte("5"), 0); err != nil {
		m.t.Fatalf("forget the peak memory of %s: %v", m.Name, err)
	}
}

// OpenFiles returns how many file descriptors the process has open.
func (m *Member) OpenFiles() int {
	m.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.cmd.Process.Pid))
	if err != nil {
		m.t.Fatalf("count the open files of %s: %v", m.Name, err)
	}
	return len(files)
}
