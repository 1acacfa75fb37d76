package state

// The only functions that change the two spaces. They keep the sequence number, the digest, and
// whether the revision moves; their callers keep the rules.

// putKey writes a new version of a plain key. newest is what the space has for the key, nil or a tombstone if it does
// not live.
func (m *Machine) putKey(key string, newest *plainVersion, v value) {
	m.seq++
	m.do.keys = true
	if old := newest.Live(); old != nil {
		m.digest -= digestValue(key, old.Rev, &old.Record)
		if old.Record.lease != 0 {
			m.detachKey(old.Record.lease, key)
		}
	}
	if v.lease != 0 {
		m.attachKey(v.lease, key)
	}
	m.digest += digestValue(key, m.do.rev, &v)
	if newest == nil {
		m.plain.Insert(key, m.seq, m.do.rev, v)
		return
	}
	m.plain.Update(newest, m.seq, m.do.rev, v)
}

// deleteKey writes a tombstone over a plain key that is live.
func (m *Machine) deleteKey(key string) {
	m.seq++
	m.do.keys = true
	old := m.plain.Get(key)
	m.digest -= digestValue(key, old.Rev, &old.Record)
	if old.Record.lease != 0 {
		m.detachKey(old.Record.lease, key)
	}
	m.plain.Delete(key, m.seq, m.do.rev, value{})
}

// node returns the newest version of a znode; nil if there is none.
func (m *Machine) node(path string) *znode { return nodeOf(m.tree.Get(path)) }

// nodeOf returns what stands in the newest version of a znode; nil if there is none or it is a tombstone.
func nodeOf(newest *treeVersion) *znode {
	if v := newest.Live(); v != nil {
		return &v.Record
	}
	return nil
}

// putNode writes a new version of a znode. asKey says that the key of the node changed too: it was
// created or its data set, rather than its metadata alone. Nodes without a key (the root, /zookeeper,
// and all while the tree has no prefix) never move the revision.
func (m *Machine) putNode(path string, z znode, asKey bool) {
	m.putVersion(path, m.tree.Get(path), z, asKey)
}

// putVersion is putNode for a caller that has looked up what the space has for the path; it returns the new version.
func (m *Machine) putVersion(path string, newest *treeVersion, z znode, asKey bool) *treeVersion {
	m.seq++
	if asKey && m.hasKey(path) {
		m.do.keys = true
		z.mod = m.do.rev
		if z.create == 0 {
			z.create = m.do.rev
		}
	}
	if old := nodeOf(newest); old != nil {
		m.digest -= digestNode(path, old)
		m.treeHistory.total += sizeSuperseded(path, old, asKey)
	}
	m.digest += digestNode(path, &z)
	if newest == nil {
		return m.tree.Insert(path, m.seq, m.treeStamp(), z)
	}
	return m.tree.Update(newest, m.seq, m.treeStamp(), z)
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
