package harness

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// envInMounts says that a test binary runs with mounts and processes of its own.
const envInMounts = "OKAPI_IN_MOUNTS"

// InMounts runs the test again, in a process that has mounts and processes of its own, unless it is that process already: then
// it returns true, and the test does its work. Whatever it mounts, freezes and starts ends with it, however it ends. Where
// that cannot be done the test is skipped, or fails if OKAPI_REQUIRE_NETNS is set. needs are programs that the test runs.
func InMounts(t *testing.T, tools Tools, needs ...string) bool {
	t.Helper()
	if os.Getenv(envInMounts) != "" {
		return true
	}
	for _, program := range append([]string{"unshare", "mount"}, needs...) {
		if _, err := exec.LookPath(program); err != nil {
			skipFor(t, EnvRequireNetns, fmt.Sprintf("no disks to break: %v", err))
		}
	}
	unshare := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		skipFor(t, EnvRequireNetns, fmt.Sprintf("no disks to break: unshare: %v %s; it takes root", err, out))
	}
	args := append(unshare, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=10m")
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), envInMounts+"=1", EnvBinary+"="+tools.Okapi)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") && line != "PASS" {
			t.Log(line)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the test with mounts of its own: %v", err)
	}
	return false
}

// Volume is a file system of its own under a member's data directory.
type Volume struct {
	t      testing.TB
	folder string
}

// MountMemory puts the member's data directory on a tmpfs of so many bytes. It is called before the first start.
func MountMemory(m *Member, bytes int64) *Volume {
	m.t.Helper()
	return mount(m, "tmpfs", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0700", bytes), "tmpfs")
}

// MountDisk puts the member's data directory on an ext4 in a file of so many bytes, which can be frozen. It is called before
// the first start.
func MountDisk(m *Member, bytes int64) *Volume {
	m.t.Helper()
	image := m.DataDir + ".img"
	must(m.t, os.WriteFile(image, nil, 0o600))
	must(m.t, os.Truncate(image, bytes))
	runTool(m.t, "mkfs.ext4", "-q", image)
	v := mount(m, "ext4", "-o", "loop", image)
	must(m.t, os.Remove(v.folder+"/lost+found")) // A member wants an empty folder.
	return v
}

func mount(m *Member, what string, args ...string) *Volume {
	m.t.Helper()
	must(m.t, os.MkdirAll(m.DataDir, 0o700))
	runTool(m.t, "mount", append(args, m.DataDir)...)
	must(m.t, os.Chmod(m.DataDir, 0o700))
	v := &Volume{t: m.t, folder: m.DataDir}
	m.t.Cleanup(func() {
		m.Kill()
		if out, err := exec.Command("umount", "-l", v.folder).CombinedOutput(); err != nil {
			m.t.Logf("unmount the %s of %s: %v %s", what, m.Name, err, out)
		}
	})
	return v
}

// Free returns how many bytes are free.
func (v *Volume) Free() int64 {
	v.t.Helper()
	var s syscall.Statfs_t
	must(v.t, syscall.Statfs(v.folder, &s))
	return int64(s.Bavail) * s.Bsize
}

// Fill leaves so many bytes free, by a file that Empty removes.
func (v *Volume) Fill(leave int64) {
	v.t.Helper()
	f, err := os.OpenFile(v.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	must(v.t, err)
	defer f.Close()
	info, err := f.Stat()
	must(v.t, err)
	more := v.Free() - leave
	if more <= 0 {
		return
	}
	// The member may have been quicker: then there is even less left.
	if err := syscall.Fallocate(int(f.Fd()), 0, info.Size(), more); err != syscall.ENOSPC {
		must(v.t, err)
	}
}

// Empty gives back what Fill took.
func (v *Volume) Empty() {
	v.t.Helper()
	must(v.t, os.Remove(v.ballast()))
}

func (v *Volume) ballast() string { return v.folder + "/ballast" }

// Freeze makes every write wait until Thaw, as a disk does that does not answer.
func (v *Volume) Freeze() { runTool(v.t, "fsfreeze", "-f", v.folder) }

// Thaw ends Freeze.
func (v *Volume) Thaw() { runTool(v.t, "fsfreeze", "-u", v.folder) }

func runTool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v %s", name, strings.Join(args, " "), err, out)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
