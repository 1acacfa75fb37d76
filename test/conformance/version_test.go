package conformance

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestOracleVersion sees that what okapi is compared with is of one release, and of the line that okapi says it is.
func TestOracleVersion(t *testing.T) {
	harness.RequireEtcd(t, tools)
	etcdutl, err := harness.Etcdutl(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`version:? +(\d+\.\d+\.\d+)`)
	var oracle string
	for _, command := range [][]string{{tools.Etcd, "--version"}, {tools.Etcdctl, "version"}, {etcdutl, "version"}} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
		found := version.FindStringSubmatch(strings.ToLower(string(out)))
		if found == nil {
			t.Fatalf("%s says %q", strings.Join(command, " "), out)
		}
		if oracle == "" {
			oracle = found[1]
		}
		if found[1] != oracle {
			t.Errorf("%s is of version %s, etcd of %s", command[0], found[1], oracle)
		}
	}
	line := oracle[:strings.LastIndex(oracle, ".")+1]
	if served := servedVersion(t, startOkapi(t)); !strings.HasPrefix(served, line) {
		t.Errorf("okapi says that it is etcd %s, and is compared with %s", served, oracle)
	}
}

// servedVersion is the version of etcd that a server says it is.
func servedVersion(t *testing.T, m *harness.Member) string {
	response, err := http.Get("http://" + m.Client + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Server string `json:"etcdserver"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Server
}
