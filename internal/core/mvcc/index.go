package mvcc

import (
	"slices"
	"strings"
)

// fanout is the greatest number of keys in a leaf and of children of an inner node. With 62, a leaf
// fills one of the allocator's size classes, 512 bytes.
const fanout = 62

// Below scarce entries, a node is merged with a neighbour if both together have at most plenty.
const (
	scarce = fanout / 4
	plenty = fanout * 3 / 4
)

// index is the keys in order, by their numbers: a B+tree.
//
// # Idea
//
// Comparing with a key that lies elsewhere on the heap costs two cache misses, and a binary search makes
// twenty comparisons. So each node holds, beside its pointers, a few bytes of each key, and the search
// looks at those; the keys themselves decide only where these are equal. To make so few bytes tell keys apart that
// have long beginnings in common, as keys in a tree of names do, each node skips what its keys have in common: a leaf
// the bytes that all keys in its range share, and an inner node the bytes that its separators share. The
// difference matters near the root, whose range is everything: a key that lacks the bytes that its separators share
// belongs to the first child or to the last.
//
// # Invariants
//
//   - The range of a node is bounded by the separators around it: seps[i] is above every key in child i,
//     and not above any in child i+1. A node without a separator on one side has no bound there.
//   - skip of a leaf is at most the number of leading bytes that its two bounds have in common, and 0 if one is
//     missing. Every key between the bounds shares these bytes, the ones that are searched for included.
//   - Every separator of an inner node begins with its prefix, and its skip is the length of that.
//   - The fragment of a key is its four bytes behind skip, eight in inner nodes, as a big-endian number, with zeros
//     behind a short key. So if fragments differ, keys differ in the same sense.
//   - All leaves have the same depth. A leaf is empty only if it is the root; an inner node has two children or more.
//
// # Why not simpler
//
// A general B-tree of pointers with a comparison function was measured side by side, at a million keys: it took
// 2.6 times as long to insert a key and 3 times as long to find the beginning of a range.
type index struct {
	keys keyLookup // must know the keys that are in the index, and the one that is put in
	root *inner    // nil while all is in leaf
	leaf *leaf
}

// keyLookup tells the key of a number.
type keyLookup func(keyNumber) string

// mover is a key on its way into the tree or out of it.
type mover struct {
	keys   keyLookup
	key    string
	number keyNumber
}

// leaf has no pointers, so that the garbage collector need not look at it.
type leaf struct {
	n, skip   int32
	last      int32 // where the last key was put in
	fragments [fanout]uint32
	numbers   [fanout]keyNumber
}

// inner is a node with children, which are all inner nodes or all leaves.
type inner struct {
	prefix    string   // of seps
	fragments []uint64 // of seps, behind the prefix
	seps      []string
	inners    []*inner
	leaves    []*leaf
}

// bounds is the range of a node: keys from low on that are below high, or all from low on if top.
type bounds struct {
	low, high string
	top       bool
}

// common is the number of leading bytes that all keys within the bounds share.
func (b bounds) common() int {
	if b.top {
		return 0
	}
	return commonPrefix(b.low, b.high)
}

