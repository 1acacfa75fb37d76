package scenarios

import (
	"os"
	"testing"
)

// envEndpoint names the variable with the server to play the scenarios with, host:port; without it the test is skipped.
const envEndpoint = "OKAPI_ENDPOINT"

// TestScenarios plays every scenario with the client of this module. The tests of conformance build it, start
// servers and run it.
func TestScenarios(t *testing.T) {
	endpoint := os.Getenv(envEndpoint)
	if endpoint == "" {
		t.Skipf("skipped: %s names no server", envEndpoint)
	}
	RunAll(t, endpoint)
}
