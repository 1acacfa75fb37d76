package model

import (
	"bytes"
	"cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// key is one version of a plain key.
type key struct {
	value                       []byte
	createRevision, modRevision int64
	version                     int64
	lease                       int64
}

// setKey replaces a plain key; nil deletes it.
func (m *Model) setKey(k string, v *key) {
	m.keys.set(k, v)
	m.do.wroteKey = true
}

func keyValue(k string, v *key) *state.KeyValue {
	return &state.KeyValue{
		Key: k, CreateRevision: v.createRevision, ModRevision: v.modRevision, Version: v.version, Lease: v.lease, Value: v.value,
	}
}

// nodeValue is a znode as a key.
func (m *Model) nodeValue(path string, n *node) *state.KeyValue {
	return &state.KeyValue{
		Key: m.settings.TreePrefix + path, CreateRevision: n.createRevision, ModRevision: n.modRevision,
		Version: int64(n.version) + 1, Lease: n.owner, Value: n.data,
	}
}

// txnOp does a write alone, which is a txn of one operation.
func (m *Model) txnOp(c *command.Caller, op command.Command) (any, state.Code) {
	if code := m.checkOp(c, op); code != state.OK {
		return nil, code
	}
	return m.doOp(c, op)
}

// txn does etcd's KV.Txn. All compares, those of nested txns too, and all checks of the operations that
// will be done are made on the state before it (server/etcdserver/txn/txn.go).
func (m *Model) txn(c *command.Caller, t *command.Txn) (any, state.Code) {
	path, code := m.choose(c, t)
	if code != state.OK {
		return nil, code
	}
	if code := m.checkTxn(c, path); code != state.OK {
		return nil, code
	}
	return m.doTxn(c, path)
}

// chosen is a txn whose compares were made: the operations of the branch that was taken. Nested[i] is set
// where operation i is a txn.
type chosen struct {
	succeeded bool
	ops       []command.Command
	nested    []*chosen
}

func (m *Model) choose(c *command.Caller, t *command.Txn) (*chosen, state.Code) {
	path := &chosen{succeeded: true, ops: t.Success}
	for i := range t.Compares {
		holds, code := m.compare(c, &t.Compares[i])
		if code != state.OK {
			return nil, code
		}
		if !holds { // the others are still looked at: they may touch what may not be read
			path.succeeded, path.ops = false, t.Failure
		}
	}
	path.nested = make([]*chosen, len(path.ops))
	for i, op := range path.ops {
		inner, ok := op.(*command.Txn)
		if !ok {
			continue
		}
		var code state.Code
		if path.nested[i], code = m.choose(c, inner); code != state.OK {
			return nil, code
		}
	}
	return path, state.OK
}

func (m *Model) checkTxn(c *command.Caller, path *chosen) state.Code {
	for i, op := range path.ops {
		code := state.OK
		if path.nested[i] != nil {
			code = m.checkTxn(c, path.nested[i])
		} else {
			code = m.checkOp(c, op)
		}
		if code != state.OK {
			return code
		}
	}
	return state.OK
}

// checkOp makes the checks that come before anything is done.
func (m *Model) checkOp(c *command.Caller, op command.Command) state.Code {
	switch op := op.(type) {
	case *command.Put:
		return m.checkPut(c, op)
	case *command.Range:
		// Unlike alone, a negative revision is below the floor here, unless nothing was ever compacted and
		// it is -1 (server/etcdserver/txn/range.go, checkRange).
		if op.Revision == 0 {
			return state.OK
		}
		return m.checkRevision(op)
	default:
		return state.OK
	}
}

func (m *Model) doTxn(c *command.Caller, path *chosen) (any, state.Code) {
	r := &state.TxnResult{Succeeded: path.succeeded}
	for i, op := range path.ops {
		var body any
		var code state.Code
		if path.nested[i] != nil {
			body, code = m.doTxn(c, path.nested[i])
		} else {
			body, code = m.doOp(c, op)
		}
		if code != state.OK {
			return nil, code
		}
		now := m.revision
		if m.do.wroteKey {
			now = m.do.rev
		}
		r.Responses, r.Revisions = append(r.Responses, body), append(r.Revisions, now)
	}
	return r, state.OK
}

func (m *Model) doOp(c *command.Caller, op command.Command) (any, state.Code) {
	switch op := op.(type) {
	case *command.Put:
		return m.put(c, op)
	case *command.Range:
		return m.rangeOf(c, op)
	case *command.DeleteRange:
		return m.deleteRange(c, op)
	default:
		return nil, state.BadArguments
	}
}

// checkPut makes the checks of a put that etcd makes before a txn begins.
func (m *Model) checkPut(c *command.Caller, p *command.Put) state.Code {
	exists, owner := m.keys.live[p.Key] != nil, int64(0)
	if m.isTreeKey(p.Key) {
		path, code := m.writablePath(p.Key)
		if code != state.OK {
			return code
		}
		n := m.nodes.live[path]
		if exists = n != nil; exists {
			owner = n.owner
		}
	}
	if p.Lease != 0 && m.lease(p.Lease) == nil && p.Lease != owner {
		return state.LeaseNotFound
	}
	if !exists && (p.IgnoreValue || p.IgnoreLease) {
		return state.KeyNotFound
	}
	return state.OK
}

func (m *Model) put(c *command.Caller, p *command.Put) (any, state.Code) {
	if m.isTreeKey(p.Key) {
		return m.putNode(c, p)
	}
	old := m.keys.live[p.Key]
	v := key{value: p.Value, lease: p.Lease, createRevision: m.do.rev, modRevision: m.do.rev, version: 1}
	if old != nil {
		v.createRevision, v.version = old.createRevision, old.version+1
		if p.IgnoreValue {
			v.value = old.value
		}
		if p.IgnoreLease {
			v.lease = old.lease
		}
	}
	m.setKey(p.Key, &v)
	r := &state.PutResult{}
	if p.PrevKV && old != nil {
		r.Prev = keyValue(p.Key, old)
	}
	return r, state.OK
}

// putNode is a put inside the tree.
func (m *Model) putNode(c *command.Caller, p *command.Put) (any, state.Code) {
	path, code := m.writablePath(p.Key)
	if code != state.OK {
		return nil, code
	}
	value := p.Value
	if value == nil {
		value = []byte{}
	}
	if m.do.doomed[path] {
		return nil, state.TreeConflict
	}
	n := m.nodes.live[path]
	if n == nil {
		return &state.PutResult{}, m.putNewNode(c, path, value, p.Lease)
	}
	if !m.allowed(c, n.acl, command.PermWrite) || p.PrevKV && !m.allowed(c, n.acl, command.PermRead) {
		return nil, state.PermissionDenied
	}
	if !p.IgnoreLease && p.Lease != n.owner {
		return nil, state.TreeConflict
	}
	if p.IgnoreValue {
		value = n.data
	}
	r := &state.PutResult{}
	if p.PrevKV {
		r.Prev = m.nodeValue(path, n)
	}
	m.changeData(path, value)
	return r, state.OK
}

// putNewNode makes a node, and those above it that are missing.
func (m *Model) putNewNode(c *command.Caller, path string, value []byte, owner int64) state.Code {
	var missing []string
	above := parentOf(path)
	for m.nodes.live[above] == nil {
		missing = append(missing, above)
		above = parentOf(above)
	}
	parent := m.nodes.live[above]
	switch {
	case !m.allowed(c, parent.acl, command.PermCreate):
		return state.PermissionDenied
	case parent.kind == ephemeral || owner < 0 || m.do.doomed[above]:
		return state.TreeConflict
	}
	for i := len(missing) - 1; i >= 0; i-- {
		m.addNode(missing[i], node{kind: implicit, data: []byte{}, acl: parent.acl})
	}
	n := node{data: value, acl: parent.acl, owner: owner}
	if owner != 0 {
		n.kind = ephemeral
	}
	m.addNode(path, n)
	return state.OK
}

func (m *Model) deleteRange(c *command.Caller, d *command.DeleteRange) (any, state.Code) {
	r := &state.DeleteRangeResult{}
	if d.End == "" && m.isTreeKey(d.Key) {
		if _, code := m.writablePath(d.Key); code != state.OK {
			return nil, code
		}
	}
	if m.isTreeRange(d.Key, d.End) {
		return r, m.deleteNodes(c, d, r)
	}
	for _, k := range m.keys.paths(func(k string, _ *key) bool { return inRange(k, d.Key, d.End) }) {
		if d.PrevKV {
			r.Prev = append(r.Prev, *keyValue(k, m.keys.live[k]))
		}
		m.setKey(k, nil)
		r.Deleted++
	}
	return r, state.OK
}

// deleteNodes is a delete inside the tree. Children go before their parents. A node that has children left
// is doomed: it is gone for the rest of the command, but nothing can be put at or below it.
func (m *Model) deleteNodes(c *command.Caller, d *command.DeleteRange, r *state.DeleteRangeResult) state.Code {
	paths := m.nodes.paths(func(path string, _ *node) bool {
		return m.hasKey(path) && inRange(m.settings.TreePrefix+path, d.Key, d.End) && !m.do.doomed[path]
	})
	for _, path := range paths {
		n := m.nodes.live[path]
		if !m.allowed(c, m.nodes.live[parentOf(path)].acl, command.PermDelete) {
			return state.PermissionDenied
		}
		if d.PrevKV && !m.allowed(c, n.acl, command.PermRead) {
			return state.PermissionDenied
		}
		if d.PrevKV {
			r.Prev = append(r.Prev, *m.nodeValue(path, n))
		}
		r.Deleted++
	}
	for i := len(paths) - 1; i >= 0; i-- {
		if len(m.children(paths[i])) > 0 {
			m.do.doomed[paths[i]] = true
			m.do.wroteKey = true
			continue
		}
		m.dropNode(paths[i])
	}
	return state.OK
}

// compact makes the history of plain keys below a revision unreadable.
func (m *Model) compact(c *command.Compact) state.Code {
	switch {
	case c.Revision <= m.compacted:
		return state.Compacted
	case c.Revision > m.revision:
		return state.FutureRevision
	}
	m.do.atEnd = append(m.do.atEnd, func() {
		m.compacted = c.Revision
		m.keys.forget(c.Revision)
	})
	return state.OK
}

// compare says whether a compare holds for all keys of its range.
func (m *Model) compare(caller *command.Caller, c *command.Compare) (bool, state.Code) {
	kvs, hidden := m.keyValues(caller, c.Key, c.End, 0)
	if hidden {
		return false, state.PermissionDenied
	}
	if len(kvs) == 0 {
		return c.Target != command.CompareValue && holds(c, &state.KeyValue{}), state.OK
	}
	for i := range kvs {
		if !holds(c, &kvs[i]) {
			return false, state.OK
		}
	}
	return true, state.OK
}

// holds says whether one key satisfies a compare. An unknown result holds.
func holds(c *command.Compare, kv *state.KeyValue) bool {
	order := 0
	switch c.Target {
	case command.CompareValue:
		order = bytes.Compare(kv.Value, c.Value)
	case command.CompareVersion:
		order = cmp.Compare(kv.Version, c.Number)
	case command.CompareCreate:
		order = cmp.Compare(kv.CreateRevision, c.Number)
	case command.CompareMod:
		order = cmp.Compare(kv.ModRevision, c.Number)
	case command.CompareLease:
		order = cmp.Compare(kv.Lease, c.Number)
	}
	switch c.Result {
	case command.CompareEqual:
		return order == 0
	case command.CompareGreater:
		return order > 0
	case command.CompareLess:
		return order < 0
	case command.CompareNotEqual:
		return order != 0
	default:
		return true
	}
}
