package state

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/mvcc"
)

// Entry is one committed entry of the log, decoded.
type Entry struct {
	Index, Term uint64
	Batch       command.Batch
}

// value is what the store keeps of one version of a plain key. The version's Rev is its
// mod_revision, so it is not repeated here.
type value struct {
	data    []byte
	create  int64 // create_revision
	version int64 // puts since the key was created, from 1
	lease   int64 // 0: none
}

// nodeKind is how a znode lives and dies.
type nodeKind uint8

const (
	persistent nodeKind = iota
	ephemeral           // dies with its owner
	container           // reaped when its last child is gone
	ttlNode             // reaped when it has no children and its TTL has passed
	implicit            // made by an etcd put below it; removed with its last child
)

// znode is what the store keeps of one version of a znode. Counters are as stored; what clients see
// is made by stat.
type znode struct {
	data                []byte // nil is ZooKeeper's null
	czxid, mzxid, pzxid int64
	ctime, mtime        int64 // ms since the epoch
	create, mod         int64 // create_revision and mod_revision; 0 while the tree has no keys
	owner               int64 // session or lease of an ephemeral; else 0
	ttl                 int64 // ms, of a ttlNode; else 0
	acl                 *accessList
	version, aversion   int32
	creates             int32 // children ever created: the source of sequence names and of cversion
	children            int32
	kind                nodeKind
}

// accessList is an interned ACL: equal lists are one object, so a znode costs a pointer.
type accessList struct {
	entries []command.ACL
	digest  uint64 // digestACL(entries), so that the digest of a node need not walk them
}

// Machine is the state and the one function that changes it. See the package comment.
type Machine struct {
	index, term uint64 // of the last applied entry
	time        int64  // of the last applied entry, ms since the epoch; never runs back
	revision    int64
	zxid        int64
	seq         uint64

	settings     command.Settings
	bootstrapped bool
	mount        mount // of the tree, by the settings

	plain   *mvcc.Space[value] // by key
	tree    *mvcc.Space[znode] // by path: "/", "/a", "/a/b"
	leases  leaseTable         // sessions and leases
	acls    aclTable
	alarms  alarmTable
	members Membership
	level   uint64 // of features

	mortals mortals

	// compacted is the revision below which the history of plain keys cannot be read; -1 while nothing
	// was compacted, as in etcd, whose first compaction may therefore be at 0.
	compacted   int64
	treeHistory history

	// digest is the order-free sum over all live records; see digest.go.
	digest uint64

	plainPut *PutResult // answers every put that asks for nothing

	head    View // what View returns: the state after the last whole command
	exports int  // snapshots being written, which hold Reclaim back

	do    change  // the command under way
	out   *Output // where it reports to
	yield func()  // between bounded steps of a long command; never nil while applying
}

// change is one command under way. Nothing of it is visible before it ends: it raises no counter of
// the Machine but seq, and all its writes carry sequence numbers above from, so that a refused
// command is undone by dropping what lies above from.
type change struct {
	caller  *command.Caller
	member  uint64 // who proposed it
	from    uint64 // m.seq when the command began
	digest  uint64 // m.digest when the command began
	rev     int64  // what a write of a key is stamped with: m.revision + 1
	zxid    int64  // what a write of a znode is stamped with
	keys    bool   // a key was written or deleted: the revision moves
	full    bool   // it was refused because the quota of plain keys is used up
	detail  string // becomes Result.Detail
	events  int    // len(m.out.Events) when the command began
	leases  int    // len(m.out.Leases) when the command began
	history int64  // m.treeHistory.total when the command began

	links   []link              // what to attach to leases and detach from them at the end
	removed []string            // znodes removed, whose implicit parents may have to follow
	mortals []string            // containers and TTL nodes made
	doomed  map[string]struct{} // znodes deleted as keys that still have children; see tree.go
}

// New returns an empty machine, in which only the nodes that are always there exist. It takes no command
// but Bootstrap. The seed decides where keys stand in the hash tables; see mvcc.NewSpace. It shows nowhere, so members may
// differ in it, and should.
func New(seed uint64) *Machine {
	m := newMachine(seed)
	m.plantTree()
	m.publish()
	return m
}

// firstLevel is the feature level of every new cluster. Members raise it when they have found out what all of them
// understand.
const firstLevel = 1

// Found returns the machine that a new cluster of these members starts from: the same on each of them. seed is as for New.
func Found(seed uint64, members []Member) *Machine {
	m := New(seed)
	m.members = NewMembership(members)
	return m
}

// plantTree makes the nodes that every tree has, as they are in a fresh ZooKeeper
// (org.apache.zookeeper.server.DataTree): their children do not count as creates.
func (m *Machine) plantTree() {
	open := m.acls.intern(openList())
	readable := m.acls.intern([]command.ACL{{Perms: command.PermRead, Scheme: schemeWorld, ID: anyone}})
	m.putNode(rootPath, znode{data: []byte{}, acl: open, children: 1}, false)
	m.putNode(systemPath, znode{data: []byte{}, acl: open, children: 2}, false)
	m.putNode(quotaPath, znode{data: []byte{}, acl: open}, false)
	m.putNode(configPath, znode{data: []byte{}, acl: readable, version: -1, aversion: -1}, false)
}

// newMachine returns a machine with nothing in it, for New and Load.
func newMachine(seed uint64) *Machine {
	m := &Machine{
		revision:    1,
		plain:       mvcc.NewSpace(plainShape(), seed),
		tree:        mvcc.NewSpace(treeShape(), seed),
		compacted:   -1,
		treeHistory: history{floor: -1},
		plainPut:    &PutResult{},
		level:       firstLevel,
	}
	m.head.m = m
	return m
}
