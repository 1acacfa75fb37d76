package state

import (
	"math"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Three functions change the set of znodes and their data for both protocols: createZnode, setZnode
// and removeZnode. They keep what follows from a change, so that no command can forget it: the
// parent's counters, the set of nodes that a session owns, the statistics of quotas, and the events
// for watches. They decide nothing: their callers have checked that the change is allowed.

// createZnode adds a node. Of z it takes data, acl, kind, owner and ttl; everything else follows from the
// command under way. The data is copied. The parent is there, and path is free and valid. It returns
// the node as the store keeps it.
func (m *Machine) createZnode(path string, z znode) *treeVersion {
	return m.createBelow(m.tree.Get(parentOf(path)), path, z)
}

// createBelow is createZnode for a caller that has looked up the parent.
func (m *Machine) createBelow(up *treeVersion, path string, z znode) *treeVersion {
	zxid := m.do.zxid
	node := znode{
		data:  z.data,
		czxid: zxid, mzxid: zxid, pzxid: zxid,
		ctime: m.time, mtime: m.time,
		acl: z.acl, kind: z.kind, owner: z.owner, ttl: z.ttl,
	}
	made := m.putVersion(path, m.tree.Get(path), node, true)
	path = made.Key()
	parent := m.countChild(up, 1)
	switch {
	case z.kind == ephemeral:
		m.attachNode(z.owner, path)
	case isMortal(z.kind):
		m.do.mortals = append(m.do.mortals, path)
	}
	m.emit(NodeCreated, path, z.acl, parent)
	m.quotaNodeCreated(path)
	m.chargeQuota(path, int64(len(z.data)), 1)
	return made
}

// setZnode replaces the data of a node that is there. The data is copied. Data written to an implicit
// node makes it a node of its own right.
func (m *Machine) setZnode(path string, data []byte) {
	old := m.tree.Get(path)
	z := old.Record
	grown := int64(len(data)) - int64(len(z.data))
	z.data = data
	z.version = nextVersion(z.version)
	z.mzxid, z.mtime = m.do.zxid, m.time
	z.kind = ownRight(z.kind)
	made := m.putVersion(path, old, z, true)
	m.emit(NodeDataChanged, made.Key(), z.acl, nil)
	m.chargeQuota(path, grown, 0)
}

// removeZnode deletes a node that is there and has no children.
func (m *Machine) removeZnode(path string) {
	z := m.node(path)
	path = m.tree.Get(path).Key()
	m.removeNode(path)
	parent := m.countChild(m.tree.Get(parentOf(path)), -1)
	if z.kind == ephemeral {
		m.detachNode(z.owner, path)
	}
	m.emit(NodeDeleted, path, z.acl, parent)
	m.chargeQuota(path, -int64(len(z.data)), -1)
}

// sweepImplicit deletes the node at path if it is implicit and has no children left, and then goes on
// with its parent. It is called for the parent of every removed node at the end of a command, not
// before, so that a parent that loses its last child and gets another one in the same command stays.
func (m *Machine) sweepImplicit(path string) {
	for {
		z := m.node(path)
		if z == nil || z.kind != implicit || z.children > 0 {
			return
		}
		m.removeZnode(path)
		path = parentOf(path)
	}
}

// countChild notes in a parent that a child came (1) or went (-1), and returns its access list. Deletes leave the count of creates alone. That count stays at its maximum once it is there, and
// then pzxid stays too, as in ZooKeeper (DataTree.createNode): sequence names repeat and are refused.
func (m *Machine) countChild(up *treeVersion, change int32) *accessList {
	p := up.Record
	p.children += change
	switch {
	case change < 0:
		p.pzxid = m.do.zxid
	case p.creates < math.MaxInt32:
		p.creates++
		p.pzxid = m.do.zxid
	}
	m.putVersion(up.Key(), up, p, false)
	return p.acl
}

// ownRight returns the kind of a node after somebody addressed it by itself: an implicit node becomes persistent.
func ownRight(k nodeKind) nodeKind {
	if k == implicit {
		return persistent
	}
	return k
}

// emit adds an event. path is the item's own. parent is nil where the children of the parent did not change.
func (m *Machine) emit(t EventType, path string, acl, parent *accessList) {
	e := Event{Type: t, Path: path, Zxid: m.do.zxid, Seq: m.seq, ACL: acl.entries}
	if parent != nil {
		e.ParentACL = parent.entries
	}
	m.out.Events = append(m.out.Events, e)
}

// The commands. Each checks everything before its first write, in the order of ZooKeeper's
// PrepRequestProcessor, which decides which error a client gets when several hold.

// maxTTL is the longest TTL in milliseconds, 40 bits (EphemeralType.TTL.maxValue).
const maxTTL = 1<<40 - 1

// nodeMode is what the flags of a create ask for.
type nodeMode struct {
	kind       nodeKind
	sequential bool
}

// modeOf translates the flags of a create (CreateMode.fromFlag).
func modeOf(flags int32) (nodeMode, bool) {
	switch flags {
	case command.FlagPersistent:
		return nodeMode{kind: persistent}, true
	case command.FlagEphemeral:
		return nodeMode{kind: ephemeral}, true
	case command.FlagSequential:
		return nodeMode{kind: persistent, sequential: true}, true
	case command.FlagEphemeralSequential:
		return nodeMode{kind: ephemeral, sequential: true}, true
	case command.FlagContainer:
		return nodeMode{kind: container}, true
	case command.FlagTTL:
		return nodeMode{kind: ttlNode}, true
	case command.FlagPersistentSequentialTTL:
		return nodeMode{kind: ttlNode, sequential: true}, true
	}
	return nodeMode{}, false
}

// createMode checks what a create asks for as far as it does not depend on the tree.
func (m *Machine) createMode(c *command.Create) (nodeMode, Code) {
	mode, ok := modeOf(c.Flags)
	switch {
	case !ok:
		return mode, BadArguments
	case mode.kind == ttlNode && !m.settings.ExtendedTypes:
		return mode, Unimplemented
	case mode.kind == ttlNode && (c.TTL <= 0 || c.TTL > maxTTL):
		return mode, BadArguments
	case mode.kind != ttlNode && c.TTL >= 0:
		return mode, BadArguments
	case mode.kind == ephemeral && m.leases.session(m.do.caller.Session) == nil:
		return mode, SessionExpired
	}
	return mode, OK
}

// lexicalParent returns what stands before the last slash of a path that is not known to be valid;
// ok is false where ZooKeeper finds that no parent can be named.
func lexicalParent(path string) (parent string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 || strings.IndexByte(path, 0) >= 0 {
		return "", false
	}
	if i == 0 {
		return rootPath, true
	}
	return path[:i], true
}

// sequenceName returns what is appended to the path of a sequential create: the number of children
// created before, with ten digits or more.
func sequenceName(creates int32) string {
	digits := strconv.Itoa(int(creates))
	const zeros = "0000000000"
	if len(digits) < len(zeros) {
		return zeros[len(digits):] + digits
	}
	return digits
}

// create makes a znode.
func (m *Machine) create(c *command.Create) (Code, any) {
	mode, code := m.createMode(c)
	if code != OK {
		return code, nil
	}
	up, ok := lexicalParent(c.Path)
	if !ok {
		return BadArguments, nil
	}
	acl, ok := fixACL(m.do.caller, c.ACL)
	if !ok {
		return InvalidACL, nil
	}
	above := m.tree.Get(up)
	parent := nodeOf(above)
	if parent == nil {
		return NoNode, nil
	}
	if !m.aclAllows(m.do.caller, parent.acl, command.PermCreate) {
		return NoAuth, nil
	}
	path := c.Path
	if mode.sequential {
		path += sequenceName(parent.creates)
	}
	if code := m.mayCreate(path, parent, c.Data); code != OK {
		return code, nil
	}
	z := znode{data: c.Data, acl: m.acls.intern(acl), kind: mode.kind}
	switch mode.kind {
	case ephemeral:
		z.owner = m.do.caller.Session
	case ttlNode:
		z.ttl = c.TTL
	}
	made := m.createBelow(above, path, z)
	return OK, &CreateResult{Path: made.Key(), Stat: made.Record.stat()}
}

// mayCreate makes the checks that come after the access list: is the path valid and free, may the parent have
// children, is there room.
func (m *Machine) mayCreate(path string, parent *znode, data []byte) Code {
	switch {
	case validPath(path) != "":
		return BadArguments
	case m.node(path) != nil:
		return NodeExists
	case parent.kind == ephemeral:
		return NoChildrenForEphemerals
	}
	return m.mayGrow(path, data, nil)
}

// remove deletes a znode.
func (m *Machine) remove(c *command.Delete) (Code, any) {
	up, ok := lexicalParent(c.Path)
	if !ok || isSpecial(c.Path) {
		return BadArguments, nil
	}
	parent := m.node(up)
	if parent == nil {
		return NoNode, nil
	}
	if !m.aclAllows(m.do.caller, parent.acl, command.PermDelete) {
		return NoAuth, nil
	}
	z := m.node(c.Path)
	switch {
	case z == nil:
		return NoNode, nil
	case !versionFits(z.version, c.Version):
		return BadVersion, nil
	case z.children > 0:
		return NotEmpty, nil
	}
	m.removeZnode(c.Path)
	return OK, nil
}

// setData replaces the data of a znode.
func (m *Machine) setData(c *command.SetData) (Code, any) {
	if validPath(c.Path) != "" {
		return BadArguments, nil
	}
	z := m.node(c.Path)
	switch {
	case z == nil:
		return NoNode, nil
	case !m.aclAllows(m.do.caller, z.acl, command.PermWrite):
		return NoAuth, nil
	case m.mayGrow(c.Path, c.Data, z) != OK:
		return QuotaExceeded, nil
	case !versionFits(z.version, c.Version):
		return BadVersion, nil
	}
	m.setZnode(c.Path, c.Data)
	s := m.node(c.Path).stat()
	return OK, &s
}

// setACL replaces the access list of a znode. Only aversion tells of it: no time, no zxid, no event.
func (m *Machine) setACL(c *command.SetACL) (Code, any) {
	if validPath(c.Path) != "" {
		return BadArguments, nil
	}
	acl, ok := fixACL(m.do.caller, c.ACL)
	if !ok {
		return InvalidACL, nil
	}
	old := m.node(c.Path)
	switch {
	case old == nil:
		return NoNode, nil
	case !m.aclAllows(m.do.caller, old.acl, command.PermAdmin):
		return NoAuth, nil
	case !versionFits(old.aversion, c.Version):
		return BadVersion, nil
	}
	z := *old
	z.acl = m.acls.intern(acl)
	z.aversion = nextVersion(z.aversion)
	z.kind = ownRight(z.kind)
	m.putNode(c.Path, z, false)
	s := z.stat()
	return OK, &s
}

// check passes if a znode may be read and has the expected version.
func (m *Machine) check(c *command.Check) (Code, any) {
	if validPath(c.Path) != "" {
		return BadArguments, nil
	}
	z := m.node(c.Path)
	switch {
	case z == nil:
		return NoNode, nil
	case !m.aclAllows(m.do.caller, z.acl, command.PermRead):
		return NoAuth, nil
	case !versionFits(z.version, c.Version):
		return BadVersion, nil
	}
	return OK, nil
}
