package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/okapi-kv/okapi/internal/cluster"
	"github.com/okapi-kv/okapi/internal/config"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// load makes the configuration of a single member from flags, "name=value".
func load(t *testing.T, flags ...string) config.Config {
	t.Helper()
	given := map[string]string{}
	for _, f := range flags {
		name, value, _ := strings.Cut(f, "=")
		given[name] = value
	}
	cfg, err := config.Load(config.Inputs{
		Flags: given, LookupEnv: func(string) (string, bool) { return "", false }, ReadFile: os.ReadFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// greeting hands on what the member prints when it is ready.
type greeting chan string

func (g greeting) Write(p []byte) (int, error) {
	select {
	case g <- string(p):
	default: // only the first line matters
	}
	return len(p), nil
}

// TestRun starts and stops a member twice on one directory, and then with flags that disagree with the
// cluster's settings. Nothing is left running.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	zooKeeper := freeAddress(t)
	flags := []string{
		"data-dir=" + t.TempDir() + "/a/b", "listen-zookeeper=" + zooKeeper, "listen-client-urls=http://" + freeAddress(t),
		"listen-peer-urls=http://" + freeAddress(t),
	}
	log := slog.New(slog.DiscardHandler)
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		ready, ended := make(greeting, 1), make(chan error, 1)
		go func() { ended <- Run(ctx, load(t, flags...), log, ready) }()
		select {
		case text := <-ready:
			if !strings.HasPrefix(text, "okapi "+Version+" is ready: member default") {
				t.Errorf("it greets with %q", text)
			}
		case err := <-ended:
			t.Fatalf("it ended instead of serving: %v", err)
		}
		if got := ask(t, zooKeeper, "isro"); got != "rw" {
			t.Errorf("isro says %q", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("told to stop, it ended with %v", err)
		}
	}
	err := Run(t.Context(), load(t, append(flags, "tree-prefix=/other")...), log, io.Discard)
	if want := "--tree-prefix is /other, but this cluster was founded with /zk"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("with another prefix it ended with %v, want %q", err, want)
	}
}

// ask sends a four-letter word.
func ask(t *testing.T, address, word string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, word); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// TestCheckSettings: quotas that the flags leave open agree with any; everything else must be equal.
func TestCheckSettings(t *testing.T) {
	have := command.Settings{TreePrefix: "/zk", TreeHistory: 600_000, QuotaBytes: 7, TreeQuotaBytes: 0, ExtendedTypes: true}
	for _, c := range []struct{ flag, want string }{
		{"tree-prefix=/zk", ""},
		{"quota-backend-bytes=7", ""},
		{"tree-quota-bytes=-1", ""},
		{"tree-prefix=", "--tree-prefix is , but this cluster was founded with /zk"},
		{"tree-history=1m", "--tree-history is 1m0s, but this cluster was founded with 10m0s"},
		{"quota-backend-bytes=8", "--quota-backend-bytes is 8, but this cluster was founded with 7"},
		{"quota-backend-bytes=-1", "--quota-backend-bytes is 0"},
		{"tree-quota-bytes=8", "--tree-quota-bytes is 8"},
	} {
		err := checkSettings(load(t, c.flag))(have)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("--%s: %v, want %q", c.flag, err, c.want)
		}
	}
}

// TestRequireHistory: a member that was finished must have its log and its snapshots.
func TestRequireHistory(t *testing.T) {
	mem := vfs.NewMem(1)
	d := cluster.Directory{FS: mem, Path: "/data"}
	write := func(name string) {
		t.Helper()
		if err := mem.WriteFile("/data/"+name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when, text string) {
		t.Helper()
		err := requireHistory(d)
		if (err == nil) != (text == "") || err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", when, err, text)
		}
	}
	if err := d.Create(cluster.Identity{ClusterID: 1, MemberID: 2, Name: "n", MadeBy: "1", Directory: 3}); err != nil {
		t.Fatal(err)
	}
	want("not finished", "")
	if err := d.Founded(); err != nil {
		t.Fatal(err)
	}
	want("finished, and empty", "/data has lost its log (no file in /data/wal): restore")
	for _, folder := range []string{"wal", "snap"} {
		if err := mem.MkdirAll("/data/" + folder); err != nil {
			t.Fatal(err)
		}
	}
	write("wal/lock")
	want("a lock is no log", "has lost its log")
	write("wal/0000000000000001.wal")
	write("snap/0000000000000001-0000000000000001.snap.tmp")
	want("half a snapshot is none", "has lost its snapshots")
	write("snap/0000000000000001-0000000000000001.snap")
	want("both", "")
}

// TestJoinedListeners accepts from both and ends with Close.
func TestJoinedListeners(t *testing.T) {
	defer goleak.VerifyNone(t)
	var parts [2]net.Listener
	for i := range parts {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = l
	}
	j := joinListeners(joinListeners(nil, parts[0]), parts[1])
	for _, l := range parts {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := j.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("accepted %v, want %v", server.RemoteAddr(), client.LocalAddr())
		}
		client.Close()
		server.Close()
	}
	if err := j.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if conn, err := j.Accept(); err == nil {
		t.Errorf("accepted %v after the end", conn.RemoteAddr())
	}
}
