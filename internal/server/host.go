package server

import (
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
)

// host tells the ZooKeeper door of the process and its machine; it is zk.Host. What the system does not tell is left out.
type host struct{ dataDir string }

// Folders implements zk.Host.
func (h host) Folders() (snapshots, log string) {
	dir, err := filepath.Abs(h.dataDir)
	if err != nil {
		dir = h.dataDir
	}
	return filepath.Join(dir, snapshotFolder), filepath.Join(dir, logFolder)
}

// Sizes implements zk.Host.
func (h host) Sizes() (snapshots, log int64) {
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
func (host) Descriptors() (open, most int64) {
	open, most = -1, maxDescriptors()
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		open = int64(len(entries)) - 1 // One is that of the folder itself.
	}
	return open, most
}

// Environment implements zk.Host. Names are those of ZooKeeper, which has them from Java; what is Java's alone is left out.
func (host) Environment() (pairs [][2]string) {
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
