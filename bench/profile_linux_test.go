package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

var profileFile = flag.String("profile.file", "", "where TestProfile writes the profile that the compiler optimises after")

const (
	profileRounds   = 4
	profileRequests = 40_000
)

// TestProfile finds out what three members do under load through both doors, for the compiler. The profile is that of all
// members, so that what a leader does and what the others do is in it.
func TestProfile(t *testing.T) {
	wanted(t)
	if *profileFile == "" {
		t.Skip("no -profile.file to write to")
	}
	binary := filepath.Join(t.TempDir(), "okapi")
	if out, err := exec.Command("go", "build", "-C", "..", "-pgo=off", "-tags", "profile", "-o", binary, "./cmd/okapi").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	profiles := filepath.Join(t.TempDir(), "cpu")
	members, initial := newMembers(t, compareMembers)
	for i, m := range members {
		t.Setenv("OKAPI_CPU_PROFILE", fmt.Sprint(profiles, i))
		m.start(binary, append([]string{"serve", "--listen-zookeeper", m.zooKeeper}, m.etcdFlags(fmt.Sprintf("n%d", i), initial)...)...)
	}
	waitReady(members)
	zkLoad{t: t, members: members[:1], conns: 1, depth: 100, total: parents + 1}.run(parent)
	for round := range profileRounds {
		t.Logf("profile: round %d of %d", round+1, profileRounds)
		profileRound(t, members, round)
	}
	for _, m := range members {
		if err := m.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	merge := []string{"tool", "pprof", "-proto", "-output", *profileFile}
	for i := range members {
		merge = append(merge, awaitFile(t, fmt.Sprint(profiles, i, ".done")))
	}
	if out, err := exec.Command("go", merge...).CombinedOutput(); err != nil {
		t.Fatalf("merge profiles: %v\n%s", err, out)
	}
}

// profileRound plays each kind of request that the comparison knows, to nodes and keys of the round.
func profileRound(t *testing.T, members []*member, round int) {
	z := zkLoad{t: t, members: members, conns: compareConns, depth: compareDepth, total: profileRequests}
	for _, request := range []func([]byte, int32, int) []byte{create, setData, getData} {
		z.run(func(b []byte, xid int32, i int) []byte { return request(b, xid, round*profileRequests+i) })
	}
	g := grpcLoad{t: t, members: members, conns: compareConns, callers: compareCallers, total: profileRequests}
	for _, request := range []func(etcdserverpb.KVClient, int) error{put, get, getAnywhere} {
		g.run(func(kv etcdserverpb.KVClient, i int) error { return request(kv, round*profileRequests+i) })
	}
}

// awaitFile waits until a file is there.
func awaitFile(t *testing.T, name string) string {
	t.Helper()
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	t.Fatalf("%s does not come", name)
	return ""
}
