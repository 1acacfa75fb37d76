package state

import (
	"maps"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// View reads the state as it was after one whole command. It is a small value that refers to the machine: as
// long as it is used at a sequence number that Reclaim was told of, what it shows of keys and znodes
// does not change, whatever is applied meanwhile. Sessions, leases, alarms and sizes have no history;
// of them it shows the present.
//
// A view may be used by many readers at once, but not while the machine runs: Apply lets readers in when it
// calls its yield, and a reader lets Apply go on when the view calls Yield.
type View struct {
	// Yield, if set, is called every 256 keys of a long read. The machine may run meanwhile.
	Yield func()

	m                    *Machine
	seq                  uint64
	revision, zxid, time int64
	term, index          uint64
	txn                  bool // reads in the midst of the command under way
}

// View returns the state after the last whole command.
func (m *Machine) View() View { return m.head }

// now returns the state in the midst of the command under way, for the operations of a txn.
func (m *Machine) now() View {
	v := m.head
	v.Yield, v.seq, v.revision, v.txn = m.yield, m.seq, m.reached(), true
	return v
}

// reached returns the revision as the operations of a txn see it: it has moved once one of them wrote.
func (m *Machine) reached() int64 {
	if m.do.keys {
		return m.do.rev
	}
	return m.revision
}

// Index returns the index and term of the last entry that was applied.
func (m *Machine) Index() (index, term uint64) { return m.index, m.term }

// Revision returns etcd's revision, 1 in an empty store.
func (v View) Revision() int64 { return v.revision }

// Zxid returns ZooKeeper's transaction id of the last numbered command.
func (v View) Zxid() int64 { return v.zxid }

// Seq returns the sequence number of the view.
func (v View) Seq() uint64 { return v.seq }

// Index returns the index of the last entry that is wholly in the view, and the raft term of the entry to which the last
// command belonged.
func (v View) Index() (index, term uint64) { return v.index, v.term }

// TreeAt returns a view of the tree after an earlier command, which left the sequence number and the zxid, as its
// Result tells; false if what it needs may have been reclaimed.
func (v View) TreeAt(seq uint64, zxid int64) (View, bool) {
	v.seq, v.zxid = seq, zxid
	return v, v.m.tree.Reaches(seq)
}

// Time returns the time of the state, in milliseconds since the Unix epoch.
func (v View) Time() int64 { return v.time }

// CompactRevision returns the lowest revision at which plain keys can be read; -1 if nothing was ever compacted.
func (v View) CompactRevision() int64 { return v.m.compacted }

// Settings returns the settings of the cluster; false if it has none yet.
func (v View) Settings() (command.Settings, bool) { return v.m.settings, v.m.bootstrapped }

// Range answers etcd's Range in res, which is overwritten; the memory of its KVs is used again. The revision for its header
// is the view's own, whatever revision it read at. After a refusal res holds nothing of use.
func (v View) Range(c *command.Caller, r *command.Range, res *RangeResult) Code {
	*res = RangeResult{KVs: res.KVs[:0]}
	if code := v.m.authorize(c, r); code != OK {
		return code
	}
	return fetch(v, c, r, res)
}

// Txn answers an etcd Txn that has no operations but Range, and Txn of the same kind. One that has others is
// BadArguments: it is a command, and goes through the log.
func (v View) Txn(c *command.Caller, t *command.Txn) (*TxnResult, Code) {
	if code := v.m.authorize(c, t); code != OK {
		return nil, code
	}
	run := txnRun{before: v, caller: c}
	return run.do(t)
}

// Lease is what a view tells about a lease, or about a session taken as one.
type Lease struct {
	ID int64
	// TTL is the granted time to live in seconds; for a session its timeout, rounded up.
	TTL int64
	// TTLMS is the time without a keep-alive after which it may expire, in milliseconds.
	TTLMS      int64
	Generation uint64
	// Session says that it is a ZooKeeper session, to which etcd clients may not attach keys.
	Session bool
}

// info returns what views tell about l.
func (l *lease) info() Lease {
	return Lease{
		ID: l.id, TTL: (l.ttlMS() + 999) / 1000, TTLMS: l.ttlMS(),
		Generation: l.generation, Session: l.kind == leaseSession,
	}
}

// Lease returns a lease or session; false if there is none with the id.
func (v View) Lease(id int64) (Lease, bool) {
	l := v.m.leases.get(id)
	if l == nil {
		return Lease{}, false
	}
	return l.info(), true
}

// Leases returns all leases and sessions, by id.
func (v View) Leases() []Lease {
	all := v.m.leases.sorted()
	infos := make([]Lease, len(all))
	for i, l := range all {
		infos[i] = l.info()
	}
	return infos
}

// LeaseKeys returns the keys that end with a lease or session, in byte order; znodes among them if the tree
// has keys.
func (v View) LeaseKeys(id int64) []string {
	l := v.m.leases.get(id)
	if l == nil {
		return nil
	}
	keys := slices.Sorted(maps.Keys(l.keys))
	for path := range l.nodes { // in any order: sorted below
		if v.m.hasKey(path) {
			keys = append(keys, v.m.mount.prefix+path)
		}
	}
	slices.Sort(keys)
	return keys
}

// Alarms returns the alarms that are on, by member and type. The slice must not be changed.
func (v View) Alarms() []Alarm { return v.m.alarms.list }

// Sizes are logical sizes in bytes: equal on all members, and what the quotas count.
type Sizes struct {
	// Plain covers plain keys with history and leases, Tree the znodes with history and sessions.
	Plain, Tree int64
	// PlainLive and TreeLive leave history, leases and sessions out.
	PlainLive, TreeLive int64
}

// Sizes returns the present sizes.
func (v View) Sizes() Sizes {
	return Sizes{
		Plain: v.m.plainBytes(), Tree: v.m.treeBytes(),
		PlainLive: v.m.plain.Sizes().Live, TreeLive: v.m.tree.Sizes().Live,
	}
}
