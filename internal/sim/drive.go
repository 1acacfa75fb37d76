package sim

import (
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// drive is the disk of a node, which can be filled and can hang. What it holds is node.fs.
type drive struct {
	node *node
	// stalledUntil is when the disk that hangs since hungAt goes on.
	hungAt, stalledUntil int64
	// slowUntil is when a sync that takes very long ends.
	slowUntil int64
	// limitBytes bounds it; 0 does not.
	limitBytes int64
	low        bool // as the Member was told
}

// diskReserve is below how much free space a disk is low: what some members write in a few seconds.
const diskReserve = 512 << 10

// look tells the Member when its disk becomes low, or is so no more.
func (d *drive) look() {
	free, err := vfs.Free(d.node.fs, dataDir)
	if err != nil {
		return // it is cut off: the next write will say so
	}
	if low := replica.Low(d.low, free, diskReserve); low != d.low {
		d.low = low
		d.node.step(replica.DiskSpace{Low: low})
	}
}

// setFaults sets what goes wrong on the disk; its bound stays.
func (d *drive) setFaults(f vfs.Faults) {
	f.LimitBytes = d.limitBytes
	d.node.fs.SetFaults(f)
}

// hang makes every sync from now on wait until d has passed.
func (d *drive) hang(length int64) {
	d.hungAt, d.stalledUntil = d.node.world.now, d.node.world.now+length
	d.node.world.note("n%d disk hangs for %s", d.node.id, stamp(length))
}

// hangs tells whether the disk hangs, and has done so for longer than the sync that was under way could take.
func (d *drive) hangs() bool {
	return d.stalledUntil > d.node.world.now && d.node.world.now > d.hungAt+5*second/100
}

// syncTime is how long the sync that begins now takes.
func (d *drive) syncTime() int64 {
	w := d.node.world
	if d.stalledUntil > w.now {
		return d.stalledUntil - w.now
	}
	if !w.healed && w.chance(w.cfg.Stall*0.01) {
		length := w.between(second, 4*second)
		d.slowUntil = w.now + length
		return length
	}
	return w.between(w.cfg.SyncLo, w.cfg.SyncHi)
}
