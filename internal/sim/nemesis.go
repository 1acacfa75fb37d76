package sim

import (
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// nemesis does harm now and then until the cluster is healed.
func (w *World) nemesis() {
	if w.healed {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	c := w.cfg
	if w.chance(c.Crash) && n.up {
		n.crash()
	}
	if w.chance(c.CrashAll) {
		for _, n := range w.nodes {
			if n.up { // one that has left is not
				n.crash()
			}
		}
	}
	if w.chance(c.CrashPoint) && n.up {
		// The disk stops at one of the next operations, wherever that is.
		n.drive.setFaults(vfs.Faults{StopAt: 1 + w.rng.IntN(60)})
	}
	if c.Fill > 0 && w.chance(c.Fill) {
		w.fill()
	}
	switch {
	case w.chance(c.Partition):
		w.net.partition(false)
	case w.chance(c.OneWay):
		w.net.partition(true)
	case w.chance(0.3):
		w.net.heal()
	}
	if c.Changes > 0 && w.chance(c.Changes) && n.up && n.serving {
		w.changeMembers(n)
	}
	if w.chance(c.Transfer) && n.up {
		n.step(replica.Transfer{})
	}
	if w.chance(c.Pause) && n.up {
		n.pause(w.between(100*millisecond, 4*second))
	}
	w.after(w.between(100*millisecond, 700*millisecond), w.nemesis)
}

// fill fills some disks, or frees all. Most have a little left, so that what is refused can be seen; some are full to the last
// byte, which ends the process.
func (w *World) fill() {
	free := w.chance(0.4)
	for _, n := range w.nodes {
		switch {
		case free:
			n.drive.limitBytes = 0
		case w.chance(0.6):
			n.drive.limitBytes = n.fs.Counts().UsedBytes + w.between(0, diskReserve*5/4)
		}
		n.drive.setFaults(vfs.Faults{})
		w.note("n%d disk of %d bytes, %d used", n.id, n.drive.limitBytes, n.fs.Counts().UsedBytes)
	}
}
