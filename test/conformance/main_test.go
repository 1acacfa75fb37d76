// Package conformance asks unchanged clients what they think of okapi: the same commands, typed
// the same way, must do what they do against ZooKeeper and etcd.
package conformance

import (
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
	os.Exit(harness.Run(m, func(dir string, l *harness.Lasting) (err error) {
		lasting = l
		tools, err = harness.Prepare(dir)
		return err
	}))
}
