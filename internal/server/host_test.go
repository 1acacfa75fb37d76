package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
)

func TestHost(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	h := &host{dataDir: "data"}
	if snapshots, log := h.Sizes(); snapshots != 0 || log != 0 {
		t.Errorf("without folders there are %d and %d bytes", snapshots, log)
	}
	for name, bytes := range map[string]int{"snap/a": 10, "snap/b": 5, "wal/c": 7, "wal/folder/d": 100} {
		name = filepath.Join("data", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, bytes), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if snapshots, log := h.Sizes(); snapshots != 15 || log != 7 {
		t.Errorf("there are %d and %d bytes, want 15 and 7", snapshots, log)
	}
	if snapshots, log := h.Folders(); snapshots != filepath.Join(dir, "data", "snap") || log != filepath.Join(dir, "data", "wal") {
		t.Errorf("folders %s and %s", snapshots, log)
	}
	var names []string
	for _, e := range h.Environment() {
		names = append(names, e[0])
		if e[1] == "" || strings.Contains(e[1], "\n") {
			t.Errorf("%s is %q", e[0], e[1])
		}
	}
	want := []string{"host.name", "go.version", "os.name", "os.arch", "os.version", "user.name", "user.home", "user.dir"}
	if !slices.Equal(names, want) {
		t.Errorf("environment has %v, want %v", names, want)
	}
}

// An open file shows, where the system tells, though not at once.
func TestDescriptors(t *testing.T) {
	c := clock.NewManual(time.Unix(1000, 0))
	h := &host{clock: c}
	before, most := h.Descriptors()
	if before < 0 {
		t.Skip("this system does not tell")
	}
	for range 10 {
		f, err := os.Open(".")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if again, _ := h.Descriptors(); again != before {
		t.Errorf("%d descriptors, and %d at the same time", before, again)
	}
	c.Advance(countInterval)
	if after, _ := h.Descriptors(); after < before+10 || most >= 0 && most < after {
		t.Errorf("%d descriptors, then %d with ten more, of %d", before, after, most)
	}
}
