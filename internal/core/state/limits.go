package state

import "github.com/okapi-kv/okapi/internal/core/command"

// Sizes are logical: a function of the commands alone, so that all members refuse the same ones. They
// are near what memory holds, but what the allocator makes of it is not in them.
const (
	// recordBytes is counted for each version beside its key and data, as etcd counts it (its
	// server/storage/quota.go has the same figures for keys and leases).
	recordBytes = 256
	// leaseBytes is counted for each session and lease.
	leaseBytes = 64
)

// sizeValue is the logical size of one version of a plain key.
func sizeValue(key string, v *value) int64 {
	return recordBytes + int64(len(key)+len(v.data))
}

// sizeNode is the logical size of one version of a znode.
func sizeNode(path string, z *znode) int64 {
	return recordBytes + int64(len(path)+len(z.data))
}

// sizeSuperseded is what an old version of a znode adds to the history: without its data if the new
// version shares them.
func sizeSuperseded(path string, old *znode, asKey bool) int64 {
	if !asKey {
		return recordBytes
	}
	return sizeNode(path, old)
}

// plainBytes returns the logical size of plain keys, their history, and the etcd leases.
func (m *Machine) plainBytes() int64 {
	leases := len(m.leases.byID) - m.leases.sessions
	return m.plain.Sizes().Live + m.plain.Sizes().History + int64(leases)*leaseBytes
}

// treeBytes returns the logical size of the znodes, their history, and the sessions.
func (m *Machine) treeBytes() int64 {
	return m.tree.Sizes().Live + m.treeHistory.bytes() + int64(m.leases.sessions)*leaseBytes
}

// room says whether etcd's commands may add cost bytes. A command that does not fit raises the alarm,
// which then keeps all commands that put or grant out until somebody clears it, as in etcd. Unlike etcd,
// which in a race between its two checks carries out a command and reports that it did not fit, a
// refused command has no effect.
func (m *Machine) room(cost quotaCost) Code {
	if !cost.puts {
		return OK
	}
	if m.alarms.active(command.AlarmNoSpace) {
		return NoSpace
	}
	if q := m.settings.QuotaBytes; q > 0 && cost.plain > 0 && m.plainBytes()+cost.plain >= q {
		m.do.full = true
		return NoSpace
	}
	return OK
}

// treeRoom says whether the tree may grow by the given number of bytes of paths and data, in that many
// new versions as may be. Deletes always pass.
func (m *Machine) treeRoom(bytes int) Code {
	if q := m.settings.TreeQuotaBytes; q > 0 && m.treeBytes()+recordBytes+int64(bytes) > q {
		return QuotaExceeded
	}
	return OK
}

// quotaCost is what a command may add to the store.
type quotaCost struct {
	puts  bool  // it puts or grants something, if only in the tree, which has a limit of its own
	plain int64 // bytes of plain keys and leases
}

// costOf returns what an etcd command may add: for a txn the larger of its branches.
func (m *Machine) costOf(c command.Command) quotaCost {
	switch c := c.(type) {
	case *command.Put:
		if m.inTree(c.Key) {
			return quotaCost{puts: true}
		}
		return quotaCost{puts: true, plain: recordBytes + int64(len(c.Key)+len(c.Value))}
	case *command.LeaseGrant:
		return quotaCost{puts: true, plain: leaseBytes}
	case *command.Txn:
		s, f := m.costOfAll(c.Success), m.costOfAll(c.Failure)
		return quotaCost{puts: s.puts || f.puts, plain: max(s.plain, f.plain)}
	default:
		return quotaCost{}
	}
}

// costOfAll adds up the costs of the operations of one branch.
func (m *Machine) costOfAll(ops []command.Command) quotaCost {
	var sum quotaCost
	for _, op := range ops {
		c := m.costOf(op)
		sum.puts = sum.puts || c.puts
		sum.plain += c.plain
	}
	return sum
}
