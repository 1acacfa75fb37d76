package state

import "github.com/okapi-kv/okapi/internal/core/command"

// Who may do what is decided here and nowhere else, for commands, for reads, and for the delivery of
// events. There are two rules:
//
//   - roles: may an etcd user read or write a range of keys? They are asked once for each range that a
//     request names, before it is carried out, both branches of a txn included.
//   - access lists: may a caller do something to one znode? They are asked at each znode, at the moment
//     it is touched, because they are part of the state.
//
// An etcd call is subject to the first, a ZooKeeper call to the second, and an etcd call that
// touches the tree to both. Commands of okapi itself pass.

// access is what a request wants with a range of keys.
type access uint8

const (
	accessRead access = 1 << iota
	accessWrite
)

// authorize decides by roles whether the caller of an etcd request may do it at all.
func (m *Machine) authorize(c *command.Caller, req command.Command) Code {
	if c.Protocol != command.Etcd {
		return OK
	}
	switch r := req.(type) {
	case *command.Range:
		return m.roleAllows(c, accessRead, r.Key, r.End)
	case *command.Put:
		return m.roleAllows(c, putAccess(r), r.Key, "")
	case *command.DeleteRange:
		want := accessWrite
		if r.PrevKV {
			want |= accessRead
		}
		return m.roleAllows(c, want, r.Key, r.End)
	case *command.Txn:
		return m.authorizeTxn(c, r)
	default:
		return OK
	}
}

// putAccess returns what a put wants with its key.
func putAccess(r *command.Put) access {
	if r.PrevKV {
		return accessRead | accessWrite
	}
	return accessWrite
}

// authorizeTxn asks for the compares and for both branches, taken or not, as etcd does.
func (m *Machine) authorizeTxn(c *command.Caller, t *command.Txn) Code {
	for i := range t.Compares {
		if code := m.roleAllows(c, accessRead, t.Compares[i].Key, t.Compares[i].End); code != OK {
			return code
		}
	}
	for _, branch := range [2][]command.Command{t.Success, t.Failure} {
		for _, op := range branch {
			if code := m.authorize(c, op); code != OK {
				return code
			}
		}
	}
	return OK
}

// roleAllows decides by the roles of an etcd user. Without etcd's authentication, which is off until
// somebody turns it on, everybody has every role.
func (m *Machine) roleAllows(*command.Caller, access, string, string) Code { return OK }

// nodeAllows decides by the access list of a znode.
func (m *Machine) nodeAllows(c *command.Caller, acl *accessList, perm command.Permission) Code {
	switch {
	case c.Protocol == command.Internal || m.aclAllows(c, acl, perm):
		return OK
	case c.Protocol == command.Etcd:
		return PermissionDenied
	default:
		return NoAuth
	}
}
