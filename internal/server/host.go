package server

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
)

// host tells the ZooKeeper door of the process and its machine; it is zk.Host. What the system does not tell is left out.
type host struct {
	dataDir string
	clock   clock.Clock

	mu sync.Mutex
	// open is how many descriptors were open at countedAt.
	open      int64
	countedAt time.Time
}

// countInterval is how old a count of descriptors may be. With tens of thousands open it takes milliseconds in the kernel, so
// those who ask at the same time share one: a flood of questions must not make a flood of threads.
const countInterval = time.Second

// Folders implements zk.Host.
func (h *host) Folders() (snapshots, log string) {
	dir, err := filepath.Abs(h.dataDir)
	if err != nil {
		dir = h.dataDir
	}
	return filepath.Join(dir, snapshotFolder), filepath.Join(dir, logFolder)
}

// Sizes implements zk.Host.
func (h *host) Sizes() (snapshots, log int64) {
	snapshotDir, logDir := h.Folders()
	return folderBytes(snapshotDir), folderBytes(logDir)
}

// folderBytes adds up the files in a folder. Files come and go meanwhile: those that are gone count as nothing.
func folderBytes(dir string) (bytes int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
	}
	return bytes
}

// Descriptors implements zk.Host.
func (h *host) Descriptors() (open, most int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.clock.Now(); h.countedAt.IsZero() || now.Sub(h.countedAt) >= countInterval {
		h.open, h.countedAt = openDescriptors("/proc/self/fd"), now
	}
	return h.open, maxDescriptors()
}

// openDescriptors counts the names in a folder that has one for each descriptor; -1 if there is no such folder. It reads
// them in pieces: there may be tens of thousands.
func openDescriptors(folder string) int64 {
	dir, err := os.Open(folder)
	if err != nil {
		return -1
	}
	defer dir.Close()
	n := int64(-1) // One is that of the folder itself.
	for {
		names, err := dir.Readdirnames(128)
		if n += int64(len(names)); err != nil {
			return n
		}
	}
}

// Environment implements zk.Host. Names are those of ZooKeeper, which has them from Java; what is Java's alone is left out.
func (*host) Environment() (pairs [][2]string) {
	add := func(name, value string, err error) {
		if err != nil || value == "" {
			value = "<NA>"
		}
		pairs = append(pairs, [2]string{name, value})
	}
	name, err := os.Hostname()
	add("host.name", name, err)
	add("go.version", runtime.Version(), nil)
	add("os.name", strings.ToUpper(runtime.GOOS[:1])+runtime.GOOS[1:], nil)
	add("os.arch", runtime.GOARCH, nil)
	release, err := fs.ReadFile(os.DirFS("/proc/sys/kernel"), "osrelease")
	add("os.version", strings.TrimSpace(string(release)), err)
	me, err := user.Current()
	if err != nil {
		me = &user.User{}
	}
	add("user.name", me.Username, err)
	add("user.home", me.HomeDir, err)
	dir, err := os.Getwd()
	add("user.dir", dir, err)
	return pairs
}
