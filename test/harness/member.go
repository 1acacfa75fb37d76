package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Member is one process, of okapi or of the real etcd, and its folder and ports beyond its death. Its
// methods fail the test when something goes wrong; they are called from the goroutine of the test.
type Member struct {
	// Name is the member's name in the cluster.
	Name string
	// DataDir holds what survives a kill.
	DataDir string
	// Client, ZooKeeper and Peer are the addresses (host:port) that it listens on. ZooKeeper is empty for
	// etcd.
	Client, ZooKeeper, Peer string

	// Program is the file that is run. Another one runs from the next start on.
	Program string

	t    testing.TB
	args []string
	// found are the flags that found a cluster or join one; they stand between the command and its other flags, so that
	// those of the test win.
	found []string
	log   string
	// under is what runs the program; empty if it runs by itself.
	under []string
	// place is where the process runs; nil is the network of this machine.
	place place

	// cmd is the running process; nil if there is none.
	cmd *exec.Cmd
	// exited is closed when cmd has ended; exit may be read after that.
	exited chan struct{}
	exit   error
}

// place is a network in which a process can be started and from which it can be reached.
type place interface {
	// start starts a command there.
	start(cmd *exec.Cmd) error
	// dial connects to an address, which is numeric, as a process there would.
	dial(ctx context.Context, network, address string) (net.Conn, error)
}

// here is the network of this machine, which the test itself is in.
type here struct{}

func (here) start(cmd *exec.Cmd) error { return cmd.Start() }

func (here) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// at returns the member's place.
func (m *Member) at() place {
	if m.place == nil {
		return here{}
	}
	return m.place
}

// Dial connects to an address (host:port, numeric) as a process beside the member would: on the same machine, so that no
// broken network stands between the two. It is safe for concurrent use.
func (m *Member) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return m.at().dial(ctx, network, address)
}

const (
	pollInterval = 25 * time.Millisecond
	// stopTimeout bounds how long a member may take to drain.
	stopTimeout = 30 * time.Second
	// dialTimeout bounds one question to a member.
	dialTimeout = 2 * time.Second
	// tailBytes is how much of a log is printed after a failure.
	tailBytes = 8 << 10
)

// Start starts the process. It does not wait until the member serves.
func (m *Member) Start() {
	m.t.Helper()
	if err := m.run(); err != nil {
		m.t.Fatalf("start %s: %v", m.Name, err)
	}
}

// run starts the process and a goroutine that ends with it.
func (m *Member) run() error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	line := append(append(slices.Clone(m.under), m.Program), m.Args()...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := m.at().start(cmd); err != nil {
		return err
	}
	exited := make(chan struct{})
	m.cmd, m.exited = cmd, exited
	go func() {
		m.exit = cmd.Wait()
		close(exited)
	}()
	return nil
}

// Running reports whether the process was started and has not been seen to end.
func (m *Member) Running() bool { return m.cmd != nil }

// WaitReady waits until every door serves reads and writes.
func (m *Member) WaitReady() {
	m.t.Helper()
	deadline := time.Now().Add(startTimeout)
	why := ""
	for time.Now().Before(deadline) {
		select {
		case <-m.exited:
			m.t.Fatalf("%s ended instead of serving: %v\n%s", m.Name, m.exit, m.LogTail())
		default:
		}
		if why = m.notReady(); why == "" {
			return
		}
		time.Sleep(pollInterval)
	}
	m.t.Fatalf("%s does not serve within %v: %s", m.Name, startTimeout, why)
}

// notReady says why the member does not serve yet, or "". A ZooKeeper has no door for etcd clients, an etcd none for
// ZooKeeper's.
func (m *Member) notReady() string {
	if m.Client != "" {
		if why := m.unhealthy(); why != "" {
			return why
		}
	}
	if m.ZooKeeper == "" {
		return ""
	}
	answer, err := m.FourLetters("isro")
	if err != nil || strings.TrimSpace(answer) != "rw" {
		return fmt.Sprintf("isro says %q (%v)", answer, err)
	}
	return ""
}

