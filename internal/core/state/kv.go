package state

import "github.com/okapi-kv/okapi/internal/core/command"

// put writes one key. In the tree a key is a znode, with rules of its own: see tree.go.
func (m *Machine) put(c *command.Put) (Code, any) {
	if code := m.checkPut(c); code != OK {
		return code, nil
	}
	return m.putOne(c)
}

// checkPut makes those checks of a put that a txn makes against the state before the txn: the lease is
// there, and so is the key whose value or lease is to be kept.
func (m *Machine) checkPut(c *command.Put) Code {
	if m.inTree(c.Key) {
		return m.checkPutNode(c)
	}
	if c.Lease != 0 && m.leases.grant(c.Lease) == nil {
		return LeaseNotFound
	}
	if (c.IgnoreValue || c.IgnoreLease) && m.liveKey(c.Key) == nil {
		return KeyNotFound
	}
	return OK
}

// liveKey returns the newest version of a plain key; nil if there is none.
func (m *Machine) liveKey(key string) *plainVersion { return m.plain.Get(key).Live() }

// putOne writes a key that checkPut has passed. Within a txn the key may have been deleted since.
func (m *Machine) putOne(c *command.Put) (Code, any) {
	if m.inTree(c.Key) {
		return m.putNodeKey(c)
	}
	newest := m.plain.Get(c.Key)
	old := newest.Live()
	if old == nil && (c.IgnoreValue || c.IgnoreLease) {
		return KeyNotFound, nil
	}
	v := value{create: m.do.rev, version: 1, lease: c.Lease}
	if old != nil {
		v.create, v.version = old.Record.create, old.Record.version+1
		if c.IgnoreLease {
			v.lease = old.Record.lease
		}
	}
	if c.IgnoreValue {
		v.data = old.Record.data
	} else {
		v.data = c.Value
	}
	m.putKey(c.Key, newest, v)
	if !c.PrevKV || old == nil {
		return OK, m.plainPut
	}
	prev := plainRow(old).keyValue("", false)
	return OK, &PutResult{Prev: &prev}
}

// deleteRange deletes keys.
func (m *Machine) deleteRange(c *command.DeleteRange) (Code, any) {
	s := spanOf(c.Key, c.End)
	if m.spanInTree(s) {
		return m.deleteNodeKeys(c, s)
	}
	res := &DeleteRangeResult{}
	keys := make([]string, 0, 1)
	for from, more := s, true; more; {
		keys = keys[:0]
		more = m.collect(&from, func(v *plainVersion) {
			keys = append(keys, v.Key())
			if c.PrevKV {
				res.Prev = append(res.Prev, plainRow(v).keyValue("", false))
			}
		})
		for _, key := range keys {
			m.deleteKey(key)
		}
		res.Deleted += int64(len(keys))
		if more {
			m.yield()
		}
	}
	return OK, res
}

// collect calls fn for the live plain keys among the next stepKeys of a span, moves the span past them,
// and says whether more are left.
func (m *Machine) collect(s *span, fn func(*plainVersion)) (more bool) {
	if s.single {
		if v := m.plain.Get(s.from).Live(); v != nil {
			fn(v)
		}
		return false
	}
	n := 0
	m.plain.Ascend(s.from, func(newest *plainVersion) bool {
		if s.beyond(newest.Key()) {
			return false
		}
		if n == stepKeys {
			s.from, more = newest.Key(), true
			return false
		}
		n++
		if v := newest.Live(); v != nil {
			fn(v)
		}
		return true
	})
	return more
}
