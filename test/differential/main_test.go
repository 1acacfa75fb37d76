// Package differential runs random scripts against okapi and against the real etcd, step by step, and
// compares every reply: etcd is the specification of etcd's API.
//
// A script is a list of steps that are drawn from one seed (script_test.go, kv_test.go, lease_test.go,
// watch_test.go). Requests are made with the raw gRPC clients, so that every field can be set and every
// field of a reply is seen (side_test.go). Both servers begin empty and are killed and started again in
// the middle of a script (run_test.go). What is compared, what is masked, and which differences are
// explained stands in compare_test.go. Watch streams are recorded as they arrive and compared when
// nothing is under way (stream_test.go). A script that finds a difference is shrunk (shrink_test.go).
package differential

import (
	"flag"
	"os"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

var (
	// seedFlag is the seed of the first script; the next script has the next seed.
	seedFlag = flag.Uint64("seed", 1, "seed of the first script")
	// opsFlag is how many operations are run in all.
	opsFlag = flag.Int("ops", 5000, "operations to run on okapi and on etcd")
	// selfOpsFlag is how many are run on two etcds.
	selfOpsFlag = flag.Int("self-ops", 1000, "operations to run on two etcds")
	// shrinkFlag bounds the work on a script that found a difference.
	shrinkFlag = flag.Int("shrink", 150, "runs that may be spent on making a failing script smaller")
	// verboseFlag shows what a script does.
	verboseFlag = flag.Bool("show", false, "print each step and its answer")
)

// tools are the servers; TestMain sets them once.
var tools harness.Tools

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, func(dir string, _ *harness.Lasting) (err error) {
		tools, err = harness.PrepareOracle(dir)
		return err
	}))
}
