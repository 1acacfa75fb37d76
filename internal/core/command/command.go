// Package command is the replicated command language: what a client, or okapi itself, asks
// the state machine to do, and the bytes in which that stands in the log.
//
// Both protocols are translated into these commands before they are proposed. A command
// carries everything that apply needs to decide, chance and identity included, so that apply
// is a function of the state and the entry alone. The codec is versioned and its bytes are
// fixed by golden files: what an older member wrote, a newer one reads.
//
// Commands are plain values. Strings and byte slices of a decoded command alias the entry, whose bytes are never
// changed: a holder that keeps one beyond apply clones it.
package command

// Kind tells the commands apart in the log. Numbers are never reused.
type Kind uint8

// The kinds. Those below 32 come from etcd's API, those from 32 from ZooKeeper's, those from
// 64 from okapi itself.
const (
	KindPut         Kind = 1
	KindRange       Kind = 2
	KindDeleteRange Kind = 3
	KindTxn         Kind = 4
	KindCompact     Kind = 5
	KindLeaseGrant  Kind = 6
	KindLeaseRevoke Kind = 7
	KindAlarm       Kind = 8

	KindCreate        Kind = 32
	KindDelete        Kind = 33
	KindSetData       Kind = 34
	KindSetACL        Kind = 35
	KindCheck         Kind = 36
	KindMulti         Kind = 37
	KindOpenSession   Kind = 38
	KindAttachSession Kind = 39
	KindCloseSession  Kind = 40

	KindBootstrap Kind = 64
	KindExpire    Kind = 65
	KindReap      Kind = 66

	KindPublishMember Kind = 67
	KindChangeMembers Kind = 68
	KindSetLevel      Kind = 69
)

// Command is one thing to do. The set of implementations is closed: it is the list of kinds.
type Command interface {
	// Kind says which command it is.
	Kind() Kind
	// appendBody adds the encoding of the fields, without the kind, to b.
	appendBody(b []byte) []byte
	// maxSize is an upper bound of what appendBody adds, in bytes.
	maxSize() int
}

// Protocol says through which door a command came; it decides which rules of access hold.
type Protocol uint8

// The doors.
const (
	// Internal commands are okapi's own: expiry, reaping, bootstrap. They pass every check of access.
	Internal Protocol = 0
	// Etcd commands are checked against roles, and against ACLs too where they touch a znode.
	Etcd Protocol = 1
	// ZooKeeper commands are checked against ACLs.
	ZooKeeper Protocol = 2
)

// Identity is one authenticated ZooKeeper identity of a connection, such as
// {"ip", "10.1.2.3"} or {"digest", "ann:base64(sha1)"}. The scheme "super" passes every ACL.
type Identity struct {
	Scheme, ID string
}

// Caller says on whose behalf a command is carried out. The member that received the request
// fills it after authentication; apply believes it.
type Caller struct {
	Protocol Protocol

	// User is the authenticated etcd user; empty if there was none.
	User string
	// AuthRevision is the revision of the auth state at which User was authenticated.
	AuthRevision uint64

	// Identities are the identities of the ZooKeeper connection when it sent the request.
	Identities []Identity

	// Session, Generation and Sequence order the commands of one ZooKeeper connection:
	// Sequence counts from 1 in each generation of the session, and apply refuses a gap or a
	// repeat. Session is 0 for callers without a session.
	Session    int64
	Generation uint64
	Sequence   uint64
}

// ID routes a result back to the one who asked. It means nothing to the state machine.
type ID struct {
	// Member is the member that received the request; 0 if nobody waits.
	Member uint64
	// Number is unique among all commands that Member ever proposes, restarts included.
	Number uint64
}

// Proposal is one command as it stands in an entry.
type Proposal struct {
	ID      ID
	Caller  Caller
	Command Command
}

// Batch is the content of one normal Raft entry.
type Batch struct {
	// Time is the leader's clock at the proposal, in milliseconds since the Unix epoch. Apply
	// uses the larger of it and the time of the entry before, so time never runs back.
	Time int64
	// Proposals are applied in order.
	Proposals []Proposal
}
