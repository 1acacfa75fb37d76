package conformance

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/test/harness"
)

// line is one command line of etcdctl.
type line struct {
	args string
	// input is its standard input.
	input string
	// lines is how many lines of output are awaited before the command, which does not end by itself, is
	// interrupted; 0 for one that does.
	lines int
}

// TestEtcdctl types the same command lines at etcd and at okapi and compares what etcdctl prints. They are typed at
// another etcd too: where two etcds differ, a mask is missing.
func TestEtcdctl(t *testing.T) {
	harness.RequireEtcd(t, tools)
	if tools.Etcdctl == "" {
		harness.RequireClients(t, tools)
	}
	etcd, other, okapi := &shell{member: startEtcd(t)}, &shell{member: startEtcd(t)}, &shell{member: startOkapi(t)}
	for _, l := range etcdctlLines() {
		want := etcd.run(t, l)
		if diff := cmp.Diff(want, other.run(t, l)); diff != "" {
			t.Errorf("two etcds differ, etcdctl %s:\n%s", l.args, diff)
		}
		if diff := cmp.Diff(want, okapi.run(t, l)); diff != "" {
			t.Errorf("etcdctl %s: -etcd +okapi:\n%s", l.args, diff)
		}
	}
	t.Logf("%d command lines", len(etcdctlLines()))
}

// shell is where lines are typed: at one server.
type shell struct {
	member *harness.Member
	// lease is the one that was granted last; a line means it by "LEASE".
	lease string
}

// output is what etcdctl printed, masked.
type output struct {
	Out, Messages string
	Status        int
}

// run runs a line.
func (s *shell) run(t *testing.T, l line) output {
	t.Helper()
	args := strings.Fields(strings.ReplaceAll(l.args, "LEASE", s.lease))
	for i, arg := range args {
		args[i] = strings.NewReplacer("_", " ", `""`, "").Replace(arg)
	}
	var answer harness.Answer
	if l.lines > 0 {
		answer.Out = s.runUntil(t, args, l.lines)
	} else {
		answer = tools.RunEtcdctl(t, s.member, l.input, args...)
	}
	if granted := leaseGranted.FindStringSubmatch(answer.Out); granted != nil {
		s.lease = granted[1]
	}
	return output{s.mask(answer.Out), s.mask(answer.Messages), answer.Status}
}

var leaseGranted = regexp.MustCompile(`lease ([0-9a-f]+) granted`)

// lineTimeout bounds the wait for the output of a command that does not end by itself.
const lineTimeout = 20 * time.Second

