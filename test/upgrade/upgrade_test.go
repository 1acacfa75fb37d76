package upgrade

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

// lookTwice is longer than the leader takes between two looks at what all members understand.
const lookTwice = 2500 * time.Millisecond

// TestNextLevel upgrades from the working tree to a program that is the same but for a feature level more, as a next release may have. It needs
// no release, and shows that the level waits for the last member, and that the old program is refused then.
func TestNextLevel(t *testing.T) {
	root, err := harness.ProjectRoot()
	if err != nil {
		t.Fatal(err)
	}
	next, err := harness.BuildOkapi(root, filepath.Join(t.TempDir(), "okapi-next"), "-tags", "okapi_nextlevel")
	if err != nil {
		t.Fatal(err)
	}
	if was, is := understands(t, tools.Okapi), understands(t, next); is != was+1 {
		t.Fatalf("the program understands level %d, the next one %d", was, is)
	}
	roll(t, tools.Okapi, next)
}

// TestLastRelease upgrades from the last tagged release to the working tree.
func TestLastRelease(t *testing.T) {
	tag, old := lastRelease(t)
	t.Logf("upgrade: from %s to the working tree", tag)
	roll(t, old, tools.Okapi)
}

// roll upgrades three members, one by one, under load through both doors.
func roll(t *testing.T, old, next string) {
	before, after := understands(t, old), understands(t, next)
	cluster := harness.NewCluster(t, harness.Tools{Okapi: old}, 3, "--log-level", "info")
	cluster.Start()
	l := startLoad(t, cluster)
	for i, m := range cluster.Members {
		expectLevel(t, cluster, before)
		began := time.Now()
		m.Terminate()
		m.Program = next
		m.Start()
		m.WaitReady()
		t.Logf("upgrade: %s runs the new program after %v", m.Name, time.Since(began).Round(time.Millisecond))
		l.progress()
		if i < len(cluster.Members)-1 {
			lead(t, m) // Only a new leader could raise the level.
			time.Sleep(lookTwice)
		}
	}
	harness.Eventually(t, "the feature level rises when all members are new", func() string {
		if have := level(t, cluster.Members[0]); have != after {
			return "it is " + strconv.Itoa(have)
		}
		return ""
	})
	l.progress()
	comeBack(t, cluster, old, before < after)
	l.progress()
	l.finish(cluster)
	cluster.Terminate()
}

// comeBack starts a member with the old program once more, which must not do if the level has risen, and then with the new one.
func comeBack(t *testing.T, cluster *harness.Cluster, old string, refused bool) {
	t.Helper()
	m := cluster.Others(cluster.Leader())[0]
	m.Terminate()
	next := m.Program
	m.Program = old
	m.Start()
	if refused {
		m.WaitRefused("the cluster uses features that this okapi is too old for: start a newer one on the same --data-dir")
	} else {
		m.WaitReady()
		m.Terminate()
	}
	t.Logf("upgrade: %s with the old program again: refused is %v", m.Name, refused)
	m.Program = next
	m.Start()
	m.WaitReady()
}

// lead moves the leader to a member.
func lead(t *testing.T, m *harness.Member) {
	t.Helper()
	if answer := tools.RunOkapi(t, "member", "move-leader", m.Name, "--endpoints", "http://"+m.Client); answer.Failed() {
		t.Fatalf("okapi member move-leader %s: %v", m.Name, answer)
	}
}

// level is the feature level that a member says the cluster has.
func level(t *testing.T, m *harness.Member) int {
	t.Helper()
	answer := tools.RunOkapi(t, "member", "list", "--json", "--endpoints", "http://"+m.Client)
	var said struct{ Level int }
	if answer.Failed() || json.Unmarshal([]byte(answer.Out), &said) != nil {
		t.Fatalf("okapi member list at %s: %v", m.Name, answer)
	}
	return said.Level
}

func expectLevel(t *testing.T, cluster *harness.Cluster, want int) {
	t.Helper()
	for _, m := range cluster.Members {
		if have := level(t, m); have != want {
			t.Errorf("%s says that the feature level is %d, want %d while a member is old", m.Name, have, want)
		}
	}
}

// understands is the highest feature level that a program says it understands.
func understands(t *testing.T, binary string) int {
	t.Helper()
	answer := harness.Tools{Okapi: binary}.RunOkapi(t, "version")
	found := regexp.MustCompile(`(?m)^feature level (\d+)$`).FindStringSubmatch(answer.Out)
	if found == nil {
		t.Fatalf("okapi version does not say which feature level it understands: %v", answer)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lastRelease builds the last tagged release that the working tree comes from, in a working tree of its own. It skips the test where there is none;
// one that cannot be built fails it if the environment says that what a test needs must be there.
func lastRelease(t *testing.T) (tag, binary string) {
	t.Helper()
	root, err := harness.ProjectRoot()
	if err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if tag, err = git("describe", "--tags", "--abbrev=0", "--match", "v*"); err != nil {
		t.Skipf("skipped: no release to upgrade from: git describe: %v: %s", err, tag)
	}
	missing := t.Skipf
	if os.Getenv(harness.EnvRequireClients) == "1" {
		missing = t.Fatalf
	}
	sources := filepath.Join(t.TempDir(), "release")
	if out, err := git("worktree", "add", "--detach", sources, tag); err != nil {
		missing("%s cannot be checked out: %v: %s", tag, err, out)
	}
	t.Cleanup(func() {
		if out, err := git("worktree", "remove", "--force", sources); err != nil {
			t.Errorf("remove the working tree of %s: %v: %s", tag, err, out)
		}
	})
	if binary, err = harness.BuildOkapi(sources, filepath.Join(t.TempDir(), "okapi-"+tag)); err != nil {
		missing("%s cannot be built: %v", tag, err)
	}
	return tag, binary
}
