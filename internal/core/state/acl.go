package state

import (
	"encoding/binary"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// Schemes of ZooKeeper identities and ACL entries.
const (
	schemeWorld  = "world"  // everybody; only as world:anyone, and only in access lists
	schemeAuth   = "auth"   // in a request: whoever sends it; never stored
	schemeDigest = "digest" // user:base64(hash)
	schemeIP     = "ip"     // address, in a list with an optional /bits
	schemeX509   = "x509"   // subject of a client certificate
	schemeSASL   = "sasl"   // authorization id
	schemeEtcd   = "etcd"   // an etcd user, which no ZooKeeper client can become
	schemeSuper  = "super"  // passes every list; only an identity

	anyone   = "anyone"
	etcdRoot = "root" // the etcd user that passes everything
)

// openList is what ZooKeeper calls OPEN_ACL_UNSAFE, the list of a node that nobody protected.
func openList() []command.ACL {
	return []command.ACL{{Perms: command.PermAll, Scheme: schemeWorld, ID: anyone}}
}

// maxInterned is how many access lists aclTable knows at most.
const maxInterned = 4096

// aclTable makes equal access lists one object. Most trees have a handful of lists and millions of
// nodes. It only saves memory: nothing depends on whether two equal lists are the same object. So
// it needs no counting of users. When it is full it forgets everything, the lists in use stay with their
// nodes, and those that are used again come in again.
type aclTable struct {
	byKey   map[string]*accessList
	scratch []byte
}

// intern returns the list with these entries. The entries are copied.
func (t *aclTable) intern(entries []command.ACL) *accessList {
	t.scratch = appendListKey(t.scratch[:0], entries)
	if l := t.byKey[string(t.scratch)]; l != nil {
		return l
	}
	if t.byKey == nil || len(t.byKey) >= maxInterned {
		t.byKey = make(map[string]*accessList)
	}
	l := &accessList{entries: make([]command.ACL, len(entries))}
	for i, e := range entries {
		l.entries[i] = command.ACL{Perms: e.Perms, Scheme: strings.Clone(e.Scheme), ID: strings.Clone(e.ID)}
	}
	l.digest = digestACL(l.entries)
	t.byKey[string(t.scratch)] = l
	return l
}

// appendListKey adds bytes to b that are equal exactly for equal lists.
func appendListKey(b []byte, entries []command.ACL) []byte {
	for i := range entries {
		e := &entries[i]
		b = binary.AppendVarint(b, int64(e.Perms))
		b = binary.AppendUvarint(b, uint64(len(e.Scheme)))
		b = append(b, e.Scheme...)
		b = binary.AppendUvarint(b, uint64(len(e.ID)))
		b = append(b, e.ID...)
	}
	return b
}

// fixACL turns the list of a create or setACL into the one to store, as ZooKeeper's
// PrepRequestProcessor.fixupACL does: repeats are dropped, an entry auth stands for all
// identities of the caller that say who he is, and an empty list, an unknown scheme, a bad id or an auth that
// stands for nobody make the whole list invalid. Permission bits are taken as they are.
func fixACL(c *command.Caller, list []command.ACL) (fixed []command.ACL, ok bool) {
	if len(list) == 0 {
		return nil, false
	}
	if e := &list[0]; len(list) == 1 && e.Scheme != schemeAuth {
		return list, validIdentity(e.Scheme, e.ID) // nearly always
	}
	fixed = make([]command.ACL, 0, len(list))
	for _, e := range withoutRepeats(list) {
		if e.Scheme != schemeAuth {
			if !validIdentity(e.Scheme, e.ID) {
				return nil, false
			}
			fixed = append(fixed, e)
			continue
		}
		before := len(fixed)
		for _, id := range c.Identities {
			if authenticated(id.Scheme) {
				fixed = append(fixed, command.ACL{Perms: e.Perms, Scheme: id.Scheme, ID: id.ID})
			}
		}
		if len(fixed) == before {
			return nil, false
		}
	}
	return fixed, true
}

// withoutRepeats returns list without entries that stood there before. Short lists, which are nearly
// all, are compared pair by pair; a long one, which a client may send to keep us busy, is not.
func withoutRepeats(list []command.ACL) []command.ACL {
	const short = 8
	var seen map[command.ACL]struct{}
	if len(list) > short {
		seen = make(map[command.ACL]struct{}, len(list))
	}
	out := make([]command.ACL, 0, len(list))
	for _, e := range list {
		if seen == nil {
			if !contains(out, e) {
				out = append(out, e)
			}
			continue
		}
		if _, repeat := seen[e]; !repeat {
			seen[e] = struct{}{}
			out = append(out, e)
		}
	}
	return out
}

func contains(list []command.ACL, e command.ACL) bool {
	for i := range list {
		if list[i] == e {
			return true
		}
	}
	return false
}

// authenticated says whether an identity of the scheme says who the caller is rather than where he
// comes from (AuthenticationProvider.isAuthenticated).
func authenticated(scheme string) bool {
	return scheme == schemeDigest || scheme == schemeX509 || scheme == schemeSASL
}

// aclAllows says whether an access list lets the caller do what needs any one of the permissions
// perm. Commands of okapi itself pass. ZooKeeper callers pass where ACLs are switched off, and the super user does. An
// etcd user appears as etcd:name, and without a name as nobody in particular; root passes.
func (m *Machine) aclAllows(c *command.Caller, acl *accessList, perm command.Permission) bool {
	return allows(&m.settings, c, acl.entries, perm)
}

func allows(s *command.Settings, c *command.Caller, list []command.ACL, perm command.Permission) bool {
	if c.Protocol == command.Internal || c.Protocol == command.ZooKeeper && s.SkipACL {
		return true
	}
	for i := range list {
		if e := &list[i]; e.Perms&perm != 0 && matches(c, e) {
			return true
		}
	}
	return privileged(c)
}

// privileged says whether no access list holds for the caller.
func privileged(c *command.Caller) bool {
	if c.Protocol == command.Etcd {
		return c.User == etcdRoot
	}
	for i := range c.Identities {
		if c.Identities[i].Scheme == schemeSuper {
			return true
		}
	}
	return false
}

// matches says whether an entry of an access list speaks of the caller.
func matches(c *command.Caller, e *command.ACL) bool {
	if e.Scheme == schemeWorld {
		return e.ID == anyone
	}
	if c.Protocol == command.Etcd {
		return e.Scheme == schemeEtcd && c.User != "" && e.ID == c.User
	}
	for i := range c.Identities {
		id := &c.Identities[i]
		if id.Scheme != e.Scheme {
			continue
		}
		if id.ID == e.ID && e.Scheme != schemeIP || e.Scheme == schemeIP && addressMatches(id.ID, e.ID) {
			return true
		}
	}
	return false
}

// maskDigests returns the list as it is shown to a caller who may not change it: without the
// hashes of passwords.
func maskDigests(list []command.ACL) []command.ACL {
	out := make([]command.ACL, len(list))
	for i, e := range list {
		if e.Scheme == schemeDigest {
			if user, _, found := strings.Cut(e.ID, ":"); found {
				e.ID = user + ":x"
			}
		}
		out[i] = e
	}
	return out
}
