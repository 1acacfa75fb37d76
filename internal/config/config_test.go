package config

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write docs/operating/config.md anew")

// inputs makes Inputs of flags ("name=value"), environment and the text of a file named f.yaml.
func inputs(flags, env []string, file string) Inputs {
	in := Inputs{Flags: map[string]string{}}
	environment := map[string]string{}
	for _, f := range flags {
		name, v, _ := strings.Cut(f, "=")
		in.Flags[name] = v
	}
	for _, e := range env {
		name, v, _ := strings.Cut(e, "=")
		environment[name] = v
	}
	in.LookupEnv = func(name string) (string, bool) { v, ok := environment[name]; return v, ok }
	in.ReadFile = func(name string) ([]byte, error) {
		if name != "f.yaml" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return []byte(file), nil
	}
	return in
}

func TestDefaultIsAValidSingleMember(t *testing.T) {
	got, err := Load(inputs(nil, nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("without inputs (-default +loaded):\n%s", diff)
	}
	want := []Member{{Name: "default", PeerURLs: []string{"http://127.0.0.1:2380"}}}
	if diff := cmp.Diff(want, got.InitialCluster); diff != "" {
		t.Errorf("initial cluster (-want +got):\n%s", diff)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := "name: from-file\ndata-dir: from-file\nlog-level: warn\nelection-timeout: 2000\nlisten-client-urls: [http://127.0.0.1:1, http://127.0.0.1:2]\n"
	got, err := Load(inputs(
		[]string{"config-file=f.yaml", "name=from-flag"},
		[]string{"OKAPI_NAME=from-env", "OKAPI_DATA_DIR=from-env", "OKAPI_TREE_HISTORY=1h"}, file))
	if err != nil {
		t.Fatal(err)
	}
	type origin struct {
		Value  string
		Source Source
	}
	want := map[string]origin{
		"config-file":           {"f.yaml", FromFlag},
		"name":                  {"from-flag", FromFlag},
		"data-dir":              {"from-env", FromEnv},
		"tree-history":          {"1h0m0s", FromEnv},
		"log-level":             {"warn", FromFile},
		"election-timeout":      {"2000", FromFile},
		"listen-client-urls":    {"http://127.0.0.1:1,http://127.0.0.1:2", FromFile},
		"advertise-client-urls": {"http://127.0.0.1:1,http://127.0.0.1:2", FromDefault},
		"initial-cluster":       {"from-flag=http://127.0.0.1:2380", FromDefault},
		"heartbeat-interval":    {"100", FromDefault},
	}
	for _, s := range got.Settings() {
		if w, ok := want[s.Flag]; ok {
			if diff := cmp.Diff(w, origin{s.Value, s.Source}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.Flag, diff)
			}
		}
	}
	if printed := got.String(); !strings.Contains(printed, "data-dir=from-env (environment)\n") {
		t.Errorf("printed back:\n%s", printed)
	}
}

// digest is what "super:secret" may be given as.
const digest = "super:AAECAwQFBgcICQoLDA0ODxAREhM="

func TestCommandLineOfAMember(t *testing.T) {
	got, err := Load(inputs([]string{
		"name=n2", "data-dir=/var/lib/okapi",
		"listen-client-urls=http://10.0.0.2:2379", "advertise-client-urls=http://two.example:2379",
		"listen-zookeeper=10.0.0.2:2181", "listen-peer-urls=http://10.0.0.2:2380",
		"initial-advertise-peer-urls=http://two.example:2380",
		"initial-cluster=n1=http://one.example:2380,n2=http://two.example:2380, n1=http://one.example:12380",
		"initial-cluster-state=existing", "initial-cluster-token=T", "tree-prefix=/a/b", "log-level=debug",
		"snapshot-bytes=8MiB", "snapshot-rate=1MiB", "disk-reserve=1GiB", "quota-backend-bytes=-1", "tree-quota-bytes=2GiB", "max-request-bytes=1048576",
		"max-txn-ops=256", "max-client-connections=6", "max-concurrent-streams=7", "max-leases=8", "max-watches-per-stream=9", "watch-progress-notify-interval=5s", "heartbeat-interval=50", "election-timeout=500", "tree-history=1h", "reap-interval=3s",
		"zookeeper-4lw-whitelist=mntr,stat", "zookeeper-super-digest=" + digest, "zookeeper-tick-time=3000",
		"zookeeper-min-session-timeout=1000", "zookeeper-max-session-timeout=90000", "zookeeper-max-client-cnxns=0",
		"zookeeper-max-cnxns=100", "zookeeper-max-watches-per-connection=11", "zookeeper-max-watches=12", "zookeeper-max-sessions=13",
		"zookeeper-jute-maxbuffer=4MiB",
	}, nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Name: "n2", DataDir: "/var/lib/okapi", SnapshotBytes: 8 << 20, SnapshotRate: 1 << 20, DiskReserveBytes: 1 << 30,
		ListenClientURLs: []string{"http://10.0.0.2:2379"}, AdvertiseClientURLs: []string{"http://two.example:2379"},
		ListenZooKeeper: []string{"10.0.0.2:2181"}, ListenPeerURLs: []string{"http://10.0.0.2:2380"},
		InitialAdvertisePeerURLs: []string{"http://two.example:2380"},
		InitialCluster: []Member{
			{"n1", []string{"http://one.example:2380", "http://one.example:12380"}},
			{"n2", []string{"http://two.example:2380"}},
		},
		InitialClusterState: StateExisting, InitialClusterToken: "T",
		HeartbeatIntervalMS: 50, ElectionTimeoutMS: 500,
		TreePrefix: "/a/b", TreeHistory: time.Hour, ReapInterval: 3 * time.Second, QuotaBackendBytes: -1, TreeQuotaBytes: 2 << 30,
		MaxRequestBytes: 1 << 20, MaxTxnOps: 256, MaxClientConnections: 6, MaxConcurrentStreams: 7, MaxLeases: 8, MaxWatchesPerStream: 9, WatchProgressInterval: 5 * time.Second, LogLevel: "debug",
		ZooKeeperWords: []string{"mntr", "stat"}, ZooKeeperSuperDigest: digest, ZooKeeperTickTimeMS: 3000,
		ZooKeeperSessionTimeoutMinMS: 1000, ZooKeeperSessionTimeoutMaxMS: 90_000,
		ZooKeeperConnections: 100, ZooKeeperConnectionWatches: 11, ZooKeeperWatches: 12, ZooKeeperSessions: 13, ZooKeeperFrameBytes: 4 << 20,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

// Each case breaks one thing and names the words that the one line about it must have.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		flags string // separated by blanks
		want  string
	}{
		{"name=", "--name: "},
		{"name=a=b", "--name: "},
		{"data-dir=", "--data-dir: is empty"},
		{"snapshot-bytes=1", "--snapshot-bytes: 1: want at least"},
		{"snapshot-bytes=1TB", `--snapshot-bytes: "1TB": want a number of bytes`},
		{"snapshot-bytes=99999999999GiB", "--snapshot-bytes: "},
		{"log-level=loud", "--log-level: "},
		{"listen-client-urls=127.0.0.1:2379", `--listen-client-urls: "127.0.0.1:2379": want a URL`},
		{"listen-client-urls=http://127.0.0.1:2379/x advertise-client-urls=http://a:1", "--listen-client-urls: "},
		{"listen-client-urls=http://127.0.0.1:99999 advertise-client-urls=http://a:1", "--listen-client-urls: "},
		{"listen-client-urls=http://h.example:1", "IP address or localhost"},
		{"listen-client-urls=https://127.0.0.1:1", "TLS for clients"},
		{"listen-client-urls=http://127.0.0.1:1,,http://127.0.0.1:2", "separated by commas"},
		{"listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls: http://0.0.0.0:2379: others cannot connect"},
		{"listen-client-urls= listen-zookeeper=", "neither kind of clients"},
		{"listen-zookeeper=2181", "--listen-zookeeper: "},
		{"listen-zookeeper=127.0.0.1:2379", "127.0.0.1:2379 is taken by --listen-client-urls"},
		{"listen-peer-urls= initial-advertise-peer-urls=http://127.0.0.1:2380", "--listen-peer-urls: is empty"},
		{"listen-peer-urls=https://127.0.0.1:2380 initial-advertise-peer-urls=http://127.0.0.1:2380", "https needs --peer-cert-file"},
		{"initial-cluster=other=http://127.0.0.1:2380", "does not name this member"},
		{"initial-cluster=default=http://127.0.0.1:1", "make them equal"},
		{"initial-cluster=default=http://127.0.0.1:2380,n2=http://127.0.0.1:2380", "stands for both default and n2"},
		{"initial-cluster=http://127.0.0.1:2380", "want name=URL"},
		{"initial-cluster-state=old", "want new or existing"},
		{"initial-cluster-token=", "--initial-cluster-token: "},
		{"heartbeat-interval=0", "--heartbeat-interval: "},
		{"heartbeat-interval=100ms", "whole number of milliseconds"},
		{"heartbeat-interval=300", "--election-timeout: 1000 ms: want at least 5 times"},
		{"election-timeout=60000", "--election-timeout: 60000 ms: want at most"},
		{"tree-prefix=zk", "--tree-prefix: "},
		{"tree-prefix=/zk/", "--tree-prefix: "},
		{"tree-prefix=/a//b", "--tree-prefix: "},
		{"tree-history=10", "want a duration"},
		{"tree-history=-1s", "--tree-history: "},
		{"reap-interval=99ms", "100ms at least"},
		{"zookeeper-4lw-whitelist=ruok,what", `--zookeeper-4lw-whitelist: "what": want ZooKeeper's words`},
		{"zookeeper-super-digest=super:secret", "--zookeeper-super-digest: want user:base64(sha1(user:password))"},
		{"zookeeper-tick-time=1", "--zookeeper-tick-time: 1 ms: want 10 to"},
		{"zookeeper-min-session-timeout=1", "--zookeeper-min-session-timeout: 1 ms"},
		{"zookeeper-min-session-timeout=50000", "--zookeeper-max-session-timeout: 40000 ms: want at least the shortest timeout (50000)"},
		{"zookeeper-max-session-timeout=99999999999", "--zookeeper-max-session-timeout: "},
		{"zookeeper-max-client-cnxns=-1", "--zookeeper-max-client-cnxns: "},
		{"zookeeper-max-cnxns=0", "--zookeeper-max-cnxns: "},
		{"zookeeper-max-watches-per-connection=0", "--zookeeper-max-watches-per-connection: "},
		{"zookeeper-max-watches=0", "--zookeeper-max-watches: "},
		{"zookeeper-max-sessions=0", "--zookeeper-max-sessions: "},
		{"max-client-connections=0", "--max-client-connections: "},
		{"zookeeper-jute-maxbuffer=100", "--zookeeper-jute-maxbuffer: "},
		{"max-request-bytes=10", "--max-request-bytes: "},
		{"max-txn-ops=0", "--max-txn-ops: "},
		{"watch-progress-notify-interval=99ms", "--watch-progress-notify-interval: 99ms: want at least 100ms"},
		{"quota-backend-bytes=-2", "--quota-backend-bytes: "},
		{"tree-quota-bytes=-2", "--tree-quota-bytes: "},
		{"peer-trusted-ca-file=config_test.go", "--peer-trusted-ca-file: needs"},
		{"config-file=none.yaml", "--config-file: open none.yaml: file does not exist: name a file"},
	} {
		_, err := Load(inputs(strings.Fields(c.flags), nil, ""))
		problems, ok := err.(Problems)
		if !ok {
			t.Errorf("%s: error is %v, want Problems", c.flags, err)
			continue
		}
		if len(problems) != 1 || !strings.Contains(problems[0], c.want) || strings.Contains(problems[0], "\n") {
			t.Errorf("%s: problems are %q, want one line with %q", c.flags, problems, c.want)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Load(inputs([]string{"data-dir=", "log-level=x"}, []string{"OKAPI_TREE_PREFIX=x"}, ""))
	problems, _ := err.(Problems)
	if len(problems) != 3 || !strings.HasPrefix(problems[2], "OKAPI_TREE_PREFIX: ") {
		t.Errorf("problems are %q, want three, the last about OKAPI_TREE_PREFIX", problems)
	}
}

// A text that cannot be read hides no other problem, and nothing is said about what would only be
// wrong beside the default that stands in for it.
func TestUnreadableTextHidesNothing(t *testing.T) {
	_, err := Load(inputs([]string{
		"heartbeat-interval=x", "election-timeout=200", "max-txn-ops=0", "initial-advertise-peer-urls=,",
		"initial-cluster=default=http://10.0.0.1:2380",
	}, nil, ""))
	problems, _ := err.(Problems)
	want := []string{"--initial-advertise-peer-urls: \",\"", "--heartbeat-interval: \"x\"", "--max-txn-ops: 0"}
	if len(problems) != len(want) {
		t.Fatalf("problems are %q, want %d", problems, len(want))
	}
	for i := range want {
		if !strings.HasPrefix(problems[i], want[i]) {
			t.Errorf("problem %d is %q, want %q", i, problems[i], want[i])
		}
	}
}

func TestPeerTLS(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.pem")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := []string{"peer-cert-file=" + file, "peer-key-file=" + file, "peer-trusted-ca-file=" + file, "listen-peer-urls=https://127.0.0.1:2380"}
	got, err := Load(inputs(flags, nil, ""))
	if err != nil || !got.PeerTLS() {
		t.Errorf("TLS is %v, error %v", got.PeerTLS(), err)
	}
	for _, c := range []struct{ flags, want string }{
		{"peer-key-file=" + file, "--peer-cert-file: needs --peer-key-file"},
		{"peer-cert-file=" + file + " peer-key-file=" + file, "use https"},
		{"peer-cert-file=" + file + " peer-key-file=" + file + " listen-peer-urls=https://127.0.0.1:2380", "--peer-cert-file: needs --peer-trusted-ca-file"},
		{"peer-cert-file=" + file + " listen-peer-urls=https://127.0.0.1:2380 peer-key-file=" + dir + "/none.pem", "--peer-key-file: open"},
	} {
		if _, err := Load(inputs(strings.Fields(c.flags), nil, "")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.flags, err, c.want)
		}
	}
}

func TestFileIsStrict(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"nmae: x\n", `unknown setting "nmae": remove it or correct its name (perhaps name)`},
		{"data_dri: x\n", "(perhaps data-dir)"},
		{"name: a\nname: b\n", "not a list"},
		{"name: {a: b}\n", "name: want a text"},
		{"name: null\n", "name: want a text"},
		{"config-file: other.yaml\n", "unknown setting"},
		{"- a\n", "not a list"},
		{"max-txn-ops: 1.5\n", `max-txn-ops in the configuration file: "1.5": want a whole number`},
	} {
		_, err := Load(inputs(nil, []string{"OKAPI_CONFIG_FILE=f.yaml"}, c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line with %q", c.file, err, c.want)
		}
	}
}

// What is printed can be read again: a file made of the values gives the same configuration.
func TestSettingsCanBeReadBack(t *testing.T) {
	c := Default()
	flags := []string{}
	for _, s := range c.Settings() {
		flags = append(flags, s.Flag+"="+s.Value)
	}
	got, err := Load(inputs(flags, nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("read back (-default +got):\n%s", diff)
	}
}

// A secret is not shown.
func TestSecretsAreHidden(t *testing.T) {
	c, err := Load(inputs([]string{"zookeeper-super-digest=" + digest}, nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	if printed := c.String(); strings.Contains(printed, digest) || !strings.Contains(printed, "zookeeper-super-digest=(hidden) (flag)\n") {
		t.Errorf("printed back:\n%s", printed)
	}
}

// Every exported field is bound to exactly one setting.
func TestEveryFieldHasASetting(t *testing.T) {
	var c Config
	bound := map[any]string{}
	for _, r := range c.rows() {
		to := reflect.ValueOf(r.value).FieldByName("to").Pointer()
		if other, taken := bound[to]; taken {
			t.Errorf("%s and %s are bound to one field", other, r.flag)
		}
		bound[to] = r.flag
	}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		if _, ok := bound[v.Field(i).Addr().Pointer()]; !ok {
			t.Errorf("field %s has no setting", field.Name)
		}
		delete(bound, v.Field(i).Addr().Pointer())
	}
	for _, flag := range bound {
		t.Errorf("setting %s is bound to no field", flag)
	}
}

// TestDocument keeps docs/operating/config.md equal to the table of settings; with -update it
// writes the file.
func TestDocument(t *testing.T) {
	name := filepath.Join("..", "..", "docs", "operating", "config.md")
	want := document()
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the settings say; run: go generate ./internal/config\n%s", name, diff)
	}
}

const documentHead = `# Configuration

<!-- Made from the table of settings in internal/config by "go generate ./internal/config". -->

Every setting of ` + "`okapi serve`" + ` has a flag, a name in the environment, and a key in a YAML file, which is the
name of the flag without dashes in front. A flag is stronger than the environment, the environment than the
file, the file than the default. An unknown key in the file is an error. All problems are reported at once,
before anything is started or touched.

Lists are separated by commas; in the file they may be YAML lists. Numbers of bytes may have a unit: KiB, MiB
or GiB.

` + "```yaml" + `
# okapi serve --config-file okapi.yaml
name: n1
data-dir: /var/lib/okapi
listen-client-urls: [http://127.0.0.1:2379]
listen-zookeeper: 127.0.0.1:2181
tree-history: 30m
` + "```" + `
`

func document() string {
	var out strings.Builder
	out.WriteString(documentHead)
	group := ""
	c := Default()
	for _, s := range c.Settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&out, "\n## %s\n\n| flag | environment | written as | default | |\n|---|---|---|---|---|\n", group)
		}
		shown := s.DefaultNote
		if shown == "" && s.Default != "" {
			shown = "`" + s.Default + "`"
		}
		fmt.Fprintf(&out, "| `--%s` | `%s` | %s | %s | %s |\n", s.Flag, s.Env, s.Kind, shown, s.Doc)
	}
	return out.String()
}
