package bench

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

var (
	compareRounds = flag.Int("compare.rounds", 5, "rounds of the comparison with etcd and ZooKeeper")
	compareJSON   = flag.String("compare.json", "", "file for the figures of the comparison, as JSON lines")
)

// TestCompare plays the same requests to okapi, etcd and ZooKeeper, three members each, and shows what they took. It promises
// nothing; TestCluster5 does.
func TestCompare(t *testing.T) {
	wanted(t)
	compare(t)
}

// TestCluster5 is TestCompare with the promises that it holds okapi to.
func TestCluster5(t *testing.T) {
	wanted(t)
	c := compare(t)
	for _, l := range []limit{{"put", rate, 2}, {"get, linearizable", rate, 1.5}, {"put", serverCPU, 1.0 / 3}} {
		l.hold(c, "etcd")
	}
	for _, l := range []limit{{"create", rate, 3}, {"getData", rate, 1.8}, {"create", serverCPU, 1.0 / 3}} {
		l.hold(c, "ZooKeeper")
	}
}

const (
	compareMembers = 3
	compareConns   = 100
	compareCallers = 1000   // callers of etcd's API, ten on a connection
	compareDepth   = 10     // requests of a ZooKeeper client under way
	compareKeys    = 30_000 // that a round puts
	compareNodes   = 60_000 // that a round creates
	wakeRequests   = 2000   // before a load, so that members and their links have been used since they were paused
)

// contestant is a cluster, which is paused unless it is its turn.
type contestant struct {
	name    string
	members []*member
}

// workload is one kind of request, made of okapi and of its peer in the same way.
type workload struct {
	name  string
	total int // requests in a round
	// run makes the requests. Every round has keys and nodes of its own.
	run func(members []*member, round, total int) outcome
}

// contest is okapi and a peer that does the same.
type contest struct {
	okapi, peer contestant
	workloads   []workload
	// wake makes some requests that are not counted.
	wake func(members []*member)
}

// compare plays every round to every contestant. okapi stands twice, once beside etcd and once beside ZooKeeper, each a cluster of
// its own, so that both of a pair have seen the same requests. Round 0 warms up and does not count: a JVM has to compile.
func compare(t *testing.T) *comparison {
	if *compareRounds < 1 {
		t.Fatalf("%d rounds: want at least one", *compareRounds)
	}
	showMachine(t)
	binary := build(t)
	contests := []contest{etcdContest(t, binary), zooKeeperContest(t, binary)}
	c := &comparison{t: t, series: map[subject][]figures{}}
	for round := range *compareRounds + 1 {
		for _, contest := range contests {
			for _, w := range contest.workloads {
				for _, who := range []contestant{contest.okapi, contest.peer} {
					if o := turn(t, contest, w, who, round); round > 0 {
						c.add(w.name, who.name, o, who.members)
					}
				}
			}
		}
	}
	c.show(contests)
	return c
}

// turn plays one workload to one contestant. Those of a pair follow each other, so that what else the machine does meanwhile
// hits both.
func turn(t *testing.T, contest contest, w workload, who contestant, round int) outcome {
	t.Helper()
	resume(who.members)
	contest.wake(who.members)
	o := w.run(who.members, round, w.total)
	pause(who.members)
	if t.Failed() {
		t.Fatalf("%s at %s: not all requests were answered", w.name, who.name)
	}
	return o
}