// runUntil runs etcdctl until it has printed so many lines, and returns them.
func (s *shell) runUntil(t *testing.T, args []string, lines int) string {
	t.Helper()
	cmd := exec.Command(tools.Etcdctl, append([]string{"--endpoints=http://" + s.member.Client}, args...)...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start etcdctl: %v", err)
	}
	// A command that prints too little is ended, so that the test can say what it printed.
	watchdog := time.AfterFunc(lineTimeout, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	var out []string
	reader := bufio.NewScanner(pipe)
	for len(out) < lines && reader.Scan() {
		out = append(out, reader.Text())
	}
	_ = cmd.Process.Signal(os.Interrupt)
	for reader.Scan() {
	}
	_ = cmd.Wait()
	return strings.Join(out, "\n")
}

// masks are what may differ between two etcds: who answers, since when, and how large its files are. Each is a
// pattern and what stands in its place.
var masks = []struct {
	pattern *regexp.Regexp
	name    string
}{
	// What the client tells its own developers about a call that failed.
	{regexp.MustCompile(`(?m)^\{"level":.*\n`), ``},
	// Ids: of clusters, members and leases, in JSON, as fields, and in hexadecimal.
	{regexp.MustCompile(`"(cluster_id|member_id|leader|ID|id|lease|raft_term)":-?\d+`), `"$1":<id>`},
	{regexp.MustCompile(`"(ClusterID|MemberID|Leader|ID|Lease|RaftTerm)" : [1-9]\d*`), `"$1" : <id>`},
	{regexp.MustCompile(`\b[0-9a-f]{15,16}\b`), `<id>`},
	// Times.
	{regexp.MustCompile(`took( =)? [0-9.]+[µm]?s`), `took$1 <time>`},
	{regexp.MustCompile(`remaining\(\d+s\)`), `remaining(<time>)`},
	{regexp.MustCompile(`"ttl":\d+`), `"ttl":<time>`},
	{regexp.MustCompile(`"TTL" : \d+(\s+"GrantedTTL")`), `"TTL" : <time>$1`},
	// Versions.
	{regexp.MustCompile(`\b3\.7\.\d+\b`), `<version>`},
	// Sizes of files, and how long the log is.
	{regexp.MustCompile(`\d+(\.\d+)? [kMGT]?B\b`), `<size>`},
	{regexp.MustCompile(`<size>, \d+%`), `<size>, <share>`},
	{regexp.MustCompile(`"(dbSize|dbSizeInUse|dbSizeQuota|raftIndex|raftAppliedIndex|raftTerm)":\d+`), `"$1":<size>`},
	{regexp.MustCompile(`"(DBSize|DBSizeInUse|DBSizeQuota|RaftIndex|RaftAppliedIndex)" : \d+`), `"$1" : <size>`},
	{regexp.MustCompile(`(true|false), (true|false), \d+, \d+, \d+, `), `$1, $2, <term>, <index>, <index>, `},
	// The checksum of etcd's file format means something only among members of one cluster.
	{regexp.MustCompile(`"hash":\d+`), `"hash":<hash>`},
	{regexp.MustCompile(`"Hash" : \d+`), `"Hash" : <hash>`},
	{regexp.MustCompile(`(<client>), \d{3,10}, (\d+)`), `$1, <hash>, $2`},
}

// mask puts names in the place of what may differ.
func (s *shell) mask(text string) string {
	text = strings.NewReplacer(s.member.Client, "<client>", "http://"+s.member.Peer, "<peer>").Replace(text)
	text = strings.ReplaceAll(text, ", "+s.member.Name+", ", ", <name>, ")
	text = strings.ReplaceAll(text, `"`+s.member.Name+`"`, `"<name>"`)
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.name)
	}
	return text
}

// etcdctlLines is what is typed: first what etcdctl's README does, then the options one by one. "_" stands for a
// blank inside an argument, "LEASE" for the lease that was granted last.
func etcdctlLines() []line {
	return slices.Concat(keyLines(), txnLines(), memberLines(), leaseLines(), watchLines(), concurrencyLines())
}

func keyLines() []line {
	args := []string{
		"put a 1", "put a 2", "put a/b 3", "put b two_words", "put c 4 --prev-kv", "put c 5 --prev-kv",
		"put c --ignore-value", "put c 6 --ignore-lease", "put none --ignore-value", "put d 1 --lease=123",
		"put a 2 -w json", "put a 2 -w fields", "put e \"\"", "put",
		"get a", "get none", "get a --print-value-only", "get a --hex", "get a -w json", "get a -w fields", "get a -w table",
		"get a --prefix", "get a c", "get b --from-key", "get \"\" --prefix", "get \"\" --from-key", "get a c --prefix",
		"get \"\" --prefix --limit=2", "get \"\" --prefix --keys-only", "get \"\" --prefix --count-only", "get \"\" --prefix --count-only -w fields",
		"get \"\" --prefix --order=DESCEND", "get \"\" --prefix --sort-by=VERSION", "get \"\" --prefix --sort-by=MODIFY --order=ASCEND",
		"get \"\" --prefix --sort-by=CREATE --order=DESCEND", "get \"\" --prefix --sort-by=VALUE", "get \"\" --prefix --sort-by=NOTHING",
		"get \"\" --prefix --consistency=s", "get a --consistency=x", "get a --rev=2", "get a --rev=3 -w json", "get a --rev=1000",
		"get \"\" --prefix --min-mod-rev=5", "get \"\" --prefix --max-mod-rev=5", "get \"\" --prefix --min-create-rev=5", "get \"\" --prefix --max-create-rev=5",
		"get", "del none", "del b --prev-kv", "del a --prefix --prev-kv", "del c d", "del e -w json", "del", "put x 1", "put y 1", "del x --from-key",
		"get \"\" --from-key -w json",
		"compaction 5", "compaction 5", "compaction 4", "compaction 1000", "compaction x", "compaction", "get a --rev=4",
		"put a 1", "compaction 6 --physical", "get a",
	}
	return typed(args...)
}

