package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// clientTimeout bounds one run of a client.
const clientTimeout = 30 * time.Second

// RequireClients skips the test if a client is missing, or fails it if the environment says that
// they must be there.
func RequireClients(t testing.TB, tools Tools) {
	t.Helper()
	missing := ""
	if tools.Etcdctl == "" {
		missing += "no etcdctl: " + tools.MissingEtcdctl + "\n"
	}
	if tools.ZKCli == "" {
		missing += "no zkCli.sh: " + tools.MissingZKCli + "\n"
	}
	skipFor(t, EnvRequireClients, missing)
}

// RequireEtcd skips the test if the real etcd is missing, or fails it if the environment says that
// clients and oracles must be there.
func RequireEtcd(t testing.TB, tools Tools) {
	t.Helper()
	if tools.Etcd == "" {
		skipFor(t, EnvRequireClients, "no etcd to compare with: "+tools.MissingEtcd)
	}
}

// skipFor skips the test for what is missing, or fails it if the environment variable required is "1"; nothing is missing
// for "".
func skipFor(t testing.TB, required, missing string) {
	t.Helper()
	if missing == "" {
		return
	}
	if os.Getenv(required) == "1" {
		t.Fatal(missing)
	}
	t.Skip("skipped: " + missing)
}

// Answer is what a client printed.
type Answer struct {
	// Out is its answer, without what it prints about itself; blanks at the ends are cut.
	Out string
	// Messages is what it printed for people: errors and confirmations.
	Messages string
	// Status is its exit status; 0 for success.
	Status int
}

// Failed reports whether the client says that it did not do what it was told.
func (a Answer) Failed() bool { return a.Status != 0 }

// String shows the answer for a failure.
func (a Answer) String() string {
	return fmt.Sprintf("status %d, out %q, messages %q", a.Status, a.Out, a.Messages)
}

// RunEtcdctl runs etcdctl against one member. input is its standard input, which only txn reads.
func (tools Tools) RunEtcdctl(t testing.TB, m *Member, input string, args ...string) Answer {
	t.Helper()
	answer := run(t, input, tools.Etcdctl, append([]string{"--endpoints=http://" + m.Client, "--command-timeout=15s"}, args...)...)
	answer.Out = strings.TrimSpace(answer.Out)
	return answer
}

// RunOkapi runs the server's program as an operator does, with a command that ends by itself.
func (tools Tools) RunOkapi(t testing.TB, args ...string) Answer {
	t.Helper()
	return run(t, "", tools.Okapi, args...)
}

// RunZKCli runs one command of zkCli.sh in a session of its own against one member.
func (tools Tools) RunZKCli(t testing.TB, m *Member, args ...string) Answer {
	t.Helper()
	answer := run(t, "", tools.ZKCli, append([]string{"-server", m.ZooKeeper}, args...)...)
	answer.Out = withoutEvents(answer.Out)
	answer.Messages = withoutLines(answer.Messages, "SLF4J:", "log4j:")
	return answer
}

// run runs a client to its end.
func run(t testing.TB, input, name string, args ...string) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, messages bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &messages
	// What the client has started itself (java) may hold the pipes open.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %s: no answer within %v\n%s%s", name, strings.Join(args, " "), clientTimeout, &out, &messages)
	}
	if cmd.ProcessState == nil {
		t.Fatalf("run %s: %v", name, err)
	}
	return Answer{Out: out.String(), Messages: strings.TrimSpace(messages.String()), Status: cmd.ProcessState.ExitCode()}
}

// events is what zkCli.sh prints about its connection. It does so in a thread of its own, so it may stand
// before, behind and between the lines of an answer, and in the midst of a line that is printed piece by piece, as a list
// of children is. Each message brings the line ends around it, which go with it.
var events = regexp.MustCompile(`(?m)^Connecting to .*$|\n?WATCHER::\n?|\n?WatchedEvent state:\w+ type:None path:null( zxid: -?\d+)?\n?`)

// withoutEvents leaves out what zkCli.sh prints about its connection, and empty lines.
func withoutEvents(out string) string {
	var lines []string
	for line := range strings.SplitSeq(events.ReplaceAllString(out, ""), "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// withoutLines drops the lines that begin with one of the prefixes.
func withoutLines(text string, prefixes ...string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// Eventually repeats attempt until it says that it succeeded (""), and fails the test with what
// it last said after a time that no healthy cluster needs.
func Eventually(t testing.TB, what string, attempt func() string) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		problem := attempt()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still not after %v: %s", what, startTimeout, problem)
		}
		time.Sleep(pollInterval)
	}
}
