package model

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// znodeOp does one of ZooKeeper's operations on the tree, alone or in a multi. The order of the
// checks is that of org.apache.zookeeper.server.PrepRequestProcessor.
func (m *Model) znodeOp(c *command.Caller, op command.Command) (any, state.Code) {
	switch op := op.(type) {
	case *command.Create:
		return m.create(c, op)
	case *command.Delete:
		return nil, m.remove(c, op)
	case *command.SetData:
		return m.setData(c, op)
	case *command.SetACL:
		return m.setACL(c, op)
	case *command.Check:
		return nil, m.check(c, op)
	default:
		return nil, state.Unimplemented
	}
}

// multi does all of its operations or none; later ones see what earlier ones did.
func (m *Model) multi(c *command.Caller, multi *command.Multi) (any, state.Code) {
	r := &state.MultiResult{Codes: make([]state.Code, len(multi.Ops)), Bodies: make([]any, len(multi.Ops))}
	for i, op := range multi.Ops {
		body, code := m.znodeOp(c, op)
		if code == state.OK {
			r.Bodies[i] = body
			continue
		}
		r.Codes[i] = code
		for j := i + 1; j < len(r.Codes); j++ {
			r.Codes[j] = state.RuntimeInconsistency
		}
		r.Bodies = nil
		return r, code
	}
	return r, state.OK
}

func (m *Model) create(c *command.Caller, op *command.Create) (any, state.Code) {
	k, sequential, ok := kindOf(op.Flags)
	if !ok {
		return nil, state.BadArguments
	}
	if k == ttl && !m.settings.ExtendedTypes {
		return nil, state.Unimplemented
	}
	if !validTTL(k, op.TTL) {
		return nil, state.BadArguments
	}
	if k == ephemeral && m.session(c.Session) == nil {
		return nil, state.SessionExpired
	}
	parentPath, ok := cut(op.Path)
	if !ok {
		return nil, state.BadArguments
	}
	acl, code := fixACL(c, op.ACL)
	if code != state.OK {
		return nil, code
	}
	parent := m.node(parentPath)
	if parent == nil {
		return nil, state.NoNode
	}
	if !m.allowed(c, parent.acl, command.PermCreate) {
		return nil, state.NoAuth
	}
	path := op.Path
	if sequential {
		path += sequenceName(parent.creates)
	}
	switch {
	case !validPath(path):
		return nil, state.BadArguments
	case m.node(path) != nil:
		return nil, state.NodeExists
	case parent.kind == ephemeral:
		return nil, state.NoChildrenForEphemerals
	}
	n := node{kind: k, data: op.Data, acl: acl}
	switch k {
	case ephemeral:
		n.owner = c.Session
	case ttl:
		n.ttlMS = op.TTL
	}
	made := m.addNode(path, n)
	return &state.CreateResult{Path: path, Stat: m.stat(path, made)}, state.OK
}

func (m *Model) remove(c *command.Caller, op *command.Delete) state.Code {
	parentPath, ok := cut(op.Path)
	if !ok || special(op.Path) {
		return state.BadArguments
	}
	parent := m.node(parentPath)
	if parent == nil {
		return state.NoNode
	}
	if !m.allowed(c, parent.acl, command.PermDelete) {
		return state.NoAuth
	}
	n := m.nodes.live[op.Path]
	switch {
	case n == nil:
		return state.NoNode
	case op.Version != command.AnyVersion && op.Version != n.version:
		return state.BadVersion
	case len(m.children(op.Path)) > 0:
		return state.NotEmpty
	}
	m.dropNode(op.Path)
	return state.OK
}

func (m *Model) setData(c *command.Caller, op *command.SetData) (any, state.Code) {
	n, code := m.checked(c, op.Path, command.PermWrite)
	if code != state.OK {
		return nil, code
	}
	if op.Version != command.AnyVersion && op.Version != n.version {
		return nil, state.BadVersion
	}
	st := m.stat(op.Path, m.changeData(op.Path, op.Data))
	return &st, state.OK
}

