package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Lasting stands for all tests of a package where a server is to outlive one of them: what is started for it ends with
// Run. What cannot be started ends the whole run.
type Lasting struct {
	testing.TB // nil: nothing else of it is used
	dir        string

	mu       sync.Mutex
	folders  int
	cleanups []func()
}

// Run runs the tests of a package and returns the status for os.Exit. Before, prepare puts what they share into the folder
// dir, which anybody may read and which is removed at the end; l is for servers that outlive a test.
func Run(m *testing.M, prepare func(dir string, l *Lasting) error) int {
	dir, err := os.MkdirTemp("", "okapi-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	l := &Lasting{dir: dir}
	defer l.end()
	if err = os.Chmod(dir, 0o755); err == nil { // Another user runs the program in one of the tests.
		err = prepare(dir, l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// end does what was left for the end, the last first.
func (l *Lasting) end() {
	for i := len(l.cleanups) - 1; i >= 0; i-- {
		l.cleanups[i]()
	}
}

// Helper implements testing.TB.
func (l *Lasting) Helper() {}

// Failed implements testing.TB: the logs of the servers are not printed.
func (l *Lasting) Failed() bool { return false }

// Cleanup implements testing.TB.
func (l *Lasting) Cleanup(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, fn)
}

// TempDir implements testing.TB.
func (l *Lasting) TempDir() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.folders++
	dir := filepath.Join(l.dir, fmt.Sprintf("lasting-%d", l.folders))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.Fatal(err)
	}
	return dir
}

// Fatal implements testing.TB: it ends everything.
func (l *Lasting) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	l.end()
	os.Exit(1)
}

// Fatalf implements testing.TB.
func (l *Lasting) Fatalf(format string, args ...any) { l.Fatal(fmt.Sprintf(format, args...)) }
