package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/test/harness"
)

// scenariosTimeout bounds one client's scenarios at both servers.
const scenariosTimeout = 4 * time.Minute

// zookeepers starts the two servers that every client is tried at, once: a real ZooKeeper, which decides what is right, and
// okapi.
var zookeepers = sync.OnceValues(func() ([2]*harness.Member, error) {
	jars, err := harness.Jars()
	if err != nil {
		return [2]*harness.Member{}, err
	}
	out := [2]*harness.Member{harness.NewZooKeeper(lasting, jars), harness.NewCluster(lasting, tools, 1, harness.LikeZooKeeper...).Members[0]}
	for _, m := range out {
		m.Start()
	}
	for _, m := range out {
		m.WaitReady()
	}
	return out, nil
})

// servers returns the two as arguments of the client programs.
func servers(t *testing.T) []string {
	t.Helper()
	both, err := zookeepers()
	if err != nil {
		missing(t, err.Error())
	}
	return []string{"zookeeper=" + both[0].ZooKeeper, "okapi=" + both[1].ZooKeeper}
}

// missing skips the test for lack of a client, or fails it if the environment says that clients must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv(harness.EnvRequireClients) == "1" {
		t.Fatal(what)
	}
	t.Skip("skipped: " + what)
}

// runScenarios runs a program of the folder clients, which prints a line for each scenario and server, and reports each.
func runScenarios(t *testing.T, client, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scenariosTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append(args, servers(t)...)...)
	cmd.WaitDelay = time.Second
	start := time.Now()
	out, err := cmd.CombinedOutput()
	passed := map[string]int{}
	for line := range strings.Lines(string(out)) {
		switch verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " "); verdict {
		case "ok":
			server, _, _ := strings.Cut(rest, " ")
			passed[server]++
		case "FAIL":
			t.Errorf("%s: %s", client, rest)
		}
	}
	if !t.Failed() && (err != nil || passed["okapi"] == 0 || passed["okapi"] != passed["zookeeper"]) {
		t.Errorf("%s: %v\n%s", client, err, out)
	}
	if !t.Failed() {
		t.Logf("%s: %d scenarios, the same at ZooKeeper and at okapi, in %v", client, passed["okapi"], time.Since(start).Round(time.Second))
	}
}

// TestZKClientKazoo runs kazoo's everyday operations and recipes.
func TestZKClientKazoo(t *testing.T) {
	for _, python := range []string{os.Getenv("OKAPI_PYTHON"), "/usr/bin/python3", "python3"} {
		if python != "" && exec.Command(python, "-c", "import kazoo").Run() == nil {
			runScenarios(t, "kazoo", python, "clients/kazoo_scenarios.py")
			return
		}
	}
	missing(t, "no kazoo: apt-get install python3-kazoo")
}

// TestZKClientC runs what users of the C client write.
func TestZKClientC(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "scenarios")
	if out, err := exec.Command("cc", "-DTHREADED", "-o", binary, "clients/scenarios.c", "-lzookeeper_mt", "-lpthread").CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("no C client: apt-get install gcc libzookeeper-mt-dev: %v\n%s", err, out))
	}
	runScenarios(t, "C", binary)
}

// TestZKClientCurator runs Curator's everyday operations and recipes, and with them ZooKeeper's Java client.
func TestZKClientCurator(t *testing.T) {
	jars, err := harness.Jars()
	if err != nil {
		missing(t, err.Error())
	}
	if _, err := exec.LookPath("javac"); err != nil {
		missing(t, "no javac: apt-get install default-jdk-headless")
	}
	runScenarios(t, "Curator", "java", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(jars, "*"), "clients/CuratorScenarios.java")
}

// zkCliScript is typed into zkCli.sh.
const zkCliScript = `create /cli hello
create /cli again
get -s /cli
set /cli two
set -v 7 /cli x
set -s /cli three
stat /cli
create -s /cli/s- x
create -e /cli/e x
create -c /cli/c
create -t 100000 /cli/t x
ls /cli
ls -s /cli
ls -R /cli
getAllChildrenNumber /cli
getEphemerals /cli
get /none
stat /none
ls /none
delete /cli
delete -v 5 /cli/t
create /cli/e/x y
create nopath x
create /cli/acl x world:anyone:r
getAcl /cli/acl
getAcl -s /cli
set /cli/acl x
whoami
addauth digest ann:secret
setAcl /cli auth:ann:secret:cdrwa
getAcl /cli
setAcl /cli world:anyone:cdrwa
sync /cli
get -w /cli
set /cli four
addWatch -m PERSISTENT_RECURSIVE /cli
create /cli/w x
removewatches /cli
deleteall /cli
get /cli
ls /zookeeper
quit
`

// volatile is what differs between two servers, and two runs: numbers of changes, times, sessions, and the threads of zkCli.sh.
var volatile = regexp.MustCompile(`(?m)^(cZxid|ctime|mZxid|mtime|pZxid) = .*$|0x[0-9a-f]{5,}|zxid: -?\d+|\[zk: [^\]]*\]|127\.0\.0\.1:\d+|JLine support is \w+`)

// TestZKClientZKCli types a script into zkCli.sh at both servers and compares what it prints.
func TestZKClientZKCli(t *testing.T) {
	if tools.ZKCli == "" {
		missing(t, tools.MissingZKCli)
	}
	var printed [2]string
	both := servers(t)
	for i, server := range both {
		_, address, _ := strings.Cut(server, "=")
		ctx, cancel := context.WithTimeout(t.Context(), scenariosTimeout)
		defer cancel()
		cmd := exec.CommandContext(ctx, tools.ZKCli, "-waitforconnection", "-server", address)
		cmd.Stdin = strings.NewReader(zkCliScript)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", server, err, out)
		}
		printed[i] = volatile.ReplaceAllString(string(out), "*")
	}
	if diff := cmp.Diff(lines(printed[0]), lines(printed[1])); diff != "" {
		t.Errorf("zkCli.sh prints at ZooKeeper (-) and at okapi (+):\n%s", diff)
	}
	for _, want := range []string{"Node already exists: /cli", "Node not empty: /cli", "[c, e, s-0000000000, t]", "NodeDataChanged"} {
		if !strings.Contains(printed[1], want) {
			t.Errorf("zkCli.sh does not print %q:\n%s", want, printed[1])
		}
	}
	if !t.Failed() {
		t.Logf("zkCli.sh: %d commands, the same output at ZooKeeper and at okapi", strings.Count(zkCliScript, "\n"))
	}
}

// lines are those that are not about the connection and not events, which another thread prints somewhere among the answers.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.Contains(line, "WATCHER::") && !strings.Contains(line, "WatchedEvent") && !strings.Contains(line, "Connecting to") {
			out = append(out, line)
		}
	}
	return out
}
