package state

// Code says how a command ended. Each adapter maps every code to its protocol's own number or
// status; a code that cannot reach a protocol is mapped to its internal error.
type Code uint16

// The codes.
const (
	OK Code = iota

	// Refusals in etcd's terms.

	// KeyNotFound: IgnoreValue or IgnoreLease on a key that does not exist.
	KeyNotFound
	// LeaseNotFound: no such lease.
	LeaseNotFound
	// LeaseExists: the ID of a grant is taken.
	LeaseExists
	// Compacted: the revision is below the floor of its history.
	Compacted
	// FutureRevision: the revision is above the current one.
	FutureRevision
	// NoSpace: the quota of plain keys is used up, or the NOSPACE alarm is on.
	NoSpace
	// PermissionDenied: a role or an ACL forbids it to an etcd caller.
	PermissionDenied
	// Corrupt: the CORRUPT alarm is on, and etcd's commands are refused until it is cleared.
	Corrupt
	// AuthOld: the caller's token was given under an older auth revision.
	AuthOld

	// Refusals of an etcd call on the znode tree.

	// InvalidPath: the key lies under the tree prefix but is no valid path.
	InvalidPath
	// TreeConflict: the tree's own rules forbid it: an ephemeral parent, children that would be
	// orphaned, another owner, a reserved node.
	TreeConflict

	// Refusals in ZooKeeper's terms (org.apache.zookeeper.KeeperException.Code).

	// NoNode: no such znode, or no parent.
	NoNode
	// NodeExists: the znode is there already.
	NodeExists
	// NotEmpty: the znode has children.
	NotEmpty
	// BadVersion: the expected version does not match.
	BadVersion
	// NoAuth: the ACL forbids it to a ZooKeeper caller.
	NoAuth
	// InvalidACL: the access list is empty or has an unknown scheme or a bad id.
	InvalidACL
	// BadArguments: a bad path, flag or TTL, or a reserved node.
	BadArguments
	// Unimplemented: TTL nodes while they are switched off.
	Unimplemented
	// NoChildrenForEphemerals: the parent is ephemeral.
	NoChildrenForEphemerals
	// QuotaExceeded: a hard quota of the node's subtree, or the tree's own limit.
	QuotaExceeded
	// SessionExpired: no such session, or it is closing.
	SessionExpired
	// SessionExists: the ID of an OpenSession is taken.
	SessionExists
	// SessionMoved: the command belongs to an older generation of its session.
	SessionMoved
	// SequenceGap: an earlier command of the same connection was lost, or this one is a repeat; the
	// connection must be closed. Nothing was done.
	SequenceGap
	// RuntimeInconsistency: an operation behind the culprit of a failed Multi.
	RuntimeInconsistency

	// Outcomes of internal commands.

	// Stale: an Expire or Reap that no longer matches the state; nothing was done.
	Stale
	// NotBootstrapped: the cluster has no settings yet.
	NotBootstrapped

	// Refusals of a change of members.

	// MemberExists: the id of a member to add is taken, or was.
	MemberExists
	// PeerURLTaken: another member has one of the peer URLs.
	PeerURLTaken
	// MemberNotFound: no such member, or it was removed.
	MemberNotFound
	// BadMemberChange: the change makes no sense, such as one that leaves no voter.
	BadMemberChange
	// QuorumAtRisk: with the change too few of the voters would be there to decide anything.
	QuorumAtRisk
	// NotCaughtUp: a member that is to vote lacks entries; Result.Detail says how many.
	NotCaughtUp

	// codes is the number of codes.
	codes
)

// codeNames are for people and tests; the texts of the protocols stand in the adapters.
var codeNames = [codes]string{
	OK: "ok", KeyNotFound: "key not found", LeaseNotFound: "lease not found", LeaseExists: "lease exists",
	Compacted: "compacted", FutureRevision: "future revision", NoSpace: "no space",
	PermissionDenied: "permission denied", AuthOld: "auth revision is old", Corrupt: "corrupt cluster",
	InvalidPath: "invalid path", TreeConflict: "tree conflict",
	NoNode: "no node", NodeExists: "node exists", NotEmpty: "not empty", BadVersion: "bad version",
	NoAuth: "no auth", InvalidACL: "invalid acl", BadArguments: "bad arguments",
	Unimplemented: "unimplemented", NoChildrenForEphemerals: "no children for ephemerals",
	QuotaExceeded: "quota exceeded", SessionExpired: "session expired", SessionExists: "session exists",
	SessionMoved: "session moved", SequenceGap: "sequence gap", RuntimeInconsistency: "runtime inconsistency",
	Stale: "stale", NotBootstrapped: "not bootstrapped",
	MemberExists: "member exists", PeerURLTaken: "peer URL is taken", MemberNotFound: "member not found",
	BadMemberChange: "bad change of members", QuorumAtRisk: "quorum at risk", NotCaughtUp: "not caught up",
}

// String names the code.
func (c Code) String() string {
	if c < codes {
		return codeNames[c]
	}
	return "unknown code"
}
