package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Jars returns the folder with the Java libraries of the tests, which dev/jars knows. It is called from a folder of the
// project. An error says what is missing.
func Jars() (string, error) {
	root, err := ProjectRoot()
	if err != nil {
		return "", err
	}
	var messages strings.Builder
	cmd := exec.Command(filepath.Join(root, "dev", "jars"))
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("dev/jars: %w: %s", err, strings.TrimSpace(messages.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// RequireJars returns the folder with the Java libraries, or skips the test, or fails it if the environment says that
// clients must be there.
func RequireJars(t testing.TB) string {
	t.Helper()
	dir, err := Jars()
	switch {
	case err == nil:
		return dir
	case os.Getenv(EnvRequireClients) == "1":
		t.Fatal(err)
	}
	t.Skip("skipped: " + err.Error())
	return ""
}

// LikeZooKeeper are flags that make okapi do what NewZooKeeper's servers do: containers and TTL nodes stay, and every
// word of four letters is answered.
var LikeZooKeeper = []string{"--reap-interval", "1000h", "--zookeeper-4lw-whitelist", "*", "--log-level", "error"}

// NewZooKeeper makes a real ZooKeeper that stands alone, on a free port of the loopback interface, and does not start it. It
// is a member whose only door is ZooKeeper's. Containers and TTL nodes stay until they are deleted, unless properties (as
// "-Dname=value") say otherwise; words of four letters are all answered.
func NewZooKeeper(t testing.TB, jars string, properties ...string) *Member {
	t.Helper()
	dir := t.TempDir()
	m := &Member{t: t, Program: "java", Name: "zookeeper", ZooKeeper: freePorts(t, 1)[0], DataDir: filepath.Join(dir, "data")}
	m.log = filepath.Join(dir, "zookeeper.log")
	config := filepath.Join(dir, "zoo.cfg")
	host, port, err := net.SplitHostPort(m.ZooKeeper)
	if err != nil {
		t.Fatalf("address of ZooKeeper: %v", err)
	}
	text := fmt.Sprintf("tickTime=2000\ndataDir=%s\nclientPortAddress=%s\nclientPort=%s\nmaxClientCnxns=0\n"+
		"admin.enableServer=false\n4lw.commands.whitelist=*\nextendedTypesEnabled=true\n", m.DataDir, host, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatalf("write the configuration of ZooKeeper: %v", err)
	}
	m.args = append([]string{
		"-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(jars, "*"),
		// A test that kills it kills a process and not a machine.
		"-Dzookeeper.forceSync=no",
		// The schemes that okapi takes into access lists.
		"-Dzookeeper.authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
		"-Dzookeeper.authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
		"-Dznode.container.checkIntervalMs=1000000000",
	}, properties...)
	m.args = append(m.args, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	t.Cleanup(m.Kill)
	return m
}
