package command

// Settings are what apply reads and what must therefore be equal on all members. They are
// written once at bootstrap; a member whose flags disagree refuses to start.
type Settings struct {
	// TreePrefix is the mount point of the znode tree among the keys, such as "/zk"; empty
	// keeps the tree out of the key space.
	TreePrefix string
	// TreeHistory is how long history of the tree stays readable, in milliseconds.
	TreeHistory int64
	// QuotaBytes bounds the logical size of plain keys, TreeQuotaBytes that of the tree; 0 for no bound.
	QuotaBytes, TreeQuotaBytes int64
	// ExtendedTypes allows TTL nodes, ZooKeeper's extendedTypesEnabled.
	ExtendedTypes bool
	// EnforceQuota turns hard quotas of /zookeeper/quota into errors, ZooKeeper's enforceQuota.
	EnforceQuota bool
	// SkipACL lets every ZooKeeper caller do everything, ZooKeeper's skipACL.
	SkipACL bool
}

// Bootstrap writes the settings of a new cluster. The first leader proposes it as its first
// command; a repeat changes nothing.
type Bootstrap struct {
	Settings Settings
}

// Expire ends a session or lease whose time is up and deletes its keys as one command. Apply
// ignores it unless Term is the term of the entry and Generation is current: a deposed leader, or
// one that has not yet seen the client come back, expires nobody.
type Expire struct {
	ID         int64
	Generation uint64
	Term       uint64
}

// Reap deletes a container or TTL node whose time is up. Apply checks again that it is the same
// node (Czxid), that it has no children, and for a TTL node that the TTL has passed at the entry's time.
type Reap struct {
	Path  string
	Czxid int64
}

// PublishMember tells everybody what one member says of itself: the name it goes by and the URLs under which clients
// reach it. A member proposes it at its start if the state has something else, and no other member does for it; it
// corresponds to etcd's ClusterMemberAttrSetRequest.
type PublishMember struct {
	ID         uint64
	Name       string
	ClientURLs []string
}

// Kind implements Command.
func (*Bootstrap) Kind() Kind { return KindBootstrap }

// Kind implements Command.
func (*Expire) Kind() Kind { return KindExpire }

// Kind implements Command.
func (*Reap) Kind() Kind { return KindReap }

// Kind implements Command.
func (*PublishMember) Kind() Kind { return KindPublishMember }
