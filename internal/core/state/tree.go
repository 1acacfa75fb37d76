package state

import (
	"maps"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// The tree as keys.
//
// Idea: the tree is mounted among etcd's keys at a prefix, such as "/zk": the znode /a/b is the key /zk/a/b.
// Every key that begins with the prefix belongs to the tree, and a range that lies wholly among such
// keys sees the tree; all other keys and ranges are plain. So a client that reads, watches or deletes
// everything meets its own keys only.
//
// Rules of a tree that etcd does not know hold for etcd's writes too, and its counters, quotas and events move
// as if a ZooKeeper client had written:
//
//   - a key must be a valid path. The root and everything at and below /zookeeper have no keys.
//   - parents that a put finds missing are made as implicit nodes. They look persistent, but the
//     command that removes the last child of one removes it too, unless somebody wrote to it by then.
//   - a put creates an ephemeral node if it names a lease; on a node that is there it must name
//     the owner that the node has.
//   - new nodes, implicit ones included, have the access list of the nearest node above them.
//   - a node is not deleted while it has children; but a txn or a range may delete both, in any
//     order, so what counts is the end of the command. Until then such a node is doomed: readers
//     within the txn do not see it, and nothing can be put at or below it.

// mount is the place of the tree among the keys. The zero mount covers no key.
type mount struct {
	prefix string // begins every key of the tree; empty if the tree has no keys
	end    string // the first key behind them; empty if there is none
}

// mountAt returns the mount at a prefix.
func mountAt(prefix string) mount {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return mount{prefix: prefix, end: string(b[:i+1])}
		}
	}
	return mount{prefix: prefix}
}

// covers says whether a key belongs to the tree, be it a valid path or not.
func (t *mount) covers(key string) bool { return t.prefix != "" && strings.HasPrefix(key, t.prefix) }

// coversSpan says whether the keys of a span belong to the tree.
func (t *mount) coversSpan(s span) bool {
	if s.single || !t.covers(s.from) {
		return t.covers(s.from)
	}
	return t.end == "" || s.to != "" && s.to <= t.end
}

// paths translates a span of the tree into one of paths.
func (t *mount) paths(s span) span {
	p := span{from: s.from[len(t.prefix):], single: s.single}
	switch {
	case s.single:
	case s.to != "" && s.to <= s.from:
		p.to = "\x00" // empty, as no path is below it
	case strings.HasPrefix(s.to, t.prefix):
		p.to = s.to[len(t.prefix):]
	}
	return p
}

// inTree says whether a key belongs to the tree.
func (m *Machine) inTree(key string) bool { return m.mount.covers(key) }

// spanInTree says whether the keys of a span belong to the tree.
func (m *Machine) spanInTree(s span) bool { return m.mount.coversSpan(s) }

// reserved says whether the node at a valid path has no key even though the tree has.
func reserved(path string) bool {
	return path == rootPath || path == systemPath || strings.HasPrefix(path, systemPath+"/")
}

// hasKey says whether the node at path is a key.
func (m *Machine) hasKey(path string) bool { return m.mount.prefix != "" && !reserved(path) }

// pathOf returns the path of a key of the tree that is to be written.
func (m *Machine) pathOf(key string) (string, Code) {
	path := key[len(m.mount.prefix):]
	if reason := validPath(path); reason != "" {
		return "", m.refuse(InvalidPath, key, reason)
	}
	if reserved(path) {
		return "", m.refuse(TreeConflict, key, "node is reserved")
	}
	return path, OK
}

// refuse notes for the client why a key was refused.
func (m *Machine) refuse(code Code, key, reason string) Code {
	m.do.detail = strings.ToValidUTF8(key, "\uFFFD") + ": " + reason
	return code
}

// scanNodes is scan for the nodes that are keys.
func (m *Machine) scanNodes(s span, seq uint64, yield func(), fn func(*treeVersion) bool) {
	const behindSystem = systemPath + "0" // '0' follows '/'
	if s.single {
		if !reserved(s.from) {
			scan(m.tree, s, seq, yield, fn)
		}
		return
	}
	on := true
	keys := func(v *treeVersion) bool {
		on = reserved(v.Key()) || fn(v)
		return on
	}
	low, high := s, s
	if low.to == "" || low.to > systemPath+"/" {
		low.to = systemPath + "/"
	}
	if high.from < behindSystem {
		high.from = behindSystem
	}
	scan(m.tree, low, seq, yield, keys)
	if on {
		scan(m.tree, high, seq, yield, keys)
	}
}

// doomed says whether a node was deleted by the command under way but still waits for its children to go.
func (m *Machine) doomed(path string) bool {
	_, is := m.do.doomed[path]
	return is
}

// checkPutNode is checkPut for a key of the tree. A put may name a session only as the owner that the node
// has already.
func (m *Machine) checkPutNode(c *command.Put) Code {
	path, code := m.pathOf(c.Key)
	if code != OK {
		return code
	}
	z := m.node(path)
	owned := z != nil && z.owner == c.Lease
	switch {
	case c.Lease != 0 && !owned && m.leases.grant(c.Lease) == nil:
		return LeaseNotFound
	case (c.IgnoreValue || c.IgnoreLease) && z == nil:
		return KeyNotFound
	}
	return OK
}

