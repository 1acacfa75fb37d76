// Package conformance asks unchanged clients what they think of okapi: the same commands, typed
// the same way, must do what they do against ZooKeeper and etcd.
package conformance

import (
	"fmt"
	"os"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// tools are the server and the clients, lasting the servers that outlive a test; TestMain sets them once.
var (
	tools   harness.Tools
	lasting *harness.Lasting
)

func TestMain(m *testing.M) {
	os.Exit(prepareAndRun(m))
}

func prepareAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "okapi-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if tools, err = harness.Prepare(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lasting = harness.NewLasting(dir)
	defer lasting.Close()
	return m.Run()
}
