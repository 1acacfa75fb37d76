package differential

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/test/harness"
)

// stepsPerScript is how long a script is; each has servers of its own.
const stepsPerScript = 1000

// differencesMax is how many scripts may fail before the rest is left out.
const differencesMax = 3

// TestDifferential runs scripts against okapi and against etcd. Services that okapi does not have yet are left
// out, unless the environment asks for all.
func TestDifferential(t *testing.T) {
	differential(t, newOkapi, *opsFlag)
}

// TestEtcdWithItself runs scripts against two real etcds: what differs there is chance, and a comparison that
// reports it is wrong.
func TestEtcdWithItself(t *testing.T) {
	differential(t, func(t testing.TB) *side { return newEtcd(t, "other etcd") }, *selfOpsFlag)
}

// differential runs scripts of so many operations in all against etcd and a subject.
func differential(t *testing.T, subject func(testing.TB) *side, operations int) {
	harness.RequireEtcd(t, tools)
	total := newTally()
	differences, seed := 0, *seedFlag
	for ; total.operations < operations && differences < differencesMax; seed++ {
		s := newScript(seed, min(stepsPerScript, operations-total.operations))
		try := func(s script) *difference { return runScript(t, subject, s, total) }
		if d := try(s); d != nil {
			differences++
			report(t, s, d, subject)
		}
	}
	total.print(t)
	t.Logf("seeds %d to %d: %d operations, %d restarts, %d events of watches, %d differences",
		*seedFlag, seed-1, total.operations, total.restarts, total.received["watch event"], differences)
}

// print prints what was done and what became of it.
func (c *tally) print(t *testing.T) {
	for _, k := range kinds {
		t.Logf("%7d  %s", c.kinds[k.name], k.name)
	}
	for _, text := range sortedKeys(c.refused) {
		t.Logf("%7d  refused by both: %s", c.refused[text], text)
	}
	for _, what := range sortedKeys(c.received) {
		t.Logf("%7d  received from both: %s", c.received[what], what)
	}
	for _, e := range explanations {
		what := fmt.Sprintf("%7d  explained:", c.explained[e.name])
		if e.same == nil {
			what = "         kept away from:"
		}
		t.Logf("%s %s (%s: %s)", what, e.name, e.proof, e.why)
	}
}

// runScript runs a script on fresh servers.
func runScript(t *testing.T, subject func(testing.TB) *side, s script, total *tally) (d *difference) {
	t.Run(fmt.Sprintf("seed=%d", s.seed), func(t *testing.T) {
		r := &run{t: t, reference: newEtcd(t, "etcd"), subject: subject(t), script: s, tally: total}
		d = r.do()
	})
	return d
}

// shrinkTime bounds how long a script is made smaller: an event that does not come is waited for in every try.
const shrinkTime = 3 * time.Minute

// report makes a script that found a difference small and prints it.
func report(t *testing.T, s script, d *difference, subject func(testing.TB) *side) {
	t.Helper()
	// What is tried here does not count.
	ignored := newTally()
	deadline := time.Now().Add(shrinkTime)
	small, last := shrink(s, d, *shrinkFlag, func(s script) *difference {
		if time.Now().After(deadline) {
			return nil
		}
		return runScript(t, subject, s, ignored)
	})
	t.Errorf("seed %d, step %d of %d:\n%s\n\nleft after shrinking are %d steps:\n%s\n\n%s\n\nreplay: go test ./differential -run '^%s$' -seed %d -ops %d -self-ops %d",
		s.seed, d.step, len(s.steps), d.text, len(small.steps), strings.Join(last.trace, "\n"), last.text, t.Name(), s.seed, len(s.steps), len(s.steps))
}
