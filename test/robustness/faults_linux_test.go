package robustness

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
	"github.com/okapi-kv/okapi/test/robustness/check"
)

var (
	faultCount = flag.Int("faults", 6, "how many faults hit the cluster")
	faultSeed  = flag.Uint64("faults.seed", 1, "of the faults, their times and the calls of the clients")
	faultKind  = flag.String("faults.kind", "", "the only kind of fault, such as \"leader killed\"; empty draws from all")
	faultPause = flag.Duration("faults.pause", 20*time.Millisecond, "between two calls of a client, on the average")
)

// The time from the kill of a leader to the next acknowledged write, over a run with at least enoughKills of them.
const (
	recoveryMedianMax = 1300 * time.Millisecond
	recoveryMax       = 3500 * time.Millisecond
	enoughKills       = 12
)

// TestFaults puts three members, each in a network namespace of its own, under load through both doors, and kills, stops and cuts them
// off in turn. Clients stand beside the members and reach each that runs, also one that is cut off from the others. All
// that clients did and were told is recorded, and checked against what the protocols promise (package check). At the end each checker is
// shown the same run with one lie in it, and has to find it: see lies_test.go.
func TestFaults(t *testing.T) {
	if *faultKind != "" && *faultKind != leaderKilled && !slices.Contains(faultKinds, *faultKind) {
		t.Fatalf("-faults.kind %q: want %q or one of %q", *faultKind, leaderKilled, faultKinds)
	}
	runFaults(t, *faultSeed, *faultCount)
}

// runFaults is one run, with all its checks.
func runFaults(t *testing.T, seed uint64, count int) *faultRun {
	network, cluster := harness.NewNetwork(t, tools, 3, "--tree-history", "24h", "--log-level", "info")
	cluster.Start()
	r := &faultRun{
		t: t, network: network, cluster: cluster, random: rand.New(rand.NewPCG(seed, 0)), seed: seed,
		fleet: newFleet(cluster.Members, seed, *faultPause),
	}
	t.Logf("faults: seed %d, %d faults; again with -faults %d -faults.seed %d", seed, count, count, seed)
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	if !r.makeNodes(ctx) {
		t.Fatal("the nodes that all use cannot be made")
	}
	r.observe(ctx)
	loading, endLoad := context.WithCancel(ctx)
	keeping, endKeeping := context.WithCancel(ctx)
	r.launch(loading, keeping)
	r.calm()
	for _, kind := range draw(r.random, count) {
		r.hit(kind)
	}
	endLoad()
	r.running.Wait()
	h := r.gather(ctx)
	endKeeping()
	r.keeping.Wait()
	r.report()
	if judge(t, h); t.Failed() {
		r.keep(h)
		return r
	}
	tellLies(t, h)
	return r
}

// faultKinds are what can happen. The kill of a leader is drawn apart, for it has limits to keep.
var faultKinds = []string{
	"follower killed", "leader stopped", "follower stopped", "leader cut off", "follower cut off",
	"leader mute", "leader deaf", "follower mute", "follower deaf", "all killed",
}

const leaderKilled = "leader killed"

// draw draws the kinds of faults: each fourth is the kill of a leader, and of the others none comes again before all have come.
func draw(random *rand.Rand, n int) []string {
	var kinds, bag []string
	for i := range n {
		if *faultKind != "" || i%4 == 0 {
			kinds = append(kinds, cmp.Or(*faultKind, leaderKilled))
			continue
		}
		if len(bag) == 0 {
			bag = slices.Clone(faultKinds)
			random.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		kinds, bag = append(kinds, bag[0]), bag[1:]
	}
	return kinds
}

// faultRun is one run.
type faultRun struct {
	*fleet
	t       *testing.T
	network *harness.Network
	cluster *harness.Cluster
	random  *rand.Rand
	seed    uint64
	faults  []fault
	records []*record
}

// fault is one that has happened.
type fault struct {
	kind, member string
	// begun is when it was about to begin, sure when it was sure to have, healed when it was about to be over, and well when all members
	// served again.
	begun, sure, healed, well time.Duration
}

// makeNodes makes the znodes that all use.
func (r *faultRun) makeNodes(ctx context.Context) bool {
	c := newZKCaller(r.fleet, everywhere)
	defer c.drop()
	for !c.enter(lastingTimeout, check.Left) {
		if ctx.Err() != nil {
			return false
		}
	}
	paths := []string{treeTop, sharedTop, ownTop, sequenceTop}
	for n := range fleetNodes {
		paths = append(paths, sharedNode(n))
	}
	for _, path := range paths {
		if !c.create(path, 0) {
			return false
		}
	}
	return true
}

// between draws a duration.
func (r *faultRun) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.random.Int64N(int64(most-least)))
}

