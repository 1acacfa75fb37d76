package zkdifferential

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	seedFlag = flag.Uint64("zk.seed", 1, "the seed of the first script; each script after it has the next one")
	opsFlag  = flag.Int("zk.ops", 10_000, "how many requests are sent to each server at least; a quarter of them where ZooKeeper is compared with itself")
	keepFlag = flag.Int("zk.keep", 1, "how many differences are looked for")
)

// tools has the server, lasting the servers that outlive a test; TestMain sets them once.
var (
	tools   harness.Tools
	lasting *harness.Lasting
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, func(dir string, l *harness.Lasting) (err error) {
		lasting = l
		tools, err = harness.PrepareServer(dir)
		return err
	}))
}

// pair is the two servers.
type pair struct {
	t     *testing.T
	fresh [2]func() *harness.Member
	// running are the processes; nil before the first script and after a difference.
	running [2]*harness.Member
	servers [2]*server
}

// start starts both servers, with nothing in them, unless they run.
func (p *pair) start() {
	p.t.Helper()
	if p.servers[0] != nil {
		return
	}
	for i, fresh := range p.fresh {
		p.running[i] = fresh()
		p.running[i].Start()
	}
	for i, m := range p.running {
		m.WaitReady()
		p.servers[i] = &server{name: m.Name, address: m.ZooKeeper}
	}
}

func (p *pair) stop() {
	for i, m := range p.running {
		if m != nil {
			m.Kill()
		}
		p.running[i], p.servers[i] = nil, nil
	}
}

// run carries out a script at both servers at once and compares. After a difference both are stopped: nobody knows what else
// is different now.
func (p *pair) run(sc script) (*difference, *trace) {
	p.t.Helper()
	p.start()
	var traces [2]*trace
	var errs [2]error
	done := make(chan int)
	for i, s := range p.servers {
		go func() {
			traces[i], errs[i] = s.do(sc)
			done <- i
		}()
	}
	<-done
	<-done
	var d *difference
	if traces[0] != nil && traces[1] != nil {
		d = compare(sc, traces[0], traces[1])
	}
	if d == nil && (errs[0] != nil || errs[1] != nil) {
		d = &difference{step: len(sc), what: fmt.Sprintf("%v against %v", errs[0], errs[1])}
	}
	if d != nil {
		p.stop()
	}
	return d, traces[0]
}

// quiet keeps the logs of servers that did what they should out of the report of a difference.
type quiet struct{ testing.TB }

// Failed implements testing.TB.
func (quiet) Failed() bool { return false }

// zookeeperAndOkapi are what is compared.
func zookeeperAndOkapi(t *testing.T) *pair {
	p := &pair{t: t, fresh: [2]func() *harness.Member{newZooKeeper(t), func() *harness.Member {
		return harness.NewCluster(quiet{t}, tools, 1, harness.LikeZooKeeper...).Members[0]
	}}}
	t.Cleanup(p.stop)
	return p
}

func newZooKeeper(t *testing.T) func() *harness.Member {
	jars := harness.RequireJars(t)
	return func() *harness.Member { return harness.NewZooKeeper(t, jars) }
}

// TestRandom compares okapi with ZooKeeper.
func TestRandom(t *testing.T) { compareScripts(t, zookeeperAndOkapi(t), *opsFlag) }

// TestZooKeeperWithItself compares ZooKeeper with ZooKeeper: what differs there is left open by it, and has to be understood
// by the comparison.
func TestZooKeeperWithItself(t *testing.T) {
	p := &pair{t: t, fresh: [2]func() *harness.Member{newZooKeeper(t), newZooKeeper(t)}}
	t.Cleanup(p.stop)
	compareScripts(t, p, *opsFlag/4)
}

// compareScripts sends at least enough requests.
func compareScripts(t *testing.T, p *pair, enough int) {
	start := time.Now()
	kinds, outcomes := map[string]int{}, map[string]int{}
	ops, scripts, found := 0, 0, 0
	for seed := *seedFlag; ops < enough && found < *keepFlag; seed++ {
		sc := generate(seed)
		d, tr := p.run(sc)
		tr.count(outcomes)
		ops += sc.ops()
		scripts++
		sc.count(kinds)
		if d != nil {
			found++
			p.report(t, seed, sc, d)
		}
	}
	t.Logf("seed %d: %d scripts, %d requests in %v, %d differences\nrequests: %s\nanswers: %s",
		*seedFlag, scripts, ops, time.Since(start).Round(time.Second), found, counts(kinds), counts(outcomes))
}

func counts(of map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(out, ", ")
}

// report shrinks a script that shows a difference and fails the test.
func (p *pair) report(t *testing.T, seed uint64, sc script, d *difference) {
	t.Helper()
	small, smallD := shrink(sc, d, func(sc script) *difference { d, _ := p.run(sc); return d })
	t.Errorf("seed %d: a difference\n%s\nthe script, shrunk from %d requests to %d:\n%s\nto run it again: cd test && go test ./zkdifferential -run '^%s$' -zk.seed=%d -zk.ops=1",
		seed, smallD, sc.ops(), small.ops(), small, t.Name(), seed)
}
