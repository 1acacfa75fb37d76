package state

import "github.com/okapi-kv/okapi/internal/core/command"

// ChangeLog is the log of changes that etcd watches read: of the tree or of the plain keys, up to a view. A
// watch reads exactly one of them, as no range has keys of both.
type ChangeLog struct {
	view View
	tree bool
}

// Log returns the log of the tree's keys, or that of the plain ones.
func (v View) Log(tree bool) ChangeLog { return ChangeLog{view: v, tree: tree} }

// LogOf returns the log in which a watch of the keys [key, end) finds its changes; key and end are as
// in command.Range.
func (v View) LogOf(key, end string) ChangeLog {
	return v.Log(v.m.mount.coversSpan(spanOf(key, end)))
}

// Floor returns the lowest revision whose changes are still there; -1 if all are. In a tree without keys it
// means nothing.
func (l ChangeLog) Floor() int64 {
	if l.tree {
		return l.view.m.treeHistory.floor
	}
	return l.view.m.compacted
}

// Head returns the newest revision of the log.
func (l ChangeLog) Head() int64 { return l.view.revision }

// changesKey says whether a version of a znode differs from the one before in more than metadata: each
// write of the data changes the node's version, and one that was deleted and created anew has a
// tombstone in between.
func changesKey(v *treeVersion) bool {
	p := v.Prev()
	return v.Deleted() || p.Live() == nil || p.Record.version != v.Record.version
}

// plainRow and treeRow return what stands in a version; v may be nil or a tombstone.
func plainRow(v *plainVersion) row {
	if v.Live() == nil {
		return row{}
	}
	return row{key: v.Key(), rev: v.Rev, value: &v.Record}
}

func treeRow(v *treeVersion) row {
	if v == nil {
		return row{}
	}
	return row{key: v.Key(), node: &v.Record, gone: v.Deleted()}
}

// Change is one change of one key.
type Change struct {
	Key string
	// Revision is the revision of the command that made it. A command may change a key several times.
	Revision int64
	// Deleted says that the key was deleted; else it was put.
	Deleted bool

	view        View
	now, before row
}

// KeyValue returns what was put; for a deletion, the key and its revision alone.
func (c *Change) KeyValue() KeyValue {
	if c.Deleted {
		return KeyValue{Key: c.Key, ModRevision: c.Revision}
	}
	return c.now.keyValue(c.view.m.mount.prefix, false)
}

// Before returns what the key was just before the change; false if it was not there, or if that is no
// longer known.
func (c *Change) Before() (KeyValue, bool) {
	if c.before.gone || c.before.node == nil && c.before.value == nil {
		return KeyValue{}, false
	}
	return c.before.keyValue(c.view.m.mount.prefix, false), true
}

// ReadableBy says whether the caller may learn of the change: by the access list that the znode had, and
// by today's if it lives. Plain keys have none.
func (c *Change) ReadableBy(caller *command.Caller) bool {
	z := c.now.node
	if z == nil {
		return true
	}
	m := c.view.m
	if m.nodeAllows(caller, z.acl, command.PermRead) != OK {
		return false
	}
	today := m.tree.Get(c.now.key).At(c.view.seq)
	return today == nil || m.nodeAllows(caller, today.Record.acl, command.PermRead) == OK
}