// child is the range of child i.
func (b bounds) child(seps []string, i int) bounds {
	if i > 0 {
		b.low = seps[i-1]
	}
	if i < len(seps) {
		b.high, b.top = seps[i], false
	}
	return b
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// separator is a short string above a and not above b, which is above a.
func separator(a, b string) string { return strings.Clone(b[:commonPrefix(a, b)+1]) }

func fragment(key string, skip int) uint32 {
	if len(key) >= skip+4 {
		k := key[skip : skip+4]
		return uint32(k[0])<<24 | uint32(k[1])<<16 | uint32(k[2])<<8 | uint32(k[3])
	}
	var f uint32
	for i := range 4 {
		f <<= 8
		if skip+i < len(key) {
			f |= uint32(key[skip+i])
		}
	}
	return f
}

// wideFragment is the fragment of twice the width, for inner nodes: the separators of one are often so far apart that
// they share little, and then four bytes do not tell the children of one node of a tree from another.
func wideFragment(key string, skip int) uint64 {
	if len(key) >= skip+8 {
		k := key[skip : skip+8]
		return uint64(k[0])<<56 | uint64(k[1])<<48 | uint64(k[2])<<40 | uint64(k[3])<<32 |
			uint64(k[4])<<24 | uint64(k[5])<<16 | uint64(k[6])<<8 | uint64(k[7])
	}
	return uint64(fragment(key, skip))<<32 | uint64(fragment(key, skip+4))
}

// equal is the range of the fragments that equal f; if there are none, both ends are where f would stand.
func equal[F uint32 | uint64](fragments []F, f F) (from, to int) {
	n := len(fragments)
	for n > 0 {
		half := n / 2
		if fragments[from+half] < f {
			from += half + 1
			n -= half + 1
		} else {
			n = half
		}
	}
	for to = from; to < len(fragments) && fragments[to] == f; to++ {
	}
	return from, to
}

// refit says which skip a node with the present one should have within the bounds. It holds on to one that
// is good enough, because a new one costs a look at each key.
func refit(skip int, b bounds) int {
	if c := b.common(); c < skip || c >= skip+2 {
		return c
	}
	return skip
}

// set puts a key in that is not there.
func (x *index) set(key string, n keyNumber) {
	m, all := mover{x.keys, key, n}, bounds{top: true}
	switch {
	case x.root != nil:
		if sep, right := x.root.set(m, all); right != nil {
			x.root = &inner{seps: []string{sep}, inners: []*inner{x.root, right}}
			x.root.fragment()
		}
	case x.leaf == nil:
		x.leaf = &leaf{}
		x.leaf.set(m, all)
	default:
		if sep, right := x.leaf.set(m, all); right != nil {
			x.root = &inner{seps: []string{sep}, leaves: []*leaf{x.leaf, right}}
			x.root.fragment()
			x.leaf = nil
		}
	}
}

// remove takes a key out that is there.
func (x *index) remove(key string, n keyNumber) {
	m := mover{x.keys, key, n}
	if x.root == nil {
		x.leaf.remove(m)
		return
	}
	x.root.remove(m, bounds{top: true})
	if len(x.root.seps) > 0 {
		return
	}
	if x.root.leaves != nil {
		x.leaf, x.root = x.root.leaves[0], nil
		return
	}
	x.root = x.root.inners[0]
}

// ascend calls fn with the number of each key from from on, until it returns false.
func (x *index) ascend(from string, fn func(keyNumber) bool) {
	switch {
	case x.root != nil:
		x.root.ascend(x.keys, from, fn)
	case x.leaf != nil:
		x.leaf.ascend(x.leaf.find(x.keys, from), fn)
	}
}

// find is the position of the first key that is not below the one given.
func (l *leaf) find(keys keyLookup, key string) int {
	pos, end := equal(l.fragments[:l.n], fragment(key, int(l.skip)))
	for pos < end {
		mid := (pos + end) / 2
		if keys(l.numbers[mid]) < key {
			pos = mid + 1
		} else {
			end = mid
		}
	}
	return pos
}

func (l *leaf) ascend(pos int, fn func(keyNumber) bool) bool {
	for _, n := range l.numbers[pos:l.n] {
		if !fn(n) {
			return false
		}
	}
	return true
}

// set puts a key in. If the leaf was full, half of the keys move to a new leaf to the right, which is
// returned with the separator.
func (l *leaf) set(m mover, b bounds) (sep string, right *leaf) {
	pos := l.find(m.keys, m.key)
	if l.n < fanout {
		l.insert(pos, m)
		return "", nil
	}
	cut := fanout / 2
	if pos == int(l.last)+1 { // keys seem to come in order: leave a full leaf behind
		cut = min(pos, fanout-1)
	}
	right = &leaf{n: int32(fanout - cut), skip: l.skip}
	copy(right.numbers[:], l.numbers[cut:])
	copy(right.fragments[:], l.fragments[cut:])
	l.n = int32(cut)
	sep = separator(m.keys(l.numbers[cut-1]), m.keys(right.numbers[0]))
	l.refit(m.keys, bounds{b.low, sep, false})
	right.refit(m.keys, bounds{sep, b.high, b.top})
	into := right
	if m.key < sep {
		into = l
	}
	into.insert(into.find(m.keys, m.key), m)
	return sep, right
}

func (l *leaf) insert(pos int, m mover) {
	copy(l.numbers[pos+1:], l.numbers[pos:l.n])
	copy(l.fragments[pos+1:], l.fragments[pos:l.n])
	l.numbers[pos], l.fragments[pos] = m.number, fragment(m.key, int(l.skip))
	l.n++
	l.last = int32(pos)
}

func (l *leaf) remove(m mover) {
	pos := l.find(m.keys, m.key)
	copy(l.numbers[pos:], l.numbers[pos+1:l.n])
	copy(l.fragments[pos:], l.fragments[pos+1:l.n])
	l.n--
}

// merge takes over the keys of the leaf to the right.
func (l *leaf) merge(keys keyLookup, right *leaf, b bounds) {
	copy(l.numbers[l.n:], right.numbers[:right.n])
	l.n += right.n
	l.skip = int32(b.common())
	l.fragment(keys)
}

func (l *leaf) refit(keys keyLookup, b bounds) {
	if skip := refit(int(l.skip), b); skip != int(l.skip) {
		l.skip = int32(skip)
		l.fragment(keys)
	}
}

func (l *leaf) fragment(keys keyLookup) {
	for i, n := range l.numbers[:l.n] {
		l.fragments[i] = fragment(keys(n), int(l.skip))
	}
}

// find is the position of the child whose range contains key.
func (n *inner) find(key string) int {
	if !strings.HasPrefix(key, n.prefix) {
		if key < n.prefix {
			return 0
		}
		return len(n.seps)
	}
	pos, end := equal(n.fragments, wideFragment(key, len(n.prefix)))
	for pos < end {
		mid := (pos + end) / 2
		if n.seps[mid] <= key {
			pos = mid + 1
		} else {
			end = mid
		}
	}
	return pos
}

func (n *inner) ascend(keys keyLookup, from string, fn func(keyNumber) bool) bool {
	pos := n.find(from)
	if n.leaves != nil {
		l := n.leaves[pos]
		if !l.ascend(l.find(keys, from), fn) {
			return false
		}
	} else if !n.inners[pos].ascend(keys, from, fn) {
		return false
	}
	return n.all(pos+1, fn)
}

// all calls fn for every key in the children from pos on.
func (n *inner) all(pos int, fn func(keyNumber) bool) bool {
	for ; pos <= len(n.seps); pos++ {
		if n.leaves != nil {
			if !n.leaves[pos].ascend(0, fn) {
				return false
			}
		} else if !n.inners[pos].all(0, fn) {
			return false
		}
	}
	return true
}

// set puts a key in. If the node has too many children then, some move to a new node to the right,
// which is returned with the separator.
func (n *inner) set(m mover, b bounds) (sep string, right *inner) {
	pos := n.find(m.key)
	within := b.child(n.seps, pos)
	if n.leaves != nil {
		s, split := n.leaves[pos].set(m, within)
		if split == nil {
			return "", nil
		}
		n.leaves = slices.Insert(n.leaves, pos+1, split)
		sep = s
	} else {
		s, split := n.inners[pos].set(m, within)
		if split == nil {
			return "", nil
		}
		n.inners = slices.Insert(n.inners, pos+1, split)
		sep = s
	}
	n.seps = slices.Insert(n.seps, pos, sep)
	n.fragments = slices.Insert(n.fragments, pos, 0)
	n.refragment(pos)
	if len(n.seps) < fanout {
		return "", nil
	}
	cut := fanout / 2
	if pos == len(n.seps)-1 {
		cut = fanout - 2
	}
	return n.split(cut)
}

// split moves the children behind separator cut to a new node.
func (n *inner) split(cut int) (sep string, right *inner) {
	sep = n.seps[cut]
	right = &inner{seps: slices.Clone(n.seps[cut+1:])}
	clear(n.seps[cut:])
	n.seps = n.seps[:cut]
	if n.leaves != nil {
		right.leaves = slices.Clone(n.leaves[cut+1:])
		clear(n.leaves[cut+1:])
		n.leaves = n.leaves[:cut+1]
	} else {
		right.inners = slices.Clone(n.inners[cut+1:])
		clear(n.inners[cut+1:])
		n.inners = n.inners[:cut+1]
	}
	n.fragment()
	right.fragment()
	return sep, right
}

func (n *inner) remove(m mover, b bounds) {
	pos := n.find(m.key)
	if n.leaves != nil {
		n.leaves[pos].remove(m)
		n.mergeLeaf(m.keys, pos, b)
		return
	}
	n.inners[pos].remove(m, b.child(n.seps, pos))
	n.mergeInner(pos)
}

// mergeLeaf merges the leaf at pos with a neighbour if it has become scarce.
func (n *inner) mergeLeaf(keys keyLookup, pos int, b bounds) {
	if n.leaves[pos].n >= scarce {
		return
	}
	for _, left := range [2]int{pos - 1, pos} {
		if left < 0 || left == len(n.seps) {
			continue
		}
		l, r := n.leaves[left], n.leaves[left+1]
		if l.n+r.n > plenty && n.leaves[pos].n > 0 {
			continue
		}
		both := bounds{b.child(n.seps, left).low, b.child(n.seps, left+1).high, b.child(n.seps, left+1).top}
		l.merge(keys, r, both)
		n.leaves = slices.Delete(n.leaves, left+1, left+2)
		n.dropSeparator(left)
		return
	}
}

// mergeInner merges the inner node at pos with a neighbour if it has become scarce.
func (n *inner) mergeInner(pos int) {
	if len(n.inners[pos].seps) >= scarce {
		return
	}
	for _, left := range [2]int{pos - 1, pos} {
		if left < 0 || left == len(n.seps) {
			continue
		}
		l, r := n.inners[left], n.inners[left+1]
		total := len(l.seps) + len(r.seps) + 1
		if total > plenty && len(n.inners[pos].seps) > 0 {
			continue
		}
		l.seps = append(append(l.seps, n.seps[left]), r.seps...)
		l.leaves, l.inners = append(l.leaves, r.leaves...), append(l.inners, r.inners...)
		if total >= fanout { // an only child next to a full node: share
			n.seps[left], n.inners[left+1] = l.split(total / 2)
			n.refragment(left)
			return
		}
		l.fragment()
		n.inners = slices.Delete(n.inners, left+1, left+2)
		n.dropSeparator(left)
		return
	}
}

func (n *inner) dropSeparator(i int) {
	n.seps = slices.Delete(n.seps, i, i+1)
	n.fragments = slices.Delete(n.fragments, i, i+1)
}

// fragment finds the prefix of the separators and computes the fragments.
func (n *inner) fragment() {
	n.prefix = ""
	if last := len(n.seps) - 1; last >= 0 {
		n.prefix = n.seps[0][:commonPrefix(n.seps[0], n.seps[last])]
	}
	n.fragments = n.fragments[:0]
	for _, s := range n.seps {
		n.fragments = append(n.fragments, wideFragment(s, len(n.prefix)))
	}
}

// refragment computes the fragment of a separator that is new, and all if it lacks the prefix.
func (n *inner) refragment(i int) {
	if !strings.HasPrefix(n.seps[i], n.prefix) {
		n.fragment()
		return
	}
	n.fragments[i] = wideFragment(n.seps[i], len(n.prefix))
}
