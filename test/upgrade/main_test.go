package upgrade

import (
	"os"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// tools are the server of the working tree; TestMain sets them once.
var tools harness.Tools

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, func(dir string, _ *harness.Lasting) (err error) {
		tools, err = harness.PrepareServer(dir)
		return err
	}))
}
