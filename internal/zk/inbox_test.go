package zk

import (
	"net/netip"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// sleeper is an owner that does nothing.
type sleeper struct{}

func (sleeper) wake()      {}
func (sleeper) kick(error) {}

// TestInboxMemory: the lists of what has come are used again, also when some looks find nothing.
func TestInboxMemory(t *testing.T) {
	c := newConn(&services{}, netip.AddrPort{}, sleeper{})
	allocs := testing.AllocsPerRun(100, func() {
		for range 2 * queueKeep {
			c.inbox.complete(1, state.Result{}, nil)
		}
		for range 2 * queueKeep {
			if !c.takeIn() {
				t.Fatal("something has come and is not there")
			}
		}
		for range 3 {
			if c.takeIn() {
				t.Fatal("something is there that has not come")
			}
		}
	})
	if allocs > 0 {
		t.Errorf("what comes and is looked at takes %v allocations", allocs)
	}
}