// showMachine prints what figures depend on, and fails the test if files do not outlive a power cut: to sync them would cost
// nothing.
func showMachine(t *testing.T) {
	t.Helper()
	const tmpfs = 0x01021994 // TMPFS_MAGIC
	dir := t.TempDir()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == tmpfs {
		t.Fatalf("%s is in memory: set TMPDIR to a folder on a disk", os.TempDir())
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	model := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(cpus)
	if model == nil {
		model = [][]byte{nil, []byte(runtime.GOARCH)}
	}
	t.Logf("compare: %d processors (%s), a random read of memory %v, a sync of 4 KiB %v in the median", runtime.NumCPU(), model[1],
		memoryLatency(), syncLatency(t, dir).Round(10*time.Microsecond))
}

// syncLatency is the median of how long it takes until 4 KiB that were appended to a file are on the disk.
func syncLatency(t *testing.T, dir string) time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make([]time.Duration, 200)
	for i := range all {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		all[i] = time.Since(start)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func etcdContest(t *testing.T, binary string) contest {
	okapi := contestant{"okapi", startCluster(t, binary, compareMembers, "--log-level", "error")}
	pause(okapi.members)
	server, tool := buildEtcd(t), benchmarkTool{t: t, binary: buildBenchmark(t)}
	etcd := contestant{"etcd", startEtcd(t, server, compareMembers)}
	pause(etcd.members)
	// by makes a workload of requests for the keys of the round.
	by := func(request func(kv etcdserverpb.KVClient, i int) error) func([]*member, int, int) outcome {
		return func(members []*member, round, total int) outcome {
			g := grpcLoad{t: t, members: members, conns: compareConns, callers: compareCallers, total: total}
			return under(members, func() []time.Duration {
				return g.run(func(kv etcdserverpb.KVClient, i int) error { return request(kv, round*compareKeys+i%compareKeys) })
			})
		}
	}
	t.Logf("compare: etcd %s, load generator %s", moduleVersion(t, server, "go.etcd.io/etcd/server/v3"),
		moduleVersion(t, tool.binary, "go.etcd.io/etcd/v3"))
	return contest{
		okapi: okapi, peer: etcd,
		workloads: []workload{
			{"put", compareKeys, by(put)},
			{"get, linearizable", 4 * compareKeys / 3, by(get)},
			{"get, serializable", 4 * compareKeys / 3, by(getAnywhere)},
			{"put, by etcd's tool", 2 * compareKeys / 3, tool.put},
			{"get, by etcd's tool", 2 * compareKeys / 3, tool.get},
		},
		wake: func(members []*member) { by(put)(members, 0, wakeRequests) },
	}
}

func zooKeeperContest(t *testing.T, binary string) contest {
	okapi := contestant{"okapi", startCluster(t, binary, compareMembers, "--log-level", "error")}
	jars := zooKeeperJars(t)
	zooKeeper := contestant{"ZooKeeper", startZooKeeper(t, jars, compareMembers)}
	t.Logf("compare: ZooKeeper %s", zooKeeperVersion(t, jars))
	for _, who := range []contestant{okapi, zooKeeper} {
		zkLoad{t: t, members: who.members[:1], conns: 1, depth: 100, total: parents + 1}.run(parent)
		pause(who.members)
	}
	// by makes a workload of requests for the nodes of the round.
	by := func(request func([]byte, int32, int) []byte) func([]*member, int, int) outcome {
		return func(members []*member, round, total int) outcome {
			z := zkLoad{t: t, members: members, conns: compareConns, depth: compareDepth, total: total}
			return under(members, func() []time.Duration {
				return z.run(func(b []byte, xid int32, i int) []byte { return request(b, xid, round*compareNodes+i%compareNodes) })
			})
		}
	}
	setParent := func(b []byte, xid int32, _ int) []byte {
		return message(b, xid, jute.OpSetData, &jute.SetDataRequest{Path: "/bench", Version: -1})
	}
	return contest{
		okapi: okapi, peer: zooKeeper,
		workloads: []workload{
			{"create", compareNodes, by(create)},
			{"setData", compareNodes, by(setData)},
			{"getData", 4 * compareNodes, by(getData)},
		},
		wake: func(members []*member) { by(setParent)(members, 0, wakeRequests) },
	}
}

// benchmarkTool is the load generator of etcd's own project: a second opinion, of people who have not written okapi.
type benchmarkTool struct {
	t      testing.TB
	binary string
}

// put puts keys in the order of their numbers, the same ones in each round.
func (b benchmarkTool) put(members []*member, _, total int) outcome {
	return b.run(members, total, "put", "--key-size", "16", "--val-size", strconv.Itoa(valueBytes),
		"--sequential-keys", "--key-space-size", strconv.Itoa(total))
}

// get reads one key again and again.
func (b benchmarkTool) get(members []*member, round, total int) outcome {
	return b.run(members, total, "range", key(round*compareKeys), "--consistency", "l")
}

// summary are the figures that are read of what the tool prints.
var summary = regexp.MustCompile(`(Requests/sec:|50% in|99% in)\s+([0-9.e+-]+)`)

// run runs the tool. What it says of times counts, since it needs some to start; what it and its connections cost then is part of
// the processor time.
func (b benchmarkTool) run(members []*member, total int, args ...string) outcome {
	b.t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.client)
	}
	cmd := exec.Command(b.binary, append(args, "--total", strconv.Itoa(total), "--endpoints", strings.Join(endpoints, ","),
		"--conns", strconv.Itoa(compareConns), "--clients", strconv.Itoa(compareCallers), "--precise")...)
	var out []byte
	var err error
	o := spend(members, func() { out, err = cmd.CombinedOutput() })
	found := summary.FindAllStringSubmatch(string(out), -1)
	if err != nil || len(found) != 3 || strings.Contains(string(out), "Error distribution") {
		b.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	var said [3]float64
	for i, f := range found {
		if said[i], err = strconv.ParseFloat(strings.TrimSuffix(f[2], "."), 64); err != nil {
			b.t.Fatalf("%v says %q", cmd, f[0])
		}
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	o.requests, o.elapsed = total, seconds(float64(total)/said[0])
	o.p50, o.p99 = seconds(said[1]), seconds(said[2])
	return o
}
