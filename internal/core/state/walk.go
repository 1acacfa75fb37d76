package state

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/core/mvcc"
)

// The tree has no lists of children: its index is ordered by path, so the children and the
// descendants of a node are ranges of it.
//
// All descendants of /a stand between "/a/" and "/a0" ('0' follows '/'). The children stand there in the
// order of their names, but not side by side: below /a come
//
//	/a/b   /a/b-x   /a/b-x/1   /a/b/1   /a/b/2   /a/c
//
// because '-' sorts before '/'. A walk over the children therefore cannot step from /a/b to the end
// of its subtree at once; it goes on key by key and, when it meets a key that lies deeper, seeks to the end
// of that subtree. So it costs one seek for each child that has children, however many they are.

// visit receives one node of a walk: its path as the store keeps it and the version that the walk
// sees. It returns false to end the walk. It must not change the tree.
type visit func(path string, z *znode) bool

// walkChildren calls fn for each child of the node at path as of sequence number seq, in the byte order of the
// names. yield, which may be nil, is called every stepKeys keys, with no iteration under way.
func (m *Machine) walkChildren(path string, seq uint64, fn visit, yield func()) {
	w := walk{tree: m.tree, seq: seq, fn: fn, childrenOnly: true}
	w.run(path, yield)
}

// walkBelow calls fn for each descendant of the node at path as of seq, in the order of paths; else
// like walkChildren.
func (m *Machine) walkBelow(path string, seq uint64, fn visit, yield func()) {
	w := walk{tree: m.tree, seq: seq, fn: fn}
	w.run(path, yield)
}

// walk is one walk below a node.
type walk struct {
	tree         *mvcc.Space[znode]
	seq          uint64
	fn           visit
	childrenOnly bool
	prefix       string // of every descendant's path
	next         string // where to seek to when run goes on
	steps        int    // keys looked at
	yielding     bool   // the pass ended for the sake of yield
	over         bool
}

// run makes passes over the index until the walk is over.
func (w *walk) run(path string, yield func()) {
	w.prefix = path
	if path != rootPath {
		w.prefix += "/"
	}
	w.next = w.prefix
	for !w.over {
		w.over, w.yielding = true, false
		w.tree.Ascend(w.next, w.key)
		if w.yielding && yield != nil {
			yield()
		}
	}
}

// key looks at one key of the index. It returns false to end the pass, having set over to false if
// another pass has to follow.
func (w *walk) key(newest *treeVersion) bool {
	k := newest.Key()
	if !strings.HasPrefix(k, w.prefix) {
		return false
	}
	w.steps++
	rest := k[len(w.prefix):]
	if w.childrenOnly {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return w.pause(w.prefix+rest[:i]+"0", w.steps%stepKeys == 0)
		}
	}
	// The root's own path is its prefix.
	if v := newest.At(w.seq); v != nil && rest != "" && !w.fn(k, &v.Record) {
		return false
	}
	if w.steps%stepKeys == 0 {
		return w.pause(k+"\x00", true)
	}
	return true
}

// pause ends the pass and has the next one begin at next.
func (w *walk) pause(next string, yielding bool) bool {
	w.next, w.yielding, w.over = next, yielding, false
	return false
}
