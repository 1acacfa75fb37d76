package vfs

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Survival says how much of what was not synced is still there after a power cut.
type Survival struct {
	// Percent is the chance of each unsynced sector, size and change of a name: 0 keeps
	// only what was synced, 100 everything.
	Percent int
	// Seed makes the draws repeatable by themselves; 0 draws from the seed of the Mem.
	Seed uint64
}

// Clone returns the file system as a power cut at this moment would leave it, without
// locks, faults or counts. The original is not changed and may go on, be stopped already
// or be cloned again.
func (m *Mem) Clone(s Survival) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	seed := s.Seed
	if seed == 0 {
		seed = m.rng.Uint64()
	}
	after := NewMem(seed)
	c := crash{luck: luck{rng: after.rng, percent: s.Percent}, done: map[*inode]*inode{}}
	after.root = c.survivor(m.root)
	for _, n := range c.done { // a sum: order does not matter
		if !n.isDir() {
			after.usedBytes += int64(len(n.data))
		}
	}
	return after
}

// Crash is Clone, and the original with all its open files returns ErrStopped from now
// on.
func (m *Mem) Crash(s Survival) *Mem {
	after := m.Clone(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return after
}

// crash copies a tree as it would be found after a power cut.
type crash struct {
	luck luck
	// done maps old to new, for a file that two names lead to after half a rename.
	done map[*inode]*inode
}

// survivor copies one inode. Names are walked in order, so that the draws are the same
// in each run.
func (c *crash) survivor(n *inode) *inode {
	if after := c.done[n]; after != nil {
		return after
	}
	if !n.isDir() {
		after := &inode{content: n.afterCrash(&c.luck)}
		c.done[n] = after
		return after
	}
	names := maps.Clone(n.durable)
	for _, change := range n.pending {
		if c.luck.draw() {
			change.apply(names)
		}
	}
	after := newFolder()
	c.done[n] = after
	for _, name := range sortedNames(names) {
		after.names[name] = c.survivor(names[name])
	}
	after.durable = maps.Clone(after.names)
	return after
}

// Files lists the paths of all files in lexical order.
func (m *Mem) Files() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	var walk func(n *inode, prefix []string)
	walk = func(n *inode, prefix []string) {
		for name, child := range n.names { // sorted below
			at := append(slices.Clone(prefix), name)
			if child.isDir() {
				walk(child, at)
				continue
			}
			out = append(out, strings.Join(at, "/"))
		}
	}
	walk(m.root, nil)
	slices.Sort(out)
	return out
}

// ReadFile returns a copy of the content of a file, stopped disk or not.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("read", name)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	return slices.Clone(n.data), nil
}

// WriteFile makes or replaces a file behind the back of the system under test: content
// and name are durable at once and no fault applies. The folder must exist.
func (m *Mem) WriteFile(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, last, err := m.parentLocked("write", name)
	if err != nil {
		return err
	}
	parent.forgetPending(last)
	m.forgetLocked(parent.names[last])
	n := &inode{content: &content{data: slices.Clone(data), syncedSize: int64(len(data))}}
	m.usedBytes += int64(len(data))
	parent.names[last], parent.durable[last] = n, n
	return nil
}

// FlipBit inverts one bit of a file behind the back of the system under test: what is
// there now and what a power cut would bring back. bit counts from the lowest bit of the
// first byte.
func (m *Mem) FlipBit(name string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("flip", name)
	if err != nil {
		return err
	}
	offset, mask := bit/8, byte(1)<<(bit%8)
	if n.isDir() || bit < 0 || offset >= int64(len(n.data)) {
		return &fs.PathError{Op: "flip", Path: name, Err: fs.ErrInvalid}
	}
	n.data[offset] ^= mask
	for _, d := range n.dirty {
		if d.sector == offset/SectorBytes && d.before != nil {
			d.before[offset%SectorBytes] ^= mask
		}
	}
	return nil
}

// Erase removes a file, or a folder with all it holds, durably and behind the back of
// the system under test.
func (m *Mem) Erase(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	parent, last, err := m.parentLocked("erase", name)
	if err != nil {
		return err
	}
	if parent.names[last] == nil {
		return &fs.PathError{Op: "erase", Path: name, Err: fs.ErrNotExist}
	}
	m.forgetTreeLocked(parent.names[last])
	delete(parent.names, last)
	delete(parent.durable, last)
	parent.forgetPending(last)
	return nil
}

// forgetTreeLocked gives back the space of everything below a name.
func (m *Mem) forgetTreeLocked(n *inode) {
	m.forgetLocked(n)
	for _, child := range n.names { // a sum: order does not matter
		m.forgetTreeLocked(child)
	}
}

// forgetPending drops the steps that would bring a name back or take it away.
func (n *inode) forgetPending(name string) {
	n.pending = slices.DeleteFunc(n.pending, func(c nameChange) bool {
		return c.link == name || c.link == "" && c.unlink == name
	})
}
