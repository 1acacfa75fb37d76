package command

// Permission is a set of ZooKeeper permission bits (org.apache.zookeeper.ZooDefs.Perms).
type Permission int32

// The permission bits.
const (
	PermRead   Permission = 1
	PermWrite  Permission = 2
	PermCreate Permission = 4
	PermDelete Permission = 8
	PermAdmin  Permission = 16
	PermAll    Permission = 31
)

// ACL is one entry of a znode's access list. The bits are stored as they came: ZooKeeper does not
// validate them.
type ACL struct {
	Perms      Permission
	Scheme, ID string
}

// Flags of Create, with the numbers of the ZooKeeper wire (org.apache.zookeeper.CreateMode).
const (
	FlagPersistent              int32 = 0
	FlagEphemeral               int32 = 1
	FlagSequential              int32 = 2
	FlagEphemeralSequential     int32 = 3
	FlagContainer               int32 = 4
	FlagTTL                     int32 = 5
	FlagPersistentSequentialTTL int32 = 6
)

// NoTTL is the TTL of a Create that came without one.
const NoTTL int64 = -1

// AnyVersion as an expected version matches every version.
const AnyVersion int32 = -1

// Create makes a znode (opcodes create, create2, createContainer and createTTL). Flags, path and
// ACL are as the client sent them, good or bad: apply refuses the bad ones, because a refused
// create uses up a zxid.
type Create struct {
	Path string
	// Data is the node's data; nil is ZooKeeper's null, which is kept apart from empty.
	Data []byte
	ACL  []ACL
	// Flags is the raw flags field of the request.
	Flags int32
	// TTL is in milliseconds; NoTTL if the request has no such field.
	TTL int64
}

// Delete removes a znode.
type Delete struct {
	Path    string
	Version int32
}

// SetData replaces a znode's data; nil Data is null.
type SetData struct {
	Path    string
	Data    []byte
	Version int32
}

// SetACL replaces a znode's access list. Version is the expected aversion.
type SetACL struct {
	Path    string
	ACL     []ACL
	Version int32
}

// Check passes if the znode has the expected version. It stands only inside a Multi.
type Check struct {
	Path    string
	Version int32
}

// Multi does all of its operations (*Create, *Delete, *SetData, *Check) or none.
type Multi struct {
	Ops []Command
}

// PasswordSize is the length of a session password on the wire, in bytes.
const PasswordSize = 16

// OpenSession makes a ZooKeeper session. The receiving member has drawn ID and Password; a taken
// ID is refused.
type OpenSession struct {
	ID       int64
	Password [PasswordSize]byte
	// Timeout is the negotiated timeout in milliseconds.
	Timeout int32
}

// AttachSession moves a living session to a new connection: the password is compared, the
// timeout replaced, and the generation raised by one, so that commands still under way from the
// old connection are refused.
type AttachSession struct {
	ID       int64
	Password [PasswordSize]byte
	Timeout  int32
}

// CloseSession ends the session of its Caller and deletes its ephemeral nodes at one zxid.
type CloseSession struct{}

// Kind implements Command.
func (*Create) Kind() Kind { return KindCreate }

// Kind implements Command.
func (*Delete) Kind() Kind { return KindDelete }

// Kind implements Command.
func (*SetData) Kind() Kind { return KindSetData }

// Kind implements Command.
func (*SetACL) Kind() Kind { return KindSetACL }

// Kind implements Command.
func (*Check) Kind() Kind { return KindCheck }

// Kind implements Command.
func (*Multi) Kind() Kind { return KindMulti }

// Kind implements Command.
func (*OpenSession) Kind() Kind { return KindOpenSession }

// Kind implements Command.
func (*AttachSession) Kind() Kind { return KindAttachSession }

// Kind implements Command.
func (*CloseSession) Kind() Kind { return KindCloseSession }
