package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

func sum(content []byte) [sha256.Size]byte { return sha256.Sum256(content) }

// attempt is one start of okapi that is refused, and what must be said about it.
type attempt struct {
	name string
	// prepare breaks something; dir is the data directory, a copy of one that was in use.
	prepare func(t *testing.T, dir string)
	// flags follow those of the member, and so replace them.
	flags []string
	// alone leaves the member's own flags away.
	alone bool
	env   []string
	// want has, for each line in order, words that it must have, separated by " ... ".
	want []string
	// begun says that the problem shows only when the member has begun: its log may have grown.
	begun bool
	// uid is the user that runs it, if not this one.
	uid uint32
}

// nobody is a user without rights.
const nobody = 65534

// TestRefusals starts okapi in every way that it must not accept. Each is refused with one line a
// problem, which says what is wrong and what to do, and with status 1; nothing on disk is touched.
func TestRefusals(t *testing.T) {
	used := harness.NewCluster(t, tools, 1)
	used.Start()
	m := used.Members[0]
	put(t, dialEtcd(t, m), "k", "v")
	if _, err := dialZooKeeper(t, m).Create("/n", []byte("v"), 0, nil); err == nil {
		t.Fatal("a znode without access list was created")
	}
	m.Terminate()
	attempts := slices.Concat(wrongFlags(t, m), wrongDirectories(), lostFiles(), wrongRights())
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) { a.run(t, m) })
	}
	used.Start()
	if got := get(t, dialEtcd(t, m), "k"); got != "v" {
		t.Errorf("after all attempts the key holds %q", got)
	}
}