// calm lets the clients work in peace for a while.
func (r *faultRun) calm() { time.Sleep(r.between(500*time.Millisecond, 1500*time.Millisecond)) }

// hit makes a fault, heals it and waits until all is well.
func (r *faultRun) hit(kind string) {
	r.t.Helper()
	leader := r.cluster.Leader()
	m := leader
	if strings.HasPrefix(kind, "follower") {
		m = r.cluster.Others(leader)[r.random.IntN(2)]
	}
	f := fault{kind: kind, member: m.Name, begun: r.now()}
	heal := r.inflict(kind, m)
	f.sure = r.now()
	time.Sleep(r.duration(kind))
	f.healed = r.now()
	heal()
	for _, m := range r.cluster.Members {
		m.WaitReady()
	}
	f.well = r.now()
	r.t.Logf("%9v %s (%s) for %v, well %v later", ms(f.begun), kind, m.Name, ms(f.healed-f.begun), ms(f.well-f.healed))
	r.generation.Add(1)
	r.faults = append(r.faults, f)
	r.calm()
}

// inflict makes a fault and returns what heals it.
func (r *faultRun) inflict(kind string, m *harness.Member) (heal func()) {
	r.t.Helper()
	part := func(how func(*harness.Member)) func() {
		how(m)
		return func() { r.network.Heal(m) }
	}
	switch _, what, _ := strings.Cut(kind, " "); what {
	case "stopped":
		m.Signal(syscall.SIGSTOP)
		return func() { m.Signal(syscall.SIGCONT) }
	case "cut off":
		return part(r.network.Cut)
	case "mute":
		return part(r.network.Mute)
	case "deaf":
		return part(r.network.Deafen)
	}
	if strings.HasPrefix(kind, "all") {
		r.cluster.Kill()
	} else {
		m.Kill()
	}
	return func() {
		for _, m := range r.cluster.Members {
			if !m.Running() {
				m.Start()
			}
		}
	}
}

// duration draws how long a fault lasts.
func (r *faultRun) duration(kind string) time.Duration {
	switch _, what, _ := strings.Cut(kind, " "); what {
	case "killed":
		return r.between(200*time.Millisecond, 2*time.Second)
	case "stopped":
		return r.between(time.Second, 8*time.Second)
	}
	return r.between(time.Second, 5*time.Second)
}

// judge has a history checked.
func judge(t *testing.T, h *check.History) {
	t.Helper()
	for _, name := range check.Names() {
		began := time.Now()
		errs := check.Checkers[name](h)
		for _, err := range errs {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("checked in %v: %s", time.Since(began).Round(time.Millisecond), name)
	}
}

// keep writes what was recorded to a file that outlives the test.
func (r *faultRun) keep(h *check.History) {
	f, err := os.CreateTemp("", "okapi-faults-*.txt")
	if err != nil {
		r.t.Error(err)
		return
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, one := range r.faults {
		fmt.Fprintf(w, "fault %+v\n", one)
	}
	for _, o := range h.Owners {
		fmt.Fprintf(w, "owner %+v\n", *o)
	}
	for _, e := range h.Events {
		fmt.Fprintf(w, "event %+v\n", e)
	}
	for _, o := range h.Operations {
		fmt.Fprintf(w, "call %v: outcome %d, term %d, expected %q\n", o, o.Outcome, o.Term, o.Expected)
	}
	if err := w.Flush(); err != nil {
		r.t.Error(err)
	}
	r.t.Logf("all that was recorded is in %s", f.Name())
}

// TestDraw checks that fifty faults have enough kills of leaders to judge them, and all other kinds several times.
func TestDraw(t *testing.T) {
	for seed := range uint64(20) {
		counts := map[string]int{}
		for _, kind := range draw(rand.New(rand.NewPCG(seed, 0)), 50) {
			counts[kind]++
		}
		if counts[leaderKilled] < enoughKills {
			t.Errorf("seed %d: %d kills of leaders, want %d", seed, counts[leaderKilled], enoughKills)
		}
		for _, kind := range faultKinds {
			if counts[kind] < 3 {
				t.Errorf("seed %d: %s %d times, want 3", seed, kind, counts[kind])
			}
		}
	}
}
