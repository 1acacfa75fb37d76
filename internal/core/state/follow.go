package state

import "github.com/okapi-kv/okapi/internal/core/command"

// History names the history that views show. Views of one machine have equal ones; the state that a snapshot
// installed has another, of which other parts may be forgotten.
type History struct{ machine *Machine }

// History returns the history that the log belongs to.
func (l ChangeLog) History() History { return History{l.view.m} }

// MayWatch says whether the caller may watch the keys [key, end), key and end being as in command.Range. Znodes
// that it may not read are left out of what it learns, by Change.ReadableBy.
func MayWatch(v View, c *command.Caller, key, end string) Code {
	return v.m.authorize(c, &command.Range{Key: key, End: end})
}

// Tree says whether it is the log of the tree.
func (l ChangeLog) Tree() bool { return l.tree }

// EachAfter calls fn for the changes of keys with a sequence number above seq, which is told too, in order, until fn
// returns false. It also reads below the floor what has not been freed yet, which is the caller's to know: it
// keeps a pin at seq in this history. The Change is used again for the next call. It is nil for a version that is no
// change of a key: fn is called for it all the same, so that it can bound what it looks at.
func (l ChangeLog) EachAfter(seq uint64, fn func(*Change, uint64) bool) {
	m, c := l.view.m, Change{view: l.view}
	if !l.tree {
		m.plain.ChangesAfter(seq, func(v *plainVersion) bool { return l.plainChange(&c, v, fn) })
		return
	}
	if m.mount.prefix != "" {
		m.tree.ChangesAfter(seq, func(v *treeVersion) bool { return l.treeChange(&c, v, fn) })
	}
}

// EachFrom is EachAfter from a revision on, which must not be below the floor.
func (l ChangeLog) EachFrom(revision int64, fn func(*Change, uint64) bool) {
	m, c := l.view.m, Change{view: l.view}
	revision = max(revision, 1)
	if !l.tree {
		m.plain.Changes(revision, func(v *plainVersion) bool { return l.plainChange(&c, v, fn) })
		return
	}
	if m.mount.prefix != "" {
		m.tree.Changes(revision, func(v *treeVersion) bool { return l.treeChange(&c, v, fn) })
	}
}

// Each calls fn for the changes of keys from a revision on, which must not be below the floor, in order, until fn returns
// false. The Change is used again for the next call. A change of a znode's metadata alone is none of its key.
func (l ChangeLog) Each(revision int64, fn func(*Change) bool) {
	l.EachFrom(revision, func(c *Change, _ uint64) bool { return c == nil || fn(c) })
}

// plainChange tells of one version of a plain key; false ends the walk.
func (l ChangeLog) plainChange(c *Change, v *plainVersion, fn func(*Change, uint64) bool) bool {
	if v.Seq() > l.view.seq {
		return false
	}
	c.Key, c.Revision, c.Deleted = v.Key(), v.Rev, v.Deleted()
	c.now, c.before = plainRow(v), plainRow(v.Prev())
	return fn(c, v.Seq())
}

// treeChange tells of one version of a znode; false ends the walk.
func (l ChangeLog) treeChange(c *Change, v *treeVersion, fn func(*Change, uint64) bool) bool {
	if v.Seq() > l.view.seq {
		return false
	}
	if reserved(v.Key()) || !changesKey(v) {
		return fn(nil, v.Seq())
	}
	c.Key, c.Revision, c.Deleted = l.view.m.mount.prefix+v.Key(), v.Rev, v.Deleted()
	c.now, c.before = treeRow(v), treeRow(v.Prev())
	return fn(c, v.Seq())
}
