package bench

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The servers that okapi is compared with run as their makers ship them, with what a careful operator would set: no
// TLS, quiet logs, every write synced, a heap that does not grow.

// buildEtcd makes the etcd that test/etcdserver pins.
func buildEtcd(t testing.TB) string {
	return buildIn(t, "../test/etcdserver", "github.com/okapi-kv/okapi/test/etcdserver")
}

// buildBenchmark makes the load generator of etcd's own project that test/etcdbenchmark pins.
func buildBenchmark(t testing.TB) string {
	return buildIn(t, "../test/etcdbenchmark", "go.etcd.io/etcd/v3/tools/benchmark")
}

// moduleVersion is the version of a module in a program.
func moduleVersion(t testing.TB, binary, module string) string {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			return m.Version
		}
	}
	t.Fatalf("%s is not made of %s", binary, module)
	return ""
}

// startEtcd starts n members of the real etcd.
func startEtcd(t testing.TB, binary string, n int) []*member {
	t.Helper()
	members, initial := newMembers(t, n)
	for i, m := range members {
		m.zooKeeper = ""
		// Of errors it logs some in any start; what ends it is logged at a higher level.
		m.start(binary, append(m.etcdFlags(fmt.Sprintf("n%d", i), initial), "--log-level", "panic")...)
	}
	waitReady(members)
	return members
}

// zooKeeperJars returns the folder with ZooKeeper and what it needs.
func zooKeeperJars(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("../dev/jars")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dev/jars: %v", err)
	}
	return string(bytes.TrimSpace(out))
}

// zooKeeperVersion is the version of ZooKeeper in the folder.
func zooKeeperVersion(t testing.TB, jars string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(jars, "zookeeper-[0-9]*.jar"))
	if err != nil || len(found) != 1 {
		t.Fatalf("ZooKeeper in %s: %v, %v; want one jar", jars, found, err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), "zookeeper-"), ".jar")
}

// startZooKeeper starts an ensemble of n members of the real ZooKeeper. It logs nothing, because among its libraries there is
// none that would. Followers wait long for a leader that says nothing, since all of them are paused now and then; nothing else
// depends on syncLimit.
func startZooKeeper(t testing.TB, jars string, n int) []*member {
	t.Helper()
	members, _ := newMembers(t, n)
	electionPorts := freePorts(t, n)
	var servers strings.Builder
	for i, m := range members {
		_, election, err := net.SplitHostPort(electionPorts[i])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&servers, "server.%d=%s:%s\n", i+1, m.peer, election)
		m.client = ""
	}
	for i, m := range members {
		_, port, err := net.SplitHostPort(m.zooKeeper)
		if err != nil {
			t.Fatal(err)
		}
		write := func(name, text string) string {
			path := filepath.Join(m.dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		if err := os.MkdirAll(m.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write("myid", fmt.Sprint(i+1))
		config := write("zoo.cfg", fmt.Sprintf("dataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%s\nmaxClientCnxns=0\n"+
			"tickTime=2000\ninitLimit=10\nsyncLimit=1000\nadmin.enableServer=false\n4lw.commands.whitelist=*\n%s", m.dir, port, &servers))
		m.start("java", "-Xms1g", "-Xmx1g", "-Dzookeeper.forceSync=yes", "-Dslf4j.internal.verbosity=ERROR", "-cp", filepath.Join(jars, "*"),
			"org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	}
	waitReady(members)
	return members
}

// pause stops members without ending them: they keep their memory, a JVM what it has compiled, and use no processor.
func pause(members []*member) { signal(members, syscall.SIGSTOP) }

// resume lets members go on, and waits until they serve.
func resume(members []*member) {
	signal(members, syscall.SIGCONT)
	waitReady(members)
}

func signal(members []*member, sig syscall.Signal) {
	for _, m := range members {
		if err := m.cmd.Process.Signal(sig); err != nil {
			m.t.Fatalf("send %v to %v: %v", sig, m.cmd, err)
		}
	}
}
