package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// member is one server process on the loopback interface: okapi, or one that it is compared with. An address is empty if the
// server has no such door.
type member struct {
	t                       testing.TB
	cmd                     *exec.Cmd
	dir                     string // of its data
	client, zooKeeper, peer string
}

const (
	readyTimeout = 60 * time.Second
	pollInterval = 50 * time.Millisecond
)

// build makes the binary as it is shipped.
func build(t testing.TB) string {
	t.Helper()
	return buildIn(t, "..", "./cmd/okapi")
}

// buildIn builds a program of the module in the folder.
func buildIn(t testing.TB, folder, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-C", folder, "-o", binary, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s of %s: %v\n%s", pkg, folder, err, out)
	}
	return binary
}

// startCluster starts n members, waits until all serve, and kills them when the test ends.
func startCluster(t testing.TB, binary string, n int, flags ...string) []*member {
	t.Helper()
	members, initial := newMembers(t, n)
	for i, m := range members {
		m.start(binary, append(append([]string{"serve", "--listen-zookeeper", m.zooKeeper},
			m.etcdFlags(fmt.Sprintf("n%d", i), initial)...), flags...)...)
	}
	waitReady(members)
	return members
}

// newMembers finds a folder and three ports for each of n members, and returns what etcd calls the initial cluster too.
func newMembers(t testing.TB, n int) (members []*member, initial string) {
	t.Helper()
	ports := freePorts(t, 3*n)
	dir := t.TempDir()
	var names []string
	for i := range n {
		m := &member{t: t, dir: filepath.Join(dir, strconv.Itoa(i)), client: ports[3*i], zooKeeper: ports[3*i+1], peer: ports[3*i+2]}
		members = append(members, m)
		names = append(names, fmt.Sprintf("n%d=http://%s", i, m.peer))
	}
	return members, strings.Join(names, ",")
}

// etcdFlags are those that etcd and okapi have in common.
func (m *member) etcdFlags(name, initial string) []string {
	return []string{
		"--name", name, "--data-dir", m.dir, "--log-level", "warn",
		"--listen-client-urls", "http://" + m.client, "--advertise-client-urls", "http://" + m.client,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
		"--initial-cluster", initial,
	}
}

func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find port: %v", err)
		}
		defer l.Close() // all are held until all are found, so that they differ
		out = append(out, l.Addr().String())
	}
	return out
}

func (m *member) start(program string, args ...string) {
	m.t.Helper()
	m.cmd = exec.Command(program, args...)
	m.cmd.Stdout, m.cmd.Stderr = io.Discard, os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive a test that is killed
	if err := m.cmd.Start(); err != nil {
		m.t.Fatalf("start %s: %v", program, err)
	}
	m.t.Cleanup(m.stop)
}

// stop kills the process; it may have ended.
func (m *member) stop() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

// waitReady waits until all members serve reads and writes.
func waitReady(members []*member) {
	for _, m := range members {
		m.waitReady()
	}
}

func (m *member) waitReady() {
	m.t.Helper()
	var why error
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if why = m.ready(); why == nil {
			return
		}
	}
	m.t.Fatalf("%s does not serve within %v: %v", m.cmd, readyTimeout, why)
}

// ready asks at every door that the member has. ZooKeeper's serves when a session can be opened and closed, which is a write,
// and lives in between: a member of okapi that was paused serves etcd clients first, and those of ZooKeeper when the leader
// has confirmed that it knows of its sessions.
func (m *member) ready() error {
	if m.zooKeeper != "" {
		s := session{timeout: patience}
		if err := s.open(m.zooKeeper); err != nil {
			return err
		}
		if err := s.ping(); err != nil {
			s.socket.Close()
			return err
		}
		if err := s.end(); err != nil {
			return err
		}
	}
	if m.client == "" {
		return nil
	}
	client := http.Client{Timeout: time.Second}
	response, err := client.Get("http://" + m.client + "/health")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(`"health":"true"`)) {
		return fmt.Errorf("health is %s", body)
	}
	return nil
}

// cpu is the processor time that the process has used, in steps of 10 ms.
func (m *member) cpu() time.Duration {
	m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	if err != nil {
		m.t.Fatalf("read processor time: %v", err)
	}
	// The name of the program ends with the last parenthesis; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			m.t.Fatalf("read processor time: %v", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * userHZ
}

// memory returns the peak and the present resident memory of the process, in bytes.
func (m *member) memory() (peak, resident int64) {
	m.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		m.t.Fatalf("read memory: %v", err)
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

// settle waits until the process has been idle for a while and its memory no longer shrinks.
func (m *member) settle() {
	const quiet = 12 * time.Second // twice the time after which an idle server gives memory back, and some
	last, since := m.cpu(), time.Now()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		now := m.cpu()
		if now-last > 200*time.Millisecond { // heartbeats and the like stay below it
			last, since = now, time.Now()
		}
		if time.Since(since) > quiet {
			return
		}
	}
}
