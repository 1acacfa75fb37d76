package scenarios

import (
	"os"
	"testing"
)

// The environment that says what the scenarios are to be played with.
const (
	// envEndpoint is the server, host:port; without it the test is skipped.
	envEndpoint = "OKAPI_ENDPOINT"
	// envRequireServices makes a service that the server does not know a failure.
	envRequireServices = "OKAPI_REQUIRE_SERVICES"
)

// TestScenarios plays every scenario with the client of this module. The tests of conformance build it, start
// servers and run it.
func TestScenarios(t *testing.T) {
	endpoint := os.Getenv(envEndpoint)
	if endpoint == "" {
		t.Skipf("skipped: %s names no server", envEndpoint)
	}
	RunAll(t, endpoint, os.Getenv(envRequireServices) == "1")
}
