package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
	"github.com/okapi-kv/okapi/test/scenarios"
)

// eachServer runs a test against the real etcd, which proves the test, and against okapi.
func eachServer(t *testing.T, test func(t *testing.T, m *harness.Member)) {
	harness.RequireEtcd(t, tools)
	t.Run("etcd", func(t *testing.T) { test(t, startEtcd(t)) })
	t.Run("okapi", func(t *testing.T) { test(t, startOkapi(t)) })
}

// startEtcd starts one member of the real etcd, empty.
func startEtcd(t *testing.T) *harness.Member {
	m := harness.NewEtcd(t, tools)
	m.Start()
	m.WaitReady()
	return m
}

// startOkapi starts one member of okapi, empty.
func startOkapi(t *testing.T) *harness.Member {
	cluster := harness.NewCluster(t, tools, 1)
	cluster.Start()
	return cluster.Members[0]
}

// TestClient37 plays the scenarios with the client of etcd 3.7.
func TestClient37(t *testing.T) {
	eachServer(t, func(t *testing.T, m *harness.Member) {
		scenarios.RunAll(t, m.Client)
	})
}

// starts are the lines that say that a test begins.
var starts = regexp.MustCompile(`(?m)^=== RUN .*\n`)

// TestClient35 plays them with the client of etcd 3.5, which is another program: its API has other generated
// code, and the two cannot be in one.
func TestClient35(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "client35.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = "../scenarios"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the scenarios with the client of etcd 3.5: %v\n%s", err, out)
	}
	eachServer(t, func(t *testing.T, m *harness.Member) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.v")
		cmd.Env = append(os.Environ(), "OKAPI_ENDPOINT="+m.Client)
		out, err := cmd.CombinedOutput()
		t.Logf("%s", starts.ReplaceAll(out, nil))
		if err != nil {
			t.Errorf("the scenarios with the client of etcd 3.5: %v", err)
		}
	})
}
