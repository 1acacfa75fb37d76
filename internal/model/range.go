package model

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// checkRevision says whether a revision other than 0 can be read in the history of a range.
func (m *Model) checkRevision(r *command.Range) state.Code {
	floor := m.compacted
	if m.isTreeRange(r.Key, r.End) {
		floor = m.treeFloor
	}
	switch {
	case r.Revision > m.revision:
		return state.FutureRevision
	case r.Revision < floor:
		return state.Compacted
	default:
		return state.OK
	}
}

// keyValues returns the keys of a range at a revision, 0 for now, in order, without those that the caller
// may not read; hidden says that there are such.
func (m *Model) keyValues(c *command.Caller, from, end string, revision int64) (out []state.KeyValue, hidden bool) {
	if !m.isTreeRange(from, end) {
		in := func(k string, _ *key) bool { return inRange(k, from, end) }
		if revision == 0 {
			for _, k := range m.keys.paths(in) {
				out = append(out, *keyValue(k, m.keys.live[k]))
			}
			return out, false
		}
		for _, k := range m.keys.pathsAt(revision, in) {
			out = append(out, *keyValue(k, m.keys.at(k, revision)))
		}
		return out, false
	}
	in := func(path string, _ *node) bool {
		return m.hasKey(path) && inRange(m.settings.TreePrefix+path, from, end)
	}
	paths := m.nodes.paths(func(path string, n *node) bool { return in(path, n) && !m.do.doomed[path] })
	at := func(path string) *node { return m.nodes.live[path] }
	if revision != 0 {
		paths = m.nodes.pathsAt(revision, in)
		at = func(path string) *node { return m.nodes.at(path, revision) }
	}
	for _, path := range paths {
		n, today := at(path), m.nodes.live[path]
		if !m.allowed(c, n.acl, command.PermRead) || today != nil && !m.allowed(c, today.acl, command.PermRead) {
			hidden = true
			continue
		}
		out = append(out, *m.nodeValue(path, n))
	}
	return out, hidden
}

// Range answers etcd's Range.
func (m *Model) Range(c *command.Caller, r *command.Range) (*state.RangeResult, state.Code) {
	if r.Revision > 0 {
		if code := m.checkRevision(r); code != state.OK {
			return nil, code
		}
	}
	return m.rangeOf(c, r)
}

// Txn answers a txn of ranges alone.
func (m *Model) Txn(c *command.Caller, t *command.Txn) (*state.TxnResult, state.Code) {
	body, code := m.txn(c, t)
	if code != state.OK {
		return nil, code
	}
	return body.(*state.TxnResult), code
}

// rangeOf is a range whose revision was checked (server/etcdserver/txn/range.go).
func (m *Model) rangeOf(c *command.Caller, r *command.Range) (*state.RangeResult, state.Code) {
	kvs, hidden := m.keyValues(c, r.Key, r.End, max(r.Revision, 0))
	if hidden && r.End == "" {
		return nil, state.PermissionDenied
	}
	out := &state.RangeResult{Count: int64(len(kvs))}
	if r.CountOnly {
		return out, state.OK
	}
	byKey := r.SortOrder == command.SortNone || r.SortTarget == command.SortByKey && r.SortOrder == command.SortAscending
	filtered := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if byKey && !filtered && r.Limit > 0 && int64(len(kvs)) > r.Limit {
		// etcd reads only one more than it was asked for, and sorts afterwards.
		kvs = kvs[:r.Limit+1]
	}
	kvs = slices.DeleteFunc(kvs, func(kv state.KeyValue) bool {
		return r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision
	})
	sortKVs(kvs, r)
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, out.More = kvs[:r.Limit], true
	}
	if r.KeysOnly {
		for i := range kvs {
			kvs[i].Value = nil
			if r.SortTarget != command.SortByValue {
				kvs[i].Lease = 0
			}
		}
	}
	out.KVs = kvs
	return out, state.OK
}

// sortKVs sorts as asked; equals stay in the order of their keys.
func sortKVs(kvs []state.KeyValue, r *command.Range) {
	slices.SortStableFunc(kvs, func(a, b state.KeyValue) int {
		order := compareBy(r.SortTarget, &a, &b)
		if r.SortOrder == command.SortDescending {
			order = -order
		}
		return order
	})
}

func compareBy(target command.SortTarget, a, b *state.KeyValue) int {
	switch target {
	case command.SortByVersion:
		return cmp.Compare(a.Version, b.Version)
	case command.SortByCreate:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case command.SortByMod:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case command.SortByValue:
		return bytes.Compare(a.Value, b.Value)
	default:
		return cmp.Compare(a.Key, b.Key)
	}
}
