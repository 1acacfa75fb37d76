package e2e

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/okapi-kv/okapi/test/harness"
)

const superUser = "super:secret"

// operated starts three members as an operator does who wants to look at them.
func operated(t *testing.T) *harness.Cluster {
	t.Helper()
	sum := sha1.Sum([]byte(superUser))
	c := harness.NewCluster(t, tools, 3, "--zookeeper-4lw-whitelist", "*",
		"--zookeeper-super-digest", "super:"+base64.StdEncoding.EncodeToString(sum[:]),
		"--zookeeper-tick-time", "1000", "--zookeeper-max-session-timeout", "60000", "--zookeeper-max-client-cnxns", "7")
	c.Start()
	return c
}

// ask sends a four-letter word and insists on an answer.
func ask(t *testing.T, m *harness.Member, word string) string {
	t.Helper()
	answer, err := m.FourLetters(word)
	if err != nil {
		t.Fatalf("%s at %s: %v", word, m.Name, err)
	}
	return answer
}

// lines cuts an answer of names and values into pairs.
func lines(answer, separator string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(answer) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), separator)
		out[name] = value
	}
	return out
}

// TestFourLetterWords: what operators' tools ask for, they get in the shapes that they parse.
func TestFourLetterWords(t *testing.T) {
	c := operated(t)
	conn := dialZooKeeper(t, c.Members[0])
	if _, err := conn.Create("/e", []byte("x"), zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := conn.GetW("/e"); err != nil {
		t.Fatal(err)
	}
	t.Run("mntr", func(t *testing.T) { monitorWords(t, c) }) // It waits until all members have applied what was done above.
	t.Run("go-zookeeper", func(t *testing.T) { goWords(t, c, conn) })
	t.Run("settings", func(t *testing.T) { settingWords(t, c.Members[0], conn) })
	t.Run("super", func(t *testing.T) { superWords(t, c, conn) })
	t.Run("kazoo", func(t *testing.T) { kazooWords(t, c.Members[0]) })
}

// goWords asks with the functions of go-zookeeper.
func goWords(t *testing.T, c *harness.Cluster, conn *zk.Conn) {
	var servers []string
	for _, m := range c.Members {
		servers = append(servers, m.ZooKeeper)
	}
	for i, ok := range zk.FLWRuok(servers, callTimeout) {
		if !ok {
			t.Errorf("%s is not ok", servers[i])
		}
	}
	stats, ok := zk.FLWSrvr(servers, callTimeout)
	if !ok {
		t.Fatalf("srvr cannot be parsed: %+v", stats)
	}
	modes := map[zk.Mode]int{}
	for _, s := range stats {
		modes[s.Mode]++
		if s.NodeCount != 6 || s.Connections < 1 || s.Epoch < 1 || s.Counter < 1 || !strings.HasPrefix(s.Version, "3.9.") {
			t.Errorf("srvr of %s: %+v", s.Server, s)
		}
	}
	if modes[zk.ModeLeader] != 1 || modes[zk.ModeFollower] != 2 {
		t.Errorf("modes are %v, want a leader and two followers", modes)
	}
	// The connection that asks is in the list too, and without a session it is one that this parser does not take, as with
	// ZooKeeper.
	clients, _ := zk.FLWCons(servers[:1], callTimeout)
	if len(clients) != 1 || len(clients[0].Clients) != 1 {
		t.Fatalf("cons cannot be parsed: %+v", clients[0])
	}
	got := clients[0].Clients[0]
	if got.SessionID != conn.SessionID() || got.Timeout != 10_000 || got.Received < 3 || got.Sent < 3 || got.LastOperation == "NA" || got.Lcxid < 2 {
		t.Errorf("cons: %+v", got)
	}
	if age := time.Since(time.UnixMilli(got.Established.Unix())); age < 0 || age > time.Hour {
		t.Errorf("established %v ago", age)
	}
}

// monitorWords looks at the figures that agents gather, in the form in which they parse them.
func monitorWords(t *testing.T, c *harness.Cluster) {
	number := func(m *harness.Member, name string) int64 {
		t.Helper()
		value := lines(ask(t, m, "mntr"), "\t")[name]
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Errorf("%s of %s is %q", name, m.Name, value)
		}
		return n
	}
	for _, m := range c.Members {
		for name, want := range map[string]int64{
			"zk_znode_count": 6, "zk_ephemerals_count": 1, "zk_global_sessions": 1, "zk_local_sessions": 0, "zk_quorum_size": 3,
			"zk_outstanding_requests": 0,
		} {
			awaitNumber(t, want, func() int64 { return number(m, name) }, name+" of "+m.Name)
		}
		for _, name := range []string{
			"zk_packets_received", "zk_packets_sent", "zk_num_alive_connections", "zk_approximate_data_size", "zk_uptime",
			"zk_open_file_descriptor_count", "zk_max_file_descriptor_count", "zk_cnt_fsynctime",
		} {
			if got := number(m, name); got <= 0 {
				t.Errorf("%s of %s is %d", name, m.Name, got)
			}
		}
	}
	if got := number(c.Members[0], "zk_watch_count"); got != 1 {
		t.Errorf("%d watches, want 1", got)
	}
	// Who leads may change meanwhile, so it is asked for each time.
	awaitNumber(t, 2, func() int64 {
		n, _ := strconv.ParseInt(lines(ask(t, c.Leader(), "mntr"), "\t")["zk_synced_followers"], 10, 64)
		return n
	}, "zk_synced_followers of the leader")
}