// unhealthy says what the etcd door has to say against the member's health, or "".
func (m *Member) unhealthy() string {
	transport := &http.Transport{DialContext: m.Dial}
	defer transport.CloseIdleConnections()
	client := http.Client{Timeout: dialTimeout, Transport: transport}
	response, err := client.Get("http://" + m.Client + "/health")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"health":"true"`) {
		return fmt.Sprintf("/health says %d %s (%v)", response.StatusCode, body, err)
	}
	return ""
}

// FourLetters sends a four-letter word to the ZooKeeper port and returns the answer.
func (m *Member) FourLetters(word string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := m.Dial(ctx, "tcp", m.ZooKeeper)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// Mode returns what srvr says after "Mode:", or "".
func (m *Member) Mode() string {
	if !m.Running() {
		return ""
	}
	answer, err := m.FourLetters("srvr")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(answer) {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

// Kill kills the process (SIGKILL) if it runs, and waits for its end.
func (m *Member) Kill() {
	if !m.Running() {
		return
	}
	m.signalKill()
	<-m.exited
	m.cmd = nil
}

func (m *Member) signalKill() {
	if m.Running() {
		// The only error is that it has ended already.
		_ = m.cmd.Process.Kill()
	}
}

// Terminate sends SIGTERM and fails the test unless the process ends in time with status 0.
func (m *Member) Terminate() {
	m.t.Helper()
	m.Signal(syscall.SIGTERM)
	m.WaitExit()
}

// Signal sends a signal to the process and does not wait for what it does.
func (m *Member) Signal(sig syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil {
		m.t.Fatalf("send %v to %s: %v", sig, m.Name, err)
	}
}

// WaitExit fails the test unless the process, which was told to stop, ends in time with status 0.
func (m *Member) WaitExit() {
	m.t.Helper()
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-m.exited:
	case <-timeout.C:
		m.t.Fatalf("%s has not stopped %v after it was told to", m.Name, stopTimeout)
	}
	m.cmd = nil
	if m.exit != nil {
		m.t.Fatalf("%s ended with %v when it was told to stop, want status 0\n%s", m.Name, m.exit, m.LogTail())
	}
}

// Args returns the command line of the process without the program: a copy, to be changed by tests
// that start it in other ways.
func (m *Member) Args() []string {
	return slices.Insert(slices.Clone(m.args), min(1, len(m.args)), m.found...)
}

// Join sets the flags with which the member is to join a cluster that runs, as okapi member add prints them.
func (m *Member) Join(flags ...string) { m.found = flags }

// Under makes later starts run the program under another one, such as strace, which ends with it and as it does.
func (m *Member) Under(command ...string) { m.under = command }

// WaitEnd waits until the process ends by itself, and returns how; it fails the test if that takes too long.
func (m *Member) WaitEnd() error {
	m.t.Helper()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-m.exited:
	case <-timeout.C:
		m.t.Fatalf("%s still runs after %v", m.Name, startTimeout)
	}
	m.cmd = nil
	return m.exit
}

// WaitRefused fails the test unless the process ends by itself in time with status 1, and a text in its last words.
func (m *Member) WaitRefused(text string) {
	m.t.Helper()
	err := m.WaitEnd()
	var status *exec.ExitError
	if !errors.As(err, &status) || status.ExitCode() != 1 {
		m.t.Fatalf("%s ended with %v, want status 1\n%s", m.Name, err, m.LogTail())
	}
	lines := strings.Split(strings.TrimSpace(m.LogTail()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "okapi: ") || !strings.Contains(last, text) {
		m.t.Fatalf("the last words of %s are %q, want %q in them", m.Name, last, text)
	}
}

// Logged returns the last line of what the member has printed that holds the text, or "".
func (m *Member) Logged(text string) (found string) {
	m.t.Helper()
	all, err := os.ReadFile(m.log)
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, text) {
			found = strings.TrimSpace(line)
		}
	}
	return found
}

// LogTail returns the end of what the member has printed in all its lives.
func (m *Member) LogTail() string {
	text, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return string(text)
}
