package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
)

// However late a tick is taken, the next one is a whole tick away: time to live is counted in ticks, and must not pass faster
// than time.
func TestTicksAreWhole(t *testing.T) {
	for _, late := range []time.Duration{0, 30 * time.Millisecond, 150 * time.Millisecond, 10*time.Second + 90*time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			r := &Replica{inbox: newMailbox[Input](), proposals: newMailbox[Pending](), touched: touches{ids: map[int64]struct{}{}}}
			p := newPulse(clock.Real{}, 100)
			defer p.timer.Stop()
			awaitTick := func() time.Time {
				for {
					inputs, ok := r.await(t.Context(), p, nil)
					if !ok {
						t.Fatal("the wait for a tick was broken off")
					}
					if _, ok := inputs[len(inputs)-1].(Tick); ok {
						return time.Now()
					}
				}
			}
			time.Sleep(p.length + late)
			taken := awaitTick()
			r.inbox.put(Touched{IDs: []int64{1}})
			if length := awaitTick().Sub(taken); length != p.length {
				t.Errorf("a tick that was taken %v late is followed by the next after %v, want %v", late, length, p.length)
			}
		})
	}
}
