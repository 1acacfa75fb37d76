package robustness

import (
	"testing"

	"github.com/okapi-kv/okapi/test/robustness/check"
)

// tellLies is the control: it shows each checker the history of a good run with one lie in it, such as an acknowledged write that is not in
// the reference, and fails the test unless the checker finds it. What a short run has nothing for is left out.
func tellLies(t *testing.T, h *check.History) {
	t.Helper()
	found, told := 0, 0
	for _, l := range check.Lies() {
		lying := l.Tell(h)
		if lying == nil {
			t.Logf("control: this run has nothing for the lie that %s", l.Name)
			continue
		}
		told++
		if len(l.Finder(lying)) == 0 {
			t.Errorf("control: its checker does not find that %s", l.Name)
			continue
		}
		found++
	}
	t.Logf("control: %d lies told about this run, %d found by their checkers", told, found)
}
