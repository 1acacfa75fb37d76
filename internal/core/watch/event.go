package watch

import "github.com/okapi-kv/okapi/internal/core/command"

// EventType says what happened to a znode; the numbers are ZooKeeper's
// (org.apache.zookeeper.Watcher.Event.EventType).
type EventType int32

// The types of event that the server makes.
const (
	NodeCreated     EventType = 1
	NodeDeleted     EventType = 2
	NodeDataChanged EventType = 3
	// ChildrenChanged is what a create or delete means to watchers of the parent's children. It is
	// only ever the type of a notification: no operation makes an Event of this type.
	ChildrenChanged EventType = 4
)

// Event is one change of one znode, in the order of the operations that made it. A change of the ACL
// makes none.
type Event struct {
	Type EventType
	Path string
	Zxid int64
	Seq  uint64
	// ACL decides who may learn of it: the new node's for a create, the last one's for a delete.
	// ParentACL does so for the change of the parent's children; nil for NodeDataChanged.
	ACL, ParentACL []command.ACL
}
