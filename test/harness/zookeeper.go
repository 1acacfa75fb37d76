package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// EnvZooKeeperJars names a folder with the libraries of ZooKeeper 3.9 and Curator; otherwise Maven brings those of
// test/java/pom.xml and they are kept in the user's cache.
const EnvZooKeeperJars = "OKAPI_ZOOKEEPER_JARS"

// Jars returns the folder with the Java libraries of the tests. It is called from a folder of this module. An error says
// what is missing.
func Jars() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", errors.New("no java to run ZooKeeper")
	}
	if dir := os.Getenv(EnvZooKeeperJars); dir != "" {
		return dir, nil
	}
	root, err := projectRoot()
	if err != nil {
		return "", err
	}
	pom := filepath.Join(root, "test", "java", "pom.xml")
	text, err := os.ReadFile(pom)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(cache, "okapi-test", "jars-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, copyJars(pom, dir)
}

// copyJars makes Maven copy the libraries that a pom names. The folder appears when it is complete: tests of several packages
// may be at it at once.
func copyJars(pom, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	cmd := exec.Command("mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", "-DoutputDirectory="+part)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the libraries of %s with mvn: %w\n%s", pom, err, out)
	}
	if err := os.Rename(part, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return err
		}
	}
	return nil
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
	m := &Member{t: t, binary: "java", Name: "zookeeper", ZooKeeper: freePorts(t, 1)[0], DataDir: filepath.Join(dir, "data")}
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
