package state

import (
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Reads of the tree as ZooKeeper has them. They do not validate paths: a malformed path names no node.
// The empty path is the root.

// readNode returns the node at path as the view sees it, if the caller holds any one of the permissions perm.
func (v View) readNode(c *command.Caller, path string, perm command.Permission) (*znode, Code) {
	z := v.znode(path)
	if z == nil {
		return nil, NoNode
	}
	if !v.m.aclAllows(c, z.acl, perm) {
		return nil, NoAuth
	}
	return z, OK
}

// znode returns the node at path as the view sees it; nil if there is none.
func (v View) znode(path string) *znode {
	if path == "" {
		path = rootPath
	}
	n := v.m.tree.Get(path).At(v.seq)
	if n == nil {
		return nil
	}
	return &n.Record
}

// Data returns a znode's data, nil for null, and its Stat. The data is shared with the store: read only.
// Codes are NoNode and NoAuth (READ).
func (v View) Data(c *command.Caller, path string) (data []byte, st Stat, code Code) {
	z, code := v.readNode(c, path, command.PermRead)
	if code != OK {
		return nil, Stat{}, code
	}
	return z.data, z.stat(), OK
}

// Exists returns a znode's Stat. Codes are BadArguments, for a NUL in the path, NoNode, and NoAuth
// for a node that the caller may not read (since ZooKeeper 3.9.2, ZOOKEEPER-2590).
func (v View) Exists(c *command.Caller, path string) (Stat, Code) {
	if strings.IndexByte(path, 0) >= 0 {
		return Stat{}, BadArguments
	}
	z, code := v.readNode(c, path, command.PermRead)
	if code != OK {
		return Stat{}, code
	}
	return z.stat(), OK
}

// Children returns the names of a znode's children in byte order, and its Stat. Codes are NoNode and
// NoAuth (READ). It calls Yield every 256 keys.
func (v View) Children(c *command.Caller, path string) ([]string, Stat, Code) {
	z, code := v.readNode(c, path, command.PermRead)
	if code != OK {
		return nil, Stat{}, code
	}
	names := make([]string, 0, z.children)
	if z.children > 0 {
		v.m.walkChildren(rootIfEmpty(path), v.seq, func(child string, _ *znode) bool {
			names = append(names, nameOf(child))
			return len(names) < cap(names) // the last one is known to be the last
		}, v.Yield)
	}
	return names, z.stat(), OK
}

// ACL returns a znode's access list and Stat. Codes are NoNode and NoAuth (READ or ADMIN). A
// caller without ADMIN gets the hashes of digest entries masked as user:x. The list is read only.
func (v View) ACL(c *command.Caller, path string) ([]command.ACL, Stat, Code) {
	z, code := v.readNode(c, path, command.PermRead|command.PermAdmin)
	if code != OK {
		return nil, Stat{}, code
	}
	list := z.acl.entries
	if !v.m.aclAllows(c, z.acl, command.PermAdmin) {
		list = maskDigests(list)
	}
	return list, z.stat(), OK
}

// Allows says whether an access list, such as that of an Event, lets the caller do what needs any one
// of the permissions perm.
func (v View) Allows(c *command.Caller, list []command.ACL, perm command.Permission) bool {
	return allows(&v.m.settings, c, list, perm)
}

// CountDescendants returns how many znodes lie below one, whoever may read them. Codes are NoNode and NoAuth
// (READ on the node itself). The root itself lies below the empty path. It calls Yield every 256 keys.
func (v View) CountDescendants(c *command.Caller, path string) (int32, Code) {
	z, code := v.readNode(c, path, command.PermRead)
	if code != OK {
		return 0, code
	}
	var n int32
	if path == "" {
		path, n = rootPath, 1 // To ZooKeeper the root lies below the empty path.
	}
	if path == rootPath && v.seq == v.m.seq {
		return n + int32(v.m.tree.Sizes().Keys-1), OK
	}
	if z.children > 0 {
		v.m.walkBelow(path, v.seq, func(string, *znode) bool {
			n++
			return true
		}, v.Yield)
	}
	return n, OK
}

// Ephemerals returns the paths of the ephemeral znodes that a session or lease owns, in byte order.
// A view that is not the newest also looks through what has changed since, as far back as the history goes. It calls Yield
// every 256 znodes.
func (v View) Ephemerals(session int64) []string {
	var paths []string
	add := func(path string) {
		if z := v.znode(path); z != nil && z.kind == ephemeral && z.owner == session {
			paths = append(paths, path)
		}
	}
	if l := v.m.leases.get(session); l != nil {
		steps := 0
		for path := range l.nodes { // in any order: they are sorted below
			add(path)
			stepView(v, &steps) // What goes meanwhile is among the changes below.
		}
	}
	if v.seq < v.m.seq {
		v.m.tree.ChangesAfter(v.seq, func(n *treeVersion) bool {
			add(n.Key())
			return true
		})
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Session returns a ZooKeeper session; false if there is none with that id.
func (v View) Session(id int64) (Session, bool) {
	l := v.m.leases.session(id)
	if l == nil {
		return Session{}, false
	}
	return Session{ID: l.id, Password: l.password, TimeoutMS: l.timeoutMS, Generation: l.generation, Sequence: l.sequence}, true
}

// NodeCount returns the number of znodes as ZooKeeper counts them in srvr, stat and mntr, where the root
// counts twice. Unlike the rest it is the figure of the moment.
func (v View) NodeCount() int { return v.m.tree.Sizes().Keys + 1 }

// rootIfEmpty turns the empty path into the root's.
func rootIfEmpty(path string) string {
	if path == "" {
		return rootPath
	}
	return path
}