func wrongFlags(t *testing.T, m *harness.Member) []attempt {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	address := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "okapi.yaml")
	if err := os.WriteFile(file, []byte("nmae: n1\nlog-level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(pem, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := "https://" + m.Peer
	fresh := func(t *testing.T, dir string) { remove(t, dir) }
	return []attempt{
		{name: "unknown flag", alone: true, flags: []string{"serve", "--nmae=n1"}, want: []string{"unknown flag: --nmae ... see okapi serve --help"}},
		{name: "unknown command", alone: true, flags: []string{"srve"}, want: []string{`unknown command "srve"`}},
		{name: "argument", flags: []string{"now"}, want: []string{`takes no arguments, but got "now" ... --help`}},
		{
			name:  "all bad values at once",
			flags: []string{"--log-level=loud", "--max-txn-ops=0", "--heartbeat-interval=x", "--listen-zookeeper=2181", "--tree-history=ten"},
			want: []string{
				`--heartbeat-interval: "x": want a whole number of milliseconds`, `--tree-history: "ten": want a duration`,
				`--log-level: "loud": want one of debug, info`, `--listen-zookeeper: "2181": want an IP address`, "--max-txn-ops: 0: want 1 to",
			},
		},
		{name: "environment", env: []string{"OKAPI_MAX_TXN_OPS=many"}, want: []string{`OKAPI_MAX_TXN_OPS: "many": want a whole number`}},
		{name: "unknown setting in the file", flags: []string{"--config-file", file}, want: []string{file + `: unknown setting "nmae": remove it or correct its name (perhaps name)`}},
		{name: "no such file", flags: []string{"--config-file", file + "x"}, want: []string{"--config-file: open " + file + "x ... name a file that this user can read"}},
		{name: "cluster without this member", flags: []string{"--initial-cluster", "n2=http://127.0.0.1:1"}, want: []string{`--initial-cluster: does not name this member, "n1": add n1=`}},
		{name: "other tree prefix", flags: []string{"--tree-prefix=/tree"}, begun: true, want: []string{"--tree-prefix is /tree, but this cluster was founded with /zk: start the member with the cluster's value"}},
		{name: "other quota", flags: []string{"--quota-backend-bytes=1GiB"}, begun: true, want: []string{"--quota-backend-bytes is 1073741824, but this cluster was founded with"}},
		{name: "client port in use", prepare: fresh, flags: []string{"--listen-client-urls", "http://" + address}, want: []string{"--listen-client-urls " + address + " cannot be opened: stop what uses the port or choose another one"}},
		{name: "ZooKeeper port in use", prepare: fresh, flags: []string{"--listen-zookeeper", address}, want: []string{"--listen-zookeeper " + address + " cannot be opened: stop"}},
		{name: "peer port in use", prepare: fresh, flags: []string{"--listen-peer-urls", "http://" + address}, want: []string{"--listen-peer-urls " + address + " cannot be opened: stop"}},
		{
			name: "useless certificate", prepare: fresh,
			flags: []string{
				"--listen-peer-urls", secure, "--initial-advertise-peer-urls", secure, "--initial-cluster", "n1=" + secure,
				"--peer-cert-file", pem, "--peer-key-file", pem, "--peer-trusted-ca-file", pem,
			},
			want: []string{"--peer-cert-file and --peer-key-file cannot be used"},
		},
		{name: "nothing to join", prepare: fresh, flags: []string{"--initial-cluster-state=existing"}, want: []string{"is empty, and --initial-cluster names no other member to join: list the members that run, or use --initial-cluster-state new"}},
	}
}

func wrongDirectories() []attempt {
	only := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			remove(t, dir)
			if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	asFile := func(t *testing.T, dir string) {
		remove(t, dir)
		if err := os.WriteFile(dir, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []attempt{
		{name: "a file", prepare: asFile, want: []string{"DIR ... not a directory ... set --data-dir to a folder"}},
		{name: "etcd's", prepare: only("member"), want: []string{`DIR is not okapi's: it holds "member", as etcd's does; choose an empty --data-dir`}},
		{name: "ZooKeeper's", prepare: only("version-2"), want: []string{`DIR is not okapi's: it holds "version-2", as ZooKeeper's does; choose`}},
		{name: "somebody's", prepare: only("photos"), want: []string{`DIR is not empty and not okapi's: it holds "photos"; choose`}},
		{name: "another cluster's", flags: []string{"--initial-cluster-token=other"}, want: []string{"DIR belongs to cluster ... not to cluster ... give this member its own --data-dir, or correct --initial-cluster"}},
		{
			name: "newer format", prepare: edit("okapi.identity", "format 1\nmade-by 0.1.0", "format 2\nmade-by 7.8.9"),
			want: []string{"DIR was made by a newer okapi (format 2, ... use okapi >= 7.8.9"},
		},
		{
			name: "damaged identity", prepare: edit("okapi.identity", "member ", "member_"),
			want: []string{"DIR/okapi.identity cannot be trusted from offset 0 on ... replace this member by a new one (okapi member replace); a server that is alone needs a backup"},
		},
	}
}

func lostFiles() []attempt {
	drop := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				remove(t, filepath.Join(dir, name))
			}
		}
	}
	log := []string{"DIR has lost its log (no file in DIR/wal): restore the whole directory, or replace this member under a new id"}
	return []attempt{
		{name: "log", prepare: drop("wal"), want: log},
		{name: "log and snapshots", prepare: drop("wal", "snap"), want: log},
		{name: "segments", prepare: drop("wal/0000000000000001.wal"), want: log},
		{name: "snapshots", prepare: drop("snap"), want: []string{"DIR has lost its snapshots (no file in DIR/snap): restore"}},
		{name: "identity", prepare: drop("okapi.identity"), want: []string{`DIR holds "snap" and has lost its okapi.identity: restore the whole directory`}},
		{name: "damaged log", prepare: damage("wal", 4096+100), want: []string{"log DIR/wal/0000000000000001.wal is damaged at offset 4096: ... this member"}},
		{name: "damaged snapshot", prepare: damage("snap", 20), want: []string{"snapshot DIR/snap/ ... is damaged at offset 0: ... replace this member or restore the file"}},
	}
}

func wrongRights() []attempt {
	if os.Getuid() != 0 {
		return nil // Only root can start it as somebody else.
	}
	return []attempt{
		{name: "unreadable", uid: nobody, want: []string{"DIR: permission denied: set --data-dir to a folder that this user can read and write"}},
		{name: "unwritable", uid: nobody, flags: []string{"--data-dir=/okapi-e2e"}, want: []string{"make data directory: ... permission denied: set --data-dir to a folder"}},
	}
}