// typed is lines without input that end by themselves.
func typed(args ...string) []line {
	var out []line
	for _, a := range args {
		out = append(out, line{args: a})
	}
	return out
}

func txnLines() []line {
	return []line{
		{args: "txn", input: "value(\"a\") = \"1\"\n\nput a 2\nget a\n\nget b\n\n"},
		{args: "txn", input: "value(\"a\") = \"1\"\n\nput a 2\nget a\n\nget b\ndel a\n\n"},
		{args: "txn -w json", input: "mod(\"a\") > \"1\"\nversion(\"a\") < \"10\"\ncreate(\"b\") = \"0\"\n\nput a 1 --prev-kv\nput b 2\n\n\n"},
		{args: "txn -w fields", input: "value(\"a\") = \"1\"\n\nget --prefix \"\"\ndel b --prev-kv\n\n\n"},
		{args: "txn", input: "\nput a 1\nput a 2\n\n\n"},
		{args: "txn", input: "\nput z 1 --lease=77\n\n\n"},
		{args: "txn", input: "nonsense\n\n\n\n\n"},
		{args: "txn", input: "\n\n\n"},
	}
}

func leaseLines() []line {
	return typed(
		"lease grant 1000", "put l/a 1 --lease=LEASE", "lease list", "lease list -w json", "get l/a -w json",
		"lease timetolive LEASE", "lease timetolive LEASE --keys", "lease timetolive LEASE --keys -w fields", "lease keep-alive --once LEASE",
		"lease keep-alive --once LEASE -w json", "put l/b 2 --lease=LEASE", "lease revoke LEASE", "get l/ --prefix", "lease timetolive LEASE", "lease keep-alive --once LEASE",
		"lease revoke LEASE", "lease list", "lease grant 10000000000", "lease grant 0 -w json", "lease grant", "lease grant x", "lease revoke x", "put l/c 1 --lease=LEASE",
	)
}

func watchLines() []line {
	return []line{
		{args: "put w/a 1"}, {args: "put w/b 2"}, {args: "put w/a 3"}, {args: "del w/a"},
		{args: "watch w/a --rev=10", lines: 8},
		{args: "watch w/ --prefix --prev-kv --rev=10", lines: 13},
		{args: "watch w/a w/c --rev=10 -w json", lines: 1},
		{args: "watch w/a --rev=10 -w fields", lines: 20},
		{args: "watch w/b --rev=10 -- echo seen", lines: 4},
		{args: "watch w/a --rev=1"},
		{args: "watch"},
		{args: "watch w/c w/a --rev=10"},
	}
}

func concurrencyLines() []line {
	return []line{
		{args: "lock mutex echo hello"},
		{args: "lock mutex --ttl=20 false"},
		{args: "lock mutex", lines: 1},
		{args: "get mutex --prefix"},
		{args: "elect office me", lines: 2},
		{args: "get office --prefix"},
		{args: "put watched/1 somebody"},
		{args: "elect watched -l", lines: 2},
		{args: "lock"},
		{args: "elect"},
	}
}

func memberLines() []line {
	return slices.Concat(
		typed(
			"endpoint status", "endpoint status -w json", "endpoint status -w fields", "endpoint health", "endpoint hashkv", "endpoint hashkv -w json",
			"endpoint hashkv --rev=1", "alarm list", "defrag",
		),
		typed("member list", "member list -w json", "member list -w fields", "endpoint health --cluster", "endpoint status --cluster"))
}