// putNodeKey writes a key of the tree: it sets a node's data or creates the node.
func (m *Machine) putNodeKey(c *command.Put) (Code, any) {
	path, code := m.pathOf(c.Key)
	if code != OK {
		return code, nil
	}
	if m.doomed(path) {
		return m.refuse(TreeConflict, c.Key, "node was deleted by the same transaction"), nil
	}
	data := c.Value
	if data == nil {
		data = []byte{} // a put of nothing is empty, not ZooKeeper's null
	}
	z := m.node(path)
	if z == nil {
		if c.IgnoreValue || c.IgnoreLease {
			return KeyNotFound, nil
		}
		return m.createKey(c, path, data), m.plainPut
	}
	if code := m.maySetKey(c, path, z); code != OK {
		return code, nil
	}
	if c.IgnoreValue {
		data = z.data
	}
	if code := m.mayGrow(path, data, z); code != OK {
		return m.refuse(code, c.Key, "quota exceeded"), nil
	}
	m.setZnode(path, data)
	if !c.PrevKV {
		return OK, m.plainPut
	}
	prev := row{key: path, node: z}.keyValue(m.mount.prefix, false)
	return OK, &PutResult{Prev: &prev}
}

// maySetKey checks a put on a node that is there.
func (m *Machine) maySetKey(c *command.Put, path string, z *znode) Code {
	if code := m.nodeAllows(m.do.caller, z.acl, command.PermWrite); code != OK {
		return code
	}
	if c.PrevKV {
		if code := m.nodeAllows(m.do.caller, z.acl, command.PermRead); code != OK {
			return code
		}
	}
	if !c.IgnoreLease && c.Lease != z.owner {
		return m.refuse(TreeConflict, c.Key, "lease is not the owner of the node")
	}
	return OK
}

// createKey creates a node, and above it those that are missing.
func (m *Machine) createKey(c *command.Put, path string, data []byte) Code {
	up, missing := parentOf(path), []string(nil)
	for m.node(up) == nil {
		missing = append(missing, up)
		up = parentOf(up)
	}
	above := m.node(up)
	if code := m.nodeAllows(m.do.caller, above.acl, command.PermCreate); code != OK {
		return code
	}
	switch {
	case m.doomed(up):
		return m.refuse(TreeConflict, c.Key, "parent was deleted by the same transaction")
	case above.kind == ephemeral:
		return m.refuse(TreeConflict, c.Key, "parent is ephemeral")
	case c.Lease < 0:
		return m.refuse(TreeConflict, c.Key, "id of the lease is negative")
	}
	if code := m.roomForNodes(path, data, len(missing)); code != OK {
		return m.refuse(code, c.Key, "quota exceeded")
	}
	for _, p := range slices.Backward(missing) {
		m.createZnode(p, znode{data: []byte{}, acl: above.acl, kind: implicit})
	}
	z := znode{data: data, acl: above.acl}
	if c.Lease != 0 {
		z.kind, z.owner = ephemeral, c.Lease
	}
	m.createZnode(path, z)
	return OK
}

// roomForNodes says whether a node with data and some implicit ones above it may be created.
func (m *Machine) roomForNodes(path string, data []byte, above int) Code {
	code := m.mayGrow(path, data, nil)
	if code != OK || above == 0 {
		return code
	}
	if code := m.treeRoom((above+1)*(recordBytes+len(path)) + len(data)); code != OK {
		return code
	}
	if m.settings.EnforceQuota && m.overHardLimit(path, int64(len(data)), int64(above)+1) {
		return QuotaExceeded
	}
	return OK
}

// deleteNodeKeys deletes keys of the tree. Children come behind their parents in the order of paths, so it
// goes backwards.
func (m *Machine) deleteNodeKeys(c *command.DeleteRange, s span) (Code, any) {
	if s.single {
		if _, code := m.pathOf(s.from); code != OK {
			return code, nil
		}
	}
	res := &DeleteRangeResult{}
	if c.PrevKV {
		rd := reading{view: m.now(), caller: m.do.caller, seq: m.seq, strict: true}
		code := rd.each(s, func(r row) bool {
			res.Prev = append(res.Prev, r.keyValue(m.mount.prefix, false))
			return true
		})
		if code != OK {
			return code, nil
		}
	}
	var paths []string
	m.scanNodes(m.mount.paths(s), m.seq, m.yield, func(v *treeVersion) bool {
		if !m.doomed(v.Key()) {
			paths = append(paths, v.Key())
		}
		return true
	})
	steps := 0
	for _, path := range slices.Backward(paths) {
		if code := m.deleteNode(path); code != OK {
			return code, nil
		}
		m.step(&steps)
	}
	res.Deleted = int64(len(paths))
	return OK, res
}

// deleteNode deletes one node, or dooms it if it has children.
func (m *Machine) deleteNode(path string) Code {
	if code := m.nodeAllows(m.do.caller, m.node(parentOf(path)).acl, command.PermDelete); code != OK {
		return code
	}
	if m.node(path).children == 0 {
		m.removeZnode(path)
		return OK
	}
	if m.do.doomed == nil {
		m.do.doomed = make(map[string]struct{})
	}
	m.do.doomed[path] = struct{}{}
	m.do.keys = true // the header of its response shows the new revision already
	return OK
}

// settleDoomed deletes the doomed nodes when the command has done everything else, and refuses the
// command if one still has children.
func (m *Machine) settleDoomed() Code {
	if len(m.do.doomed) == 0 {
		return OK
	}
	paths := slices.Sorted(maps.Keys(m.do.doomed))
	for _, path := range slices.Backward(paths) {
		if m.node(path).children > 0 {
			return m.refuse(TreeConflict, m.mount.prefix+path, "node has children")
		}
		m.removeZnode(path)
	}
	clear(m.do.doomed)
	return OK
}
