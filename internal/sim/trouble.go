package sim

import (
	"math/rand/v2"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// trouble is harm that came to the simulator later than the nemesis's: disks that fail an operation and wall clocks that jump. It
// has a source of chance of its own, so that a seed goes on doing what it did before.
type trouble struct {
	world *World
	rng   *rand.Rand
}

func newTrouble(w *World) *trouble {
	return &trouble{world: w, rng: rand.New(rand.NewPCG(w.cfg.Seed, 0x74726f75626c65))}
}

// between draws a duration or size.
func (t *trouble) between(lo, hi int64) int64 { return lo + t.rng.Int64N(hi-lo) }

// make makes trouble now and then until the cluster is healed.
func (t *trouble) make() {
	w := t.world
	if w.healed {
		return
	}
	n := w.nodes[t.rng.IntN(len(w.nodes))]
	if t.rng.Float64() < w.cfg.FailIO && n.up {
		t.failIO(n)
	}
	if t.rng.Float64() < w.cfg.Jump {
		t.jumpClock(n)
	}
	w.after(t.between(200*millisecond, second), t.make)
}

// failIO has one of the next writes or syncs fail. A sync that fails takes what it was to store, as on Linux: the process must stop,
// and must not take the word of a later one.
func (t *trouble) failIO(n *node) {
	f := vfs.Faults{PartialBytes: int(t.between(0, 600))}
	if t.rng.IntN(2) == 0 {
		f.FailWrite = 1 + t.rng.IntN(30)
	} else {
		f.FailSync = 1 + t.rng.IntN(15)
	}
	t.world.note("n%d disk will fail write %d or sync %d", n.id, f.FailWrite, f.FailSync)
	n.drive.setFaults(f)
}

// jumpClock moves the wall clock of a member by up to an hour. Nothing but the stamps of entries may follow it.
func (t *trouble) jumpClock(n *node) {
	by := t.between(-3600*second, 3600*second)
	n.offset += by
	t.world.note("n%d wall clock jumps by %s", n.id, stamp(by))
}
