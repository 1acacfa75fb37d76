package model

import (
	"maps"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// kind is what a znode is.
type kind int

const (
	persistent kind = iota
	ephemeral
	container
	ttl
	// implicit nodes were made because an etcd client put a key below; they go with their last child.
	implicit
)

// node is one version of a znode. The number of its children is not in it: they are counted when asked for.
type node struct {
	kind  kind
	owner int64 // of an ephemeral
	ttlMS int64 // of a TTL node
	data  []byte
	acl   []command.ACL

	czxid, mzxid, pzxid int64
	ctime, mtime        int64
	version, aversion   int32
	// creates counts the nodes ever created directly below.
	creates int32

	createRevision, modRevision int64
}

// firstNodes are those of an empty tree (org.apache.zookeeper.server.DataTree).
func firstNodes() map[string]*node {
	return map[string]*node{
		"/":                 {data: []byte{}, acl: openACL},
		"/zookeeper":        {data: []byte{}, acl: openACL},
		"/zookeeper/quota":  {data: []byte{}, acl: openACL},
		"/zookeeper/config": {data: []byte{}, acl: readOnly, version: -1, aversion: -1},
	}
}

// node returns the live node at a path as a client names it; nil if there is none.
func (m *Model) node(path string) *node { return m.nodes.live[canonical(path)] }

// children returns the names of a node's children, sorted.
func (m *Model) children(path string) []string {
	prefix := strings.TrimSuffix(path, "/") + "/"
	names := m.nodes.paths(func(p string, _ *node) bool {
		return len(p) > len(prefix) && strings.HasPrefix(p, prefix) && strings.IndexByte(p[len(prefix):], '/') < 0
	})
	for i, p := range names {
		names[i] = p[len(prefix):]
	}
	return names
}

// stat is a node's Stat as clients see it.
func (m *Model) stat(path string, n *node) state.Stat {
	children := int32(len(m.children(path)))
	return state.Stat{
		Czxid: n.czxid, Mzxid: n.mzxid, Pzxid: n.pzxid, Ctime: n.ctime, Mtime: n.mtime,
		Version: n.version, Cversion: 2*n.creates - children, Aversion: n.aversion,
		EphemeralOwner: n.owner, DataLength: int32(len(n.data)), NumChildren: children,
	}
}

// nextVersion counts a version up; it skips -1, which means any (ZOOKEEPER-4743).
func nextVersion(v int32) int32 {
	if v == -2 {
		return 0
	}
	return v + 1
}

// setNode replaces the node at a path; nil deletes it. Asked for as a key, it moves the revision.
func (m *Model) setNode(path string, n *node, asKey bool) {
	m.nodes.set(path, n)
	if asKey && m.hasKey(path) {
		m.do.wroteKey = true
	}
}

// addNode makes a node. Its parent, if it is there, counts it.
func (m *Model) addNode(path string, n node) *node {
	n.czxid, n.mzxid, n.pzxid = m.do.zxid, m.do.zxid, m.do.zxid
	n.ctime, n.mtime = m.timeMS, m.timeMS
	if m.hasKey(path) {
		n.createRevision, n.modRevision = m.do.rev, m.do.rev
	}
	m.setNode(path, &n, true)
	parentACL := m.touchParent(path, true)
	m.event(state.NodeCreated, path, n.acl, parentACL)
	return &n
}

// changeData gives a node new data.
func (m *Model) changeData(path string, data []byte) *node {
	n := *m.nodes.live[path]
	n.data = data
	n.version = nextVersion(n.version)
	n.mzxid, n.mtime = m.do.zxid, m.timeMS
	if m.hasKey(path) {
		n.modRevision = m.do.rev
	}
	if n.kind == implicit {
		n.kind = persistent
	}
	m.setNode(path, &n, true)
	m.event(state.NodeDataChanged, path, n.acl, nil)
	return &n
}

// dropNode deletes a node.
func (m *Model) dropNode(path string) {
	acl := m.nodes.live[path].acl
	m.setNode(path, nil, true)
	parentACL := m.touchParent(path, false)
	m.event(state.NodeDeleted, path, acl, parentACL)
}

// touchParent tells the parent of a changed set of children, and returns its access list.
func (m *Model) touchParent(path string, created bool) []command.ACL {
	parent := m.nodes.live[parentOf(path)]
	if parent == nil {
		return nil
	}
	p := *parent
	p.pzxid = m.do.zxid
	if created {
		p.creates++
	}
	m.setNode(parentOf(path), &p, false)
	return p.acl
}

func (m *Model) event(t state.EventType, path string, acl, parentACL []command.ACL) {
	m.do.events = append(m.do.events, state.Event{Type: t, Path: path, Zxid: m.do.zxid, ACL: acl, ParentACL: parentACL})
}

// settle decides what can only be decided at the end of a command: doomed nodes go, if they have no
// children left, and then implicit ones that lost their last child, in the order in which it went.
func (m *Model) settle() state.Code {
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(m.do.doomed))) {
		if len(m.children(path)) > 0 {
			return state.TreeConflict
		}
		m.dropNode(path)
	}
	for _, e := range m.do.events {
		if e.Type != state.NodeDeleted {
			continue
		}
		for path := e.Path; path != "/"; {
			path = parentOf(path)
			n := m.nodes.live[path]
			if n == nil || n.kind != implicit || len(m.children(path)) > 0 {
				break
			}
			m.dropNode(path)
		}
	}
	return state.OK
}

// maxTTL is the longest TTL of a node in milliseconds (org.apache.zookeeper.server.EphemeralType).
const maxTTL = 1<<40 - 1

// reap deletes a container or TTL node if it is still the one that was meant and its time is up.
func (m *Model) reap(c *command.Reap) state.Code {
	n := m.nodes.live[c.Path]
	switch {
	case n == nil || n.czxid != c.Czxid || len(m.children(c.Path)) > 0:
		return state.Stale
	case n.kind == ttl && m.timeMS-n.mtime <= n.ttlMS:
		return state.Stale
	case n.kind == container && n.creates == 0:
		// One that never had a child waits for its first (org.apache.zookeeper.server.ContainerManager).
		return state.Stale
	case n.kind != container && n.kind != ttl:
		return state.Stale
	}
	m.dropNode(c.Path)
	return state.OK
}

// sequenceName is what a sequential create adds to its path.
func sequenceName(creates int32) string {
	const digits = 10
	s := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		s[i] = byte('0' + creates%10)
		creates /= 10
	}
	return string(s)
}

// kindOf tells flags apart; ok is false for those that ZooKeeper does not know.
func kindOf(flags int32) (k kind, sequential, ok bool) {
	switch flags {
	case command.FlagPersistent:
		return persistent, false, true
	case command.FlagSequential:
		return persistent, true, true
	case command.FlagEphemeral:
		return ephemeral, false, true
	case command.FlagEphemeralSequential:
		return ephemeral, true, true
	case command.FlagContainer:
		return container, false, true
	case command.FlagTTL:
		return ttl, false, true
	case command.FlagPersistentSequentialTTL:
		return ttl, true, true
	default:
		return 0, false, false
	}
}

// validTTL says whether a TTL in milliseconds fits the kind of node.
func validTTL(k kind, ms int64) bool {
	if k == ttl {
		return ms > 0 && ms <= maxTTL
	}
	return ms < 0
}
