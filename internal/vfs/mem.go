package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory that remembers what a power cut would take away.
//
// Idea: every file keeps, for each 512-byte sector written since its last Sync, the
// content before; every folder keeps the changes of names since its last SyncDir. Clone
// plays a power cut on a copy: each of those survives, or not, by a draw from a seed.
// The original goes on, so one run can be cut at one point in many ways.
//
// Invariants:
//   - What Sync and SyncDir covered survives every cut.
//   - A sector is old or new, never mixed; a rename happens as one step; nothing else
//     is kept in order.
//   - The same calls with the same seeds give the same disk: no clock, no goroutine, no
//     global randomness.
//
// Faults make single operations fail, stop the disk or fill it. A Mem is safe for
// concurrent use.
type Mem struct {
	mu     sync.Mutex
	rng    *rand.Rand
	root   *inode
	locks  map[string]bool
	dead   bool
	faults Faults
	counts Counts
	// usedBytes sums the sizes of the files that have a name.
	usedBytes int64
}

var _ FS = (*Mem)(nil)

// inode is a file or a folder.
type inode struct {
	*content // nil for a folder

	// names is what the running system sees in a folder, durable what survives every
	// power cut; pending leads from the one to the other.
	names, durable map[string]*inode
	pending        []nameChange
}

// nameChange is one step in a folder: unlink a name, link a name, or both at once (a
// rename).
type nameChange struct {
	unlink, link string
	node         *inode
}

func newFolder() *inode {
	return &inode{names: map[string]*inode{}, durable: map[string]*inode{}}
}

func (n *inode) isDir() bool { return n.content == nil }

// change does one step and keeps it pending until SyncDir.
func (n *inode) change(c nameChange) {
	n.pending = append(n.pending, c)
	c.apply(n.names)
}

func (c nameChange) apply(names map[string]*inode) {
	if c.unlink != "" {
		delete(names, c.unlink)
	}
	if c.link != "" {
		names[c.link] = c.node
	}
}

// NewMem returns an empty file system whose root folder exists. seed drives the draws of
// Clone where Survival has no seed of its own.
func NewMem(seed uint64) *Mem {
	return &Mem{rng: newRand(seed), root: newFolder(), locks: map[string]bool{}}
}

func newRand(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
}

// split cleans a name and cuts it into its parts; the root has none. A leading slash
// means nothing: there is one root.
func split(name string) []string {
	clean := strings.Trim(path.Clean("/"+name), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// findLocked returns the inode of a name.
func (m *Mem) findLocked(op, name string) (*inode, error) {
	n := m.root
	for _, part := range split(name) {
		if n.isDir() && n.names[part] != nil {
			n = n.names[part]
			continue
		}
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

// parentLocked returns the folder of a name and the last part.
func (m *Mem) parentLocked(op, name string) (*inode, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	parent, err := m.findLocked(op, strings.Join(parts[:len(parts)-1], "/"))
	if err != nil || !parent.isDir() {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return parent, parts[len(parts)-1], nil
}

// Create makes an empty file or empties an existing one.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := m.beginLocked(Op{Kind: OpCreate, Name: name})
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	parent, last, err := m.parentLocked("create", name)
	if err != nil {
		return nil, err
	}
	n := parent.names[last]
	switch {
	case n == nil:
		n = &inode{content: &content{}}
		parent.change(nameChange{link: last, node: n})
	case n.isDir():
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrInvalid}
	default:
		m.usedBytes -= int64(len(n.data))
		n.truncate(0)
	}
	if err := m.endLocked(stop); err != nil {
		return nil, err
	}
	return &memFile{fs: m, node: n, name: name}, nil
}

// Open opens an existing file.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.beginLocked(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return &memFile{fs: m, node: n, name: name}, nil
}

// Remove deletes a file or an empty folder. Files that are open stay usable.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := m.beginLocked(Op{Kind: OpRemove, Name: name})
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	parent, last, err := m.parentLocked("remove", name)
	if err != nil {
		return err
	}
	n := parent.names[last]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if n.isDir() && len(n.names) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	}
	m.forgetLocked(n)
	parent.change(nameChange{unlink: last})
	return m.endLocked(stop)
}

