package robustness

import (
	"fmt"
	"os"
	"testing"

	"github.com/okapi-kv/okapi/test/harness"
)

// tools are the server; TestMain sets them once.
var tools harness.Tools

func TestMain(m *testing.M) {
	os.Exit(prepareAndRun(m))
}

func prepareAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "okapi-robustness-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if tools, err = harness.PrepareServer(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