func (a attempt) run(t *testing.T, m *harness.Member) {
	root := t.TempDir()
	for name := root; name != os.TempDir() && name != "/"; name = filepath.Dir(name) {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "data")
	if err := os.CopyFS(dir, os.DirFS(m.DataDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if a.prepare != nil {
		a.prepare(t, dir)
	}
	before := fingerprint(t, root)
	args := a.flags
	if !a.alone {
		args = slices.Concat(m.Args(), []string{"--log-level=info", "--data-dir", dir}, a.flags)
	}
	status, out, errs := okapi(t, a, root, args...)
	if status != 1 || out != "" {
		t.Errorf("status %d, want 1; output %q, want none", status, out)
	}
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	if len(lines) != len(a.want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(a.want), errs)
	}
	for i, want := range a.want {
		want = strings.ReplaceAll(want, "DIR", dir)
		if !strings.HasPrefix(lines[i], "okapi: ") || !inOrder(lines[i], strings.Split(want, " ... ")) {
			t.Errorf("line %d is\n%s\nwant it to say\n%s", i+1, lines[i], want)
		}
	}
	if after := fingerprint(t, root); !a.begun && !maps.Equal(before, after) {
		t.Errorf("the disk was touched: before\n%v\nafter\n%v", before, after)
	}
}

// inOrder reports whether a line has all the parts, one behind the other.
func inOrder(line string, parts []string) bool {
	for _, part := range parts {
		_, after, ok := strings.Cut(line, part)
		if !ok {
			return false
		}
		line = after
	}
	return true
}

// okapi runs the program in a folder until it ends by itself.
func okapi(t *testing.T, a attempt, dir string, args ...string) (status int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Okapi, args...)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &o, &e, append(os.Environ(), a.env...)
	if a.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.uid}}
	}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("run okapi: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatalf("okapi %s goes on running\n%s%s", strings.Join(args, " "), &o, &e)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// edit replaces a text in a file of the data directory.
func edit(name, from, to string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		file := filepath.Join(dir, name)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(from)) {
			t.Fatalf("%s has no %q:\n%s", name, from, content)
		}
		if err := os.WriteFile(file, bytes.Replace(content, []byte(from), []byte(to), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// damage inverts one byte of the first file in a folder of the data directory.
func damage(folder string, offset int) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		files, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file in %s: %v", folder, err)
		}
		name := filepath.Join(dir, folder, files[0].Name())
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content[offset] ^= 0xff
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

// TestLostSnapshot takes away the snapshot on which the log builds, as the older one is no longer enough.
func TestLostSnapshot(t *testing.T) {
	c := harness.NewCluster(t, tools, 1, "--snapshot-bytes=1MiB", "--log-level=info")
	c.Start()
	m := c.Members[0]
	client, value := dialEtcd(t, m), strings.Repeat("v", 200<<10)
	for i := range 8 {
		put(t, client, fmt.Sprint(i), value)
	}
	harness.Eventually(t, "snapshot", func() string {
		if log := m.LogTail(); !strings.Contains(log, "snapshot written") {
			return log
		}
		return ""
	})
	// With these the log takes in the mark of the snapshot.
	put(t, client, "k", "v")
	put(t, client, "k", "v")
	m.Terminate()
	folder := filepath.Join(m.DataDir, "snap")
	names, err := os.ReadDir(folder)
	if err != nil || len(names) < 2 {
		t.Fatalf("%d snapshots: %v", len(names), err)
	}
	remove(t, filepath.Join(folder, names[len(names)-1].Name()))
	before := fingerprint(t, m.DataDir)
	status, out, errs := okapi(t, attempt{}, t.TempDir(), m.Args()...)
	want := []string{"okapi: " + m.DataDir + " lacks the snapshot of entry ", " that the log builds on", "replace this member"}
	if status != 1 || out != "" || strings.Count(errs, "\n") != 1 || !inOrder(errs, want) {
		t.Errorf("status %d, output %q, errors\n%s", status, out, errs)
	}
	if !maps.Equal(before, fingerprint(t, m.DataDir)) {
		t.Error("the disk was touched")
	}
}

// TestVersion pins the shape that scripts may rely on: the release first, what it is compatible
// with last.
func TestVersion(t *testing.T) {
	status, out, errs := okapi(t, attempt{}, t.TempDir(), "version")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if status != 0 || errs != "" || len(lines) < 3 || !strings.HasPrefix(lines[0], "okapi 0.") ||
		lines[len(lines)-1] != "ZooKeeper 3.9 / etcd 3.7 compatible" {
		t.Errorf("status %d, errors %q, output:\n%s", status, errs, out)
	}
}
