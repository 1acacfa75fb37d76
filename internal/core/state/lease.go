package state

import (
	"maps"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// stepKeys is how many keys a long command or a long scan touches between two calls of yield.
const stepKeys = 256

// leaseKind tells the two uses of one table apart.
type leaseKind uint8

const (
	leaseGranted leaseKind = iota // an etcd lease
	leaseSession                  // a ZooKeeper session
)

// lease is a session or an etcd lease: something that lives while its holder keeps in touch and takes
// what it owns with it when it ends. Ids of both come from one space, because the owner of an
// ephemeral znode is shown to etcd clients as its lease.
type lease struct {
	id   int64
	kind leaseKind
	ttl  int64 // s; of a lease

	password   [command.PasswordSize]byte // of a session, like the three below
	timeoutMS  int32
	generation uint64 // 1 when made; a session's grows with each attach
	sequence   uint64 // of the session's last ordered command in this generation

	keys  map[string]struct{} // plain keys attached to a lease
	nodes map[string]struct{} // ephemeral znodes owned, by path
}

// ttlMS returns the time without a keep-alive after which the lease may expire.
func (l *lease) ttlMS() int64 {
	if l.kind == leaseSession {
		return int64(l.timeoutMS)
	}
	return l.ttl * 1000
}

// leaseTable holds all sessions and leases. What hangs on a lease follows from the two spaces; it is
// kept here so that the end of a lease need not search for it.
type leaseTable struct {
	byID     map[int64]*lease
	sessions int // how many of byID are sessions
}

// get returns the lease or session with the id; nil if there is none.
func (t *leaseTable) get(id int64) *lease { return t.byID[id] }

// session returns the session with the id; nil if there is none or it is an etcd lease.
func (t *leaseTable) session(id int64) *lease {
	if l := t.byID[id]; l != nil && l.kind == leaseSession {
		return l
	}
	return nil
}

// grant returns the etcd lease with the id; nil if there is none or it is a session.
func (t *leaseTable) grant(id int64) *lease {
	if l := t.byID[id]; l != nil && l.kind == leaseGranted {
		return l
	}
	return nil
}

// put adds l to the table without telling anyone.
func (t *leaseTable) put(l *lease) {
	if t.byID == nil {
		t.byID = make(map[int64]*lease)
	}
	t.byID[l.id] = l
	if l.kind == leaseSession {
		t.sessions++
	}
}

// drop takes l out of the table without telling anyone.
func (t *leaseTable) drop(l *lease) {
	delete(t.byID, l.id)
	if l.kind == leaseSession {
		t.sessions--
	}
}

// sorted returns all sessions and leases by id.
func (t *leaseTable) sorted() []*lease {
	ids := slices.Sorted(maps.Keys(t.byID))
	ls := make([]*lease, len(ids))
	for i, id := range ids {
		ls[i] = t.byID[id]
	}
	return ls
}

// addLease adds a new session or lease whose id is free and reports it.
func (m *Machine) addLease(l *lease) {
	m.leases.put(l)
	m.digest += digestLease(l)
	m.leaseChanged(l, false)
}

// touchLease changes the fields of a session or lease that the digest covers through change.
func (m *Machine) touchLease(l *lease, change func(*lease)) {
	m.digest -= digestLease(l)
	change(l)
	m.digest += digestLease(l)
}

// leaseChanged tells the keeper of deadlines.
func (m *Machine) leaseChanged(l *lease, gone bool) {
	m.out.Leases = append(m.out.Leases, LeaseChange{ID: l.id, TTLMS: l.ttlMS(), Generation: l.generation, Gone: gone})
}

// link is one key or znode that the command under way attached to a lease or detached from it. Links
// are carried out when the command has succeeded: readers that run while a long command yields
// see the lease as it was, and a refused command has nothing to undo.
type link struct {
	lease    int64
	name     string // the plain key, or the path of an owned znode
	node     bool
	attached bool
}

// attachKey notes that a plain key now hangs on a lease; detachKey that it no longer does.
func (m *Machine) attachKey(id int64, key string) {
	m.do.links = append(m.do.links, link{lease: id, name: key, attached: true})
}

func (m *Machine) detachKey(id int64, key string) {
	m.do.links = append(m.do.links, link{lease: id, name: key})
}

// attachNode notes that an ephemeral znode is now owned by a session or lease; detachNode that it
// no longer is.
func (m *Machine) attachNode(id int64, path string) {
	m.do.links = append(m.do.links, link{lease: id, name: path, node: true, attached: true})
}

func (m *Machine) detachNode(id int64, path string) {
	m.do.links = append(m.do.links, link{lease: id, name: path, node: true})
}

// settleLinks carries out the links of a command that succeeded. The lease of a detached key may be
// gone already: it ended with this very command.
func (m *Machine) settleLinks() {
	for i := range m.do.links {
		k := &m.do.links[i]
		l := m.leases.get(k.lease)
		if l == nil {
			continue
		}
		switch {
		case k.node && k.attached:
			l.nodes = attach(l.nodes, k.name)
		case k.node:
			delete(l.nodes, k.name)
		case k.attached:
			l.keys = attach(l.keys, k.name)
		default:
			delete(l.keys, k.name)
		}
	}
}

// attach adds a name to a set that may not have been made yet. It is cloned: that of a version would keep the version, and what
// is in it, for as long as the lease lives.
func attach(set map[string]struct{}, name string) map[string]struct{} {
	if set == nil {
		set = make(map[string]struct{})
	}
	set[strings.Clone(name)] = struct{}{}
	return set
}

// endLease ends a session or lease: its plain keys and then its znodes go, each in order of their
// names, and last the lease itself, so that readers in between find it as it was.
func (m *Machine) endLease(l *lease) {
	steps := 0
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		m.deleteKey(key)
		m.step(&steps)
	}
	for _, path := range slices.Sorted(maps.Keys(l.nodes)) {
		m.removeZnode(path)
		m.step(&steps)
	}
	m.leases.drop(l)
	m.digest -= digestLease(l)
	m.leaseChanged(l, true)
}

// step counts one key of a long command and yields after every stepKeys of them.
func (m *Machine) step(n *int) {
	*n++
	if *n%stepKeys == 0 {
		m.yield()
	}
}

// leaseGrant makes an etcd lease.
func (m *Machine) leaseGrant(c *command.LeaseGrant) (Code, any) {
	if c.ID == 0 || m.leases.get(c.ID) != nil { // 0 stands for no lease everywhere
		return LeaseExists, nil
	}
	m.addLease(&lease{id: c.ID, ttl: c.TTL, kind: leaseGranted, generation: 1})
	return OK, &LeaseResult{ID: c.ID, TTL: c.TTL}
}

// leaseRevoke ends an etcd lease on request. To etcd clients a session is no lease.
func (m *Machine) leaseRevoke(c *command.LeaseRevoke) (Code, any) {
	l := m.leases.grant(c.ID)
	if l == nil {
		return LeaseNotFound, nil
	}
	m.endLease(l)
	return OK, nil
}

// expire ends a session or lease whose time is up, if the proposer knew the present state: an
// expiry from an earlier term, or of a session that was attached again since, is void.
func (m *Machine) expire(c *command.Expire) (Code, any) {
	l := m.leases.get(c.ID)
	if l == nil || c.Term != m.term || c.Generation != l.generation {
		return Stale, nil
	}
	m.endLease(l)
	return OK, nil
}