// awaitNumber waits until a figure is as wanted.
func awaitNumber(t *testing.T, want int64, read func() int64, name string) {
	t.Helper()
	got := read()
	for deadline := time.Now().Add(callTimeout); got != want && time.Now().Before(deadline); got = read() {
		time.Sleep(10 * time.Millisecond)
	}
	if got != want {
		t.Errorf("%s is %d, want %d", name, got, want)
	}
}

// settingWords looks at what flags have set, in conf and by what a client gets.
func settingWords(t *testing.T, m *harness.Member, conn *zk.Conn) {
	conf := lines(ask(t, m, "conf"), "=")
	_, port, _ := strings.Cut(m.ZooKeeper, ":")
	for name, want := range map[string]string{
		"clientPort": port, "tickTime": "1000", "minSessionTimeout": "2000", "maxSessionTimeout": "60000", "maxClientCnxns": "7",
		"serverId": fmt.Sprint(uint64(conn.SessionID()) >> 56), "dataDir": m.DataDir + "/snap", "dataLogDir": m.DataDir + "/wal", "peerType": "0",
	} {
		if conf[name] != want {
			t.Errorf("conf: %s is %q, want %q", name, conf[name], want)
		}
	}
	dirs := lines(ask(t, m, "dirs"), ": ")
	if n, err := strconv.Atoi(dirs["logdir_size"]); err != nil || n == 0 || dirs["logdir_size"] != conf["dataLogSize"] {
		t.Errorf("dirs: %v; conf: %s", dirs, conf["dataLogSize"])
	}
	session := fmt.Sprintf("0x%x", uint64(conn.SessionID()))
	for word, want := range map[string]string{
		"dump": "Sessions with Ephemerals (1):\n" + session + ":\n\t/e\n",
		"wchp": "/e\n\t" + session + "\n\n",
		"wchc": session + "\n\t/e\n\n",
		"wchs": "1 connections watching 1 paths\nTotal watches:1\n",
		"envi": "Environment:\nzookeeper.version=3.9.",
		"stat": "Clients:\n /127.0.0.1:",
		"hash": "hash is not executed because it is not in the whitelist.\n",
	} {
		if got := ask(t, m, word); !strings.Contains(got, want) {
			t.Errorf("%s answers\n%s\nwant in it\n%s", word, got, want)
		}
	}
}

// superWords: the super user passes an access list that is nobody's, at every member.
func superWords(t *testing.T, c *harness.Cluster, owner *zk.Conn) {
	if _, err := owner.Create("/closed", []byte("x"), 0, zk.DigestACL(zk.PermAll, "nobody", "knows")); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.Members {
		conn := dialZooKeeper(t, m)
		if _, err := conn.Sync("/"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Get("/closed"); err != zk.ErrNoAuth {
			t.Errorf("somebody reads at %s: %v", m.Name, err)
		}
		if err := conn.AddAuth("digest", []byte(superUser)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Set("/closed", []byte(m.Name), -1); err != nil {
			t.Errorf("the super user writes at %s: %v", m.Name, err)
		}
		conn.Close()
	}
}

const kazooScript = `
import sys
from kazoo.client import KazooClient
zk = KazooClient(hosts=sys.argv[1], timeout=10)
zk.start(timeout=20)
assert zk.server_version()[:2] == (3, 9), zk.server_version()
assert zk.command(b"ruok") == "imok", zk.command(b"ruok")
assert "zk_server_state\t" in zk.command(b"mntr"), zk.command(b"mntr")
assert "Mode: " in zk.command(b"srvr")
zk.stop()
print("done")
`

// kazooWords asks with kazoo, where it is installed.
func kazooWords(t *testing.T, m *harness.Member) {
	if err := exec.Command("python3", "-c", "import kazoo").Run(); err != nil {
		t.Skip("kazoo is not installed: pip install kazoo")
	}
	out, err := exec.Command("python3", "-c", kazooScript, m.ZooKeeper).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "done" {
		t.Errorf("kazoo: %v\n%s", err, out)
	}
}
