package state

// The only functions that change the two spaces. They keep the sequence number, the digest, and
// whether the revision moves; their callers keep the rules.

// putKey writes a new version of a plain key and returns its item. it is what the space has for the key, and old
// its present version, nil if it is not live.
func (m *Machine) putKey(key string, it *plainItem, old *plainVersion, v value) *plainItem {
	m.seq++
	m.do.keys = true
	if old != nil {
		m.digest -= digestValue(key, old.Rev, &old.Record)
		if old.Record.lease != 0 {
			m.detachKey(old.Record.lease, key)
		}
	}
	if v.lease != 0 {
		m.attachKey(v.lease, key)
	}
	m.digest += digestValue(key, m.do.rev, &v)
	if it == nil {
		return m.plain.Insert(key, m.seq, m.do.rev, v)
	}
	m.plain.Update(it, m.seq, m.do.rev, v)
	return it
}

// deleteKey writes a tombstone over a plain key that is live.
func (m *Machine) deleteKey(key string) {
	m.seq++
	m.do.keys = true
	old := m.plain.Get(key).Head()
	m.digest -= digestValue(key, old.Rev, &old.Record)
	if old.Record.lease != 0 {
		m.detachKey(old.Record.lease, key)
	}
	m.plain.Delete(key, m.seq, m.do.rev, value{})
}

// node returns the newest version of a znode; nil if there is none.
func (m *Machine) node(path string) *znode { return nodeOf(m.tree.Get(path)) }

// nodeOf is node for an item, which may be nil.
func nodeOf(it *treeItem) *znode {
	if it == nil {
		return nil
	}
	v := it.Head()
	if v == nil {
		return nil
	}
	return &v.Record
}

// putNode writes a new version of a znode. asKey says that the key of the node changed too: it was
// created or its data set, rather than its metadata alone. Nodes without a key (the root, /zookeeper,
// and all while the tree has no prefix) never move the revision.
func (m *Machine) putNode(path string, z znode, asKey bool) {
	m.putItem(path, m.tree.Get(path), z, asKey)
}

// putItem is putNode for a caller that has looked up the item, nil if there is none; it returns the item.
func (m *Machine) putItem(path string, it *treeItem, z znode, asKey bool) *treeItem {
	m.seq++
	if asKey && m.hasKey(path) {
		m.do.keys = true
		z.mod = m.do.rev
		if z.create == 0 {
			z.create = m.do.rev
		}
	}
	if old := nodeOf(it); old != nil {
		m.digest -= digestNode(path, old)
		m.treeHistory.total += sizeSuperseded(path, old, asKey)
	}
	m.digest += digestNode(path, &z)
	if it == nil {
		return m.tree.Insert(path, m.seq, m.treeStamp(), z)
	}
	m.tree.Update(it, m.seq, m.treeStamp(), z)
	return it
}

// removeNode writes a tombstone over a znode that is live. The tombstone keeps the access list of
// the node, which decides who may learn that it is gone.
func (m *Machine) removeNode(path string) {
	m.seq++
	if m.hasKey(path) {
		m.do.keys = true
	}
	old := m.node(path)
	m.digest -= digestNode(path, old)
	m.treeHistory.total += sizeNode(path, old) + sizeNode(path, &znode{})
	m.do.removed = append(m.do.removed, path)
	m.tree.Delete(path, m.seq, m.treeStamp(), znode{acl: old.acl})
}

// treeStamp returns the revision that a version of a znode is stamped with, which is what the floor of
// the tree counts in: the store's revision or, in a tree without keys, which nobody reads by
// revision and whose writes do not move it, the sequence number.
func (m *Machine) treeStamp() int64 {
	switch {
	case m.bootstrapped && m.settings.TreePrefix == "":
		return int64(m.seq)
	case m.do.keys:
		return m.do.rev
	default:
		return m.revision
	}
}