func (m *Model) setACL(c *command.Caller, op *command.SetACL) (any, state.Code) {
	if !validPath(op.Path) {
		return nil, state.BadArguments
	}
	acl, code := fixACL(c, op.ACL)
	if code != state.OK {
		return nil, code
	}
	n, code := m.checked(c, op.Path, command.PermAdmin)
	if code != state.OK {
		return nil, code
	}
	if op.Version != command.AnyVersion && op.Version != n.aversion {
		return nil, state.BadVersion
	}
	changed := *n
	changed.acl = acl
	changed.aversion = nextVersion(n.aversion)
	if changed.kind == implicit {
		changed.kind = persistent
	}
	m.setNode(op.Path, &changed, false)
	st := m.stat(op.Path, &changed)
	return &st, state.OK
}

func (m *Model) check(c *command.Caller, op *command.Check) state.Code {
	n, code := m.checked(c, op.Path, command.PermRead)
	if code != state.OK {
		return code
	}
	if op.Version != command.AnyVersion && op.Version != n.version {
		return state.BadVersion
	}
	return state.OK
}

// checked returns the node at a path that must be valid, if the caller has the permission on it.
func (m *Model) checked(c *command.Caller, path string, perm command.Permission) (*node, state.Code) {
	if !validPath(path) {
		return nil, state.BadArguments
	}
	return m.readable(c, path, perm)
}

// readable does so for any path: reads do not check them.
func (m *Model) readable(c *command.Caller, path string, perm command.Permission) (*node, state.Code) {
	n := m.node(path)
	if n == nil {
		return nil, state.NoNode
	}
	if !m.allowed(c, n.acl, perm) {
		return nil, state.NoAuth
	}
	return n, state.OK
}

// Data answers getData.
func (m *Model) Data(c *command.Caller, path string) ([]byte, state.Stat, state.Code) {
	n, code := m.readable(c, path, command.PermRead)
	if code != state.OK {
		return nil, state.Stat{}, code
	}
	return n.data, m.stat(canonical(path), n), code
}

// Exists answers exists.
func (m *Model) Exists(c *command.Caller, path string) (state.Stat, state.Code) {
	if strings.IndexByte(path, 0) >= 0 {
		return state.Stat{}, state.BadArguments
	}
	_, st, code := m.Data(c, path)
	return st, code
}

// Children answers getChildren.
func (m *Model) Children(c *command.Caller, path string) ([]string, state.Stat, state.Code) {
	n, code := m.readable(c, path, command.PermRead)
	if code != state.OK {
		return nil, state.Stat{}, code
	}
	return m.children(canonical(path)), m.stat(canonical(path), n), code
}

// ACL answers getACL.
func (m *Model) ACL(c *command.Caller, path string) ([]command.ACL, state.Stat, state.Code) {
	n, code := m.readable(c, path, command.PermRead|command.PermAdmin)
	if code != state.OK {
		return nil, state.Stat{}, code
	}
	acl := n.acl
	if !m.allowed(c, acl, command.PermAdmin) {
		acl = masked(acl)
	}
	return acl, m.stat(canonical(path), n), code
}

// CountDescendants answers getAllChildrenNumber. The root itself lies below the empty path (DataTree.getAllChildrenNumber).
func (m *Model) CountDescendants(c *command.Caller, path string) (int32, state.Code) {
	if _, code := m.readable(c, path, command.PermRead); code != state.OK {
		return 0, code
	}
	prefix := strings.TrimSuffix(path, "/") + "/"
	below := m.nodes.paths(func(p string, _ *node) bool { return p != path && strings.HasPrefix(p, prefix) })
	return int32(len(below)), state.OK
}

// Ephemerals answers getEphemerals, for sessions and leases.
func (m *Model) Ephemerals(owner int64) []string {
	if owner == 0 {
		return nil
	}
	return m.nodes.paths(func(_ string, n *node) bool { return n.owner == owner })
}
