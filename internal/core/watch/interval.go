package watch

import "cmp"

// intervalTree holds groups whose spans are ranges and finds those that contain a key, in time that grows
// with the logarithm of their number and with the number found. It is a height-balanced (AVL)
// search tree by span, in which each node knows the greatest end below it.
type intervalTree[W comparable] struct {
	root *interval[W]
}

type interval[W comparable] struct {
	group       *group[W]
	left, right *interval[W]
	height      int
	maxEnd      string // greatest end in this subtree, openEnd being the greatest of all
}

// compareEnds orders ends of ranges.
func compareEnds(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == openEnd:
		return 1
	case b == openEnd:
		return -1
	default:
		return cmp.Compare(a, b)
	}
}

func compareSpans(a, b Span) int {
	if c := cmp.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	return compareEnds(a.End, b.End)
}

// find returns the group of exactly that span; nil if there is none.
func (t *intervalTree[W]) find(s Span) *group[W] {
	for n := t.root; n != nil; {
		switch c := compareSpans(s, n.group.span); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.group
		}
	}
	return nil
}

// insert adds a group whose span is not in the tree.
func (t *intervalTree[W]) insert(g *group[W]) { t.root = t.root.insert(g) }

// remove takes a group out that is in the tree.
func (t *intervalTree[W]) remove(g *group[W]) { t.root = t.root.remove(g.span) }

// match wakes the watches of all groups whose span contains the key, in the order of the spans.
func (t *intervalTree[W]) match(key string, wake func(W)) { t.root.match(key, wake) }

func (n *interval[W]) match(key string, wake func(W)) {
	if n == nil || n.maxEnd != openEnd && n.maxEnd <= key {
		return
	}
	n.left.match(key, wake)
	if key < n.group.span.Key {
		return // and so do all spans to the right begin behind the key
	}
	if n.group.span.Contains(key) {
		n.group.wake(wake)
	}
	n.right.match(key, wake)
}

func (n *interval[W]) insert(g *group[W]) *interval[W] {
	if n == nil {
		return &interval[W]{group: g, height: 1, maxEnd: g.span.End}
	}
	if compareSpans(g.span, n.group.span) < 0 {
		n.left = n.left.insert(g)
	} else {
		n.right = n.right.insert(g)
	}
	return n.balance()
}

func (n *interval[W]) remove(s Span) *interval[W] {
	switch c := compareSpans(s, n.group.span); {
	case c < 0:
		n.left = n.left.remove(s)
	case c > 0:
		n.right = n.right.remove(s)
	case n.right == nil:
		return n.left
	case n.left == nil:
		return n.right
	default:
		n.group = n.right.least()
		n.right = n.right.remove(n.group.span)
	}
	return n.balance()
}

// least returns the first group of a subtree.
func (n *interval[W]) least() *group[W] {
	for n.left != nil {
		n = n.left
	}
	return n.group
}

func (n *interval[W]) tall() int {
	if n == nil {
		return 0
	}
	return n.height
}

// refresh computes what a node knows of its subtree.
func (n *interval[W]) refresh() {
	n.height = 1 + max(n.left.tall(), n.right.tall())
	n.maxEnd = n.group.span.End
	for _, child := range [2]*interval[W]{n.left, n.right} {
		if child != nil && compareEnds(child.maxEnd, n.maxEnd) > 0 {
			n.maxEnd = child.maxEnd
		}
	}
}

// balance restores the balance of a node whose subtrees are balanced and differ in height by at most two, and
// returns the new top.
func (n *interval[W]) balance() *interval[W] {
	switch d := n.left.tall() - n.right.tall(); {
	case d > 1:
		if n.left.left.tall() < n.left.right.tall() {
			n.left = n.left.rotateLeft()
		}
		return n.rotateRight()
	case d < -1:
		if n.right.right.tall() < n.right.left.tall() {
			n.right = n.right.rotateRight()
		}
		return n.rotateLeft()
	default:
		n.refresh()
		return n
	}
}

func (n *interval[W]) rotateLeft() *interval[W] {
	top := n.right
	n.right, top.left = top.left, n
	n.refresh()
	top.refresh()
	return top
}

func (n *interval[W]) rotateRight() *interval[W] {
	top := n.left
	n.left, top.right = top.right, n
	n.refresh()
	top.refresh()
	return top
}