// forgetLocked gives back the space of a file that loses its name.
func (m *Mem) forgetLocked(n *inode) {
	if n != nil && !n.isDir() {
		m.usedBytes -= int64(len(n.data))
	}
}

// Rename moves a file or folder; an existing target is replaced.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := m.beginLocked(Op{Kind: OpRename, Name: from})
	if err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	source, oldName, err := m.parentLocked("rename", from)
	if err != nil {
		return err
	}
	target, newName, err := m.parentLocked("rename", to)
	if err != nil {
		return err
	}
	n := source.names[oldName]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	if target.names[newName] == n {
		return m.endLocked(stop)
	}
	m.forgetLocked(target.names[newName])
	if source == target {
		source.change(nameChange{unlink: oldName, link: newName, node: n})
		return m.endLocked(stop)
	}
	// Two folders are two disk structures; a cut may fall between them.
	target.change(nameChange{link: newName, node: n})
	source.change(nameChange{unlink: oldName})
	return m.endLocked(stop)
}

// MkdirAll makes a folder and its parents.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := m.beginLocked(Op{Kind: OpMkdir, Name: name})
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	n := m.root
	for _, part := range split(name) {
		if n.names[part] == nil {
			n.change(nameChange{link: part, node: newFolder()})
		}
		n = n.names[part]
		if !n.isDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
		}
	}
	return m.endLocked(stop)
}

// ReadDir lists the names in a folder in lexical order.
func (m *Mem) ReadDir(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: ErrStopped}
	}
	n, err := m.findLocked("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	return sortedNames(n.names), nil
}

// Stat tells whether a name exists, its size and whether it is a folder. Times are zero.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: ErrStopped}
	}
	n, err := m.findLocked("stat", name)
	if err != nil {
		return nil, err
	}
	info := memInfo{name: path.Base(name), dir: n.isDir()}
	if !n.isDir() {
		info.size = int64(len(n.data))
	}
	return info, nil
}

// SyncDir makes the names in a folder durable.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.beginLocked(Op{Kind: OpSyncDir, Name: name}); err != nil {
		return &fs.PathError{Op: "syncdir", Path: name, Err: err}
	}
	n, err := m.findLocked("syncdir", name)
	if err != nil {
		return err
	}
	if !n.isDir() {
		return &fs.PathError{Op: "syncdir", Path: name, Err: fs.ErrInvalid}
	}
	if m.faults.LieAboutSync {
		return nil
	}
	for _, c := range n.pending {
		c.apply(n.durable)
	}
	n.pending = nil
	return nil
}

// Lock takes a lock file of this Mem. A crash releases it, as the end of a process does.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: ErrStopped}
	}
	parent, last, err := m.parentLocked("lock", name)
	if err != nil {
		return nil, err
	}
	key := strings.Join(split(name), "/")
	if m.locks[key] {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: ErrLocked}
	}
	if parent.names[last] == nil {
		parent.change(nameChange{link: last, node: &inode{content: &content{}}})
	}
	m.locks[key] = true
	return &memLock{fs: m, key: key}, nil
}

// Free returns what is left of Faults.LimitBytes; without that bound, the most there can be.
func (m *Mem) Free(folder string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return 0, &fs.PathError{Op: "statfs", Path: folder, Err: ErrStopped}
	}
	if _, err := m.findLocked("statfs", folder); err != nil {
		return 0, err
	}
	if m.faults.LimitBytes == 0 {
		return math.MaxInt64, nil
	}
	return max(0, m.faults.LimitBytes-m.usedBytes), nil
}

func sortedNames(names map[string]*inode) []string {
	out := make([]string, 0, len(names))
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// memLock is a held lock.
type memLock struct {
	fs  *Mem
	key string
}

// Close releases the lock; a second Close does nothing.
func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.key)
	l.key = ""
	return nil
}

// memInfo is the answer of Stat.
type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | osDirMode
	}
	return osFileMode
}

// String returns the name, the kind and the size in bytes.
func (i memInfo) String() string { return fmt.Sprintf("%s dir=%v %d bytes", i.name, i.dir, i.size) }
