package vfs

import "math/rand/v2"

// SectorBytes is the unit in which a disk writes: after a power cut a sector has its old
// or its new content, never a mixture.
const SectorBytes = 512

// content is the bytes of one file, with enough of the past to tell what a power cut
// would leave: the size at the last sync and, for each sector written since, what it
// held then.
type content struct {
	data       []byte
	syncedSize int64
	dirty      []dirtySector
	// isDirty has one bit a sector, so that a second write to it keeps the first
	// before-image.
	isDirty []uint64
}

// dirtySector is one sector that was written since the last sync.
type dirtySector struct {
	sector int64
	// before is the content at the last sync; nil means zeros or beyond the end.
	before []byte
	// lost says that a failed sync dropped the write: later syncs do not cover it.
	lost bool
}

// touch records the before-images of the sectors in [offset, offset+n).
func (c *content) touch(offset, n int64) {
	if n <= 0 {
		return
	}
	last := (offset + n - 1) / SectorBytes
	for len(c.isDirty) <= int(last/64) {
		c.isDirty = append(c.isDirty, 0)
	}
	for s := offset / SectorBytes; s <= last; s++ {
		if c.isDirty[s/64]&(1<<(s%64)) != 0 {
			c.refresh(s)
			continue
		}
		c.isDirty[s/64] |= 1 << (s % 64)
		d := dirtySector{sector: s}
		start := s * SectorBytes
		if start < c.syncedSize && start < int64(len(c.data)) {
			d.before = make([]byte, SectorBytes)
			copy(d.before, c.data[start:])
		}
		c.dirty = append(c.dirty, d)
	}
}

// refresh makes a sector that a failed sync dropped an ordinary dirty one again.
func (c *content) refresh(sector int64) {
	for i := range c.dirty {
		if !c.dirty[i].lost {
			return // lost ones are in front, see syncFailed
		}
		if c.dirty[i].sector == sector {
			d := c.dirty[i]
			d.lost = false
			copy(c.dirty[i:], c.dirty[i+1:])
			c.dirty[len(c.dirty)-1] = d
			return
		}
	}
}

// writeAt stores p and grows the file if need be.
func (c *content) writeAt(p []byte, offset int64) {
	c.touch(offset, int64(len(p)))
	if end := offset + int64(len(p)); end > int64(len(c.data)) {
		c.resize(end)
	}
	copy(c.data[offset:], p)
}

// truncate sets the size.
func (c *content) truncate(size int64) {
	if old := int64(len(c.data)); size < old {
		c.touch(size, old-size)
	}
	c.resize(size)
}

// resize changes the length; new bytes are zero.
func (c *content) resize(size int64) {
	old := int64(len(c.data))
	if size <= old {
		clear(c.data[size:])
		c.data = c.data[:size]
		return
	}
	if size <= int64(cap(c.data)) {
		c.data = c.data[:size]
		return
	}
	// Doubling, because logs fill their files in steps.
	grown := make([]byte, size, max(size, min(2*old, old+(16<<20))))
	copy(grown, c.data)
	c.data = grown
}

// sync makes everything durable that no failed sync dropped.
func (c *content) sync() {
	kept := c.dirty[:0]
	for _, d := range c.dirty {
		if d.lost {
			kept = append(kept, d)
			continue
		}
		c.isDirty[d.sector/64] &^= 1 << (d.sector % 64)
	}
	c.dirty = kept
	c.syncedSize = int64(len(c.data))
}

// syncFailed marks all dirty sectors as dropped.
func (c *content) syncFailed() {
	for i := range c.dirty {
		c.dirty[i].lost = true
	}
}

// afterCrash returns the bytes that a power cut leaves, every one of them durable.
func (c *content) afterCrash(luck *luck) *content {
	size := c.crashSize(luck)
	out := make([]byte, size)
	copy(out, c.data)
	for _, d := range c.dirty {
		survives := luck.draw()
		start := d.sector * SectorBytes
		// A sector that only a lost truncation cut off is as it was.
		if survives && start < int64(len(c.data)) || start >= size {
			continue
		}
		place := out[start:min(start+SectorBytes, size)]
		clear(place)
		copy(place, d.before)
	}
	return &content{data: out, syncedSize: size}
}

// crashSize draws the size after a power cut: the old one, the new one or, of a file that
// grew, any sector boundary between.
func (c *content) crashSize(luck *luck) int64 {
	size := int64(len(c.data))
	if size == c.syncedSize || luck.draw() {
		return size
	}
	sectors := (size - c.syncedSize) / SectorBytes
	if sectors > 0 && luck.draw() {
		boundary := (c.syncedSize/SectorBytes + luck.rng.Int64N(sectors) + 1) * SectorBytes
		return min(boundary, size)
	}
	return c.syncedSize
}

// luck decides what survives.
type luck struct {
	rng     *rand.Rand
	percent int
}

// draw tells whether the next thing survives.
func (l *luck) draw() bool { return l.rng.IntN(100) < l.percent }
