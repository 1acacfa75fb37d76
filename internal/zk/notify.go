package zk

import (
	"sync"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Publisher tells what is applied at this member.
type Publisher interface {
	// Subscribe calls fn, in the order of the log, for each command applied from now on and at the end of each entry,
	// and returns where that order stands now. fn is called when a view shows what the command did, and before those who
	// wait for its result are told; it does not block and does not call cancel.
	Subscribe(fn func(Publication)) (now Publication, cancel func())
}

// Publication is what one command did.
type Publication struct {
	// Events are those of the command, in order. They are good until the subscriber returns.
	Events []state.Event
	// Sessions are those that the entry opened, attached or ended; they are told at its end.
	Sessions []state.LeaseChange
	// Seq and Zxid are the counters after the command.
	Seq  uint64
	Zxid int64
	// Installed says that a snapshot has replaced the state: what happened in between is not told.
	Installed bool
}

// position is a place in the order of all commands: behind the one that left these counters.
type position struct {
	seq  uint64
	zxid int64
}

// notifier matches events with the watches of this server's connections.
//
// # Idea
//
// Applying a command and telling of it are two steps: a view shows a change a little before the watches on it are
// matched. A client must not see a change in a reply before the event for it. So connections do not look at the newest view
// but at most at the position up to which the notifier has told everybody. What it has to tell goes into the
// inboxes of the connections, between the results of their own commands, in the order of the log: an inbox that is
// empty after the position was looked up has told everything up to that position.
//
// A read that leaves a watch has to know that nothing is told between the look and the leaving. It takes place while no
// command is being matched, at the notifier's position: quiet is the way to do so.
//
// # Invariants
//
//   - Every event at or before the position was put into the inboxes of the connections that had a watch for it.
//   - Every watch of the registry belongs to a connection that has joined and not left.
//   - Nothing is encoded for a socket, sent or waited for under the lock; an inbox's lock is taken under it, and the
//     state is read under it for single nodes, never for ranges.
//
// # Why not simpler
//
// Matching while the state is locked would need no position, but a delete of ten thousand nodes that are watched would hold
// up every reader. A watch that is left first and confirmed by the look afterwards would tell of changes that the
// reply shows already.
type notifier struct {
	replica Replica

	mu       sync.Mutex
	registry *watch.Registry
	members  map[watch.ConnID]*watcher
	lastID   watch.ConnID
	at       position
	// notice is the notification that was encoded last: connections mostly get the same one.
	notice notice
	// matching is the view of the command whose events are matched.
	matching state.View
}

// watcher is one connection that may leave watches.
type watcher struct {
	conn   *conn
	caller command.Caller
}

// notice is an encoded notification.
type notice struct {
	typ   watch.EventType
	path  string
	zxid  int64
	frame []byte
}

func newNotifier(r Replica, l watch.Limits) *notifier {
	return &notifier{replica: r, registry: watch.NewRegistry(l), members: map[watch.ConnID]*watcher{}}
}

// start makes the notifier follow what is applied. The function it returns ends that.
func (n *notifier) start(p Publisher, s *sessions) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, stop := p.Subscribe(func(p Publication) {
		n.publish(p)
		s.follow(p.Sessions)
	})
	n.at = position{now.Seq, now.Zxid}
	return stop
}

// publish tells of one command.
func (n *notifier) publish(p Publication) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.Installed {
		for _, w := range n.members { // each by itself
			w.conn.inbox.end(errInstalled)
		}
	}
	n.at = position{p.Seq, p.Zxid}
	if len(p.Events) > 0 && !n.registry.Empty() {
		n.tell(p.Events, n.at)
	}
}

// tell tells those who watch of events. It is apart because what it hands to the reader is allocated: most commands
// concern nobody.
func (n *notifier) tell(events []state.Event, at position) {
	ok := n.replica.ReadTree(at.seq, at.zxid, func(v state.View) {
		n.matching = v
		for i := range events {
			n.match(&events[i])
		}
	})
	invariant.Assert(ok, "the newest position can be read")
	n.matching, n.notice = state.View{}, notice{}
}

// match finds whom an event concerns.
func (n *notifier) match(e *state.Event) {
	event := watch.Event{
		Type: watch.EventType(e.Type), Path: e.Path, Zxid: e.Zxid, Seq: e.Seq, ACL: e.ACL, ParentACL: e.ParentACL,
	}
	n.registry.Match(&event, n.mayKnow, func(id watch.ConnID, typ watch.EventType, path string) {
		n.members[id].conn.inbox.tell(n.encode(typ, path, e.Zxid), position{e.Seq, e.Zxid})
	})
}

// mayKnow says whether a connection may learn of a node with the access list.
func (n *notifier) mayKnow(id watch.ConnID, acl []command.ACL) bool {
	return n.matching.Allows(&n.members[id].caller, acl, command.PermRead)
}

// encode returns the frame of a notification, which is the same for everybody.
func (n *notifier) encode(typ watch.EventType, path string, zxid int64) []byte {
	if c := &n.notice; c.typ != typ || c.path != path || c.zxid != zxid {
		*c = notice{typ, path, zxid, appendNotice(nil, typ, path, zxid)}
	}
	return n.notice.frame
}

// appendNotice adds the frame of a notification. zxid is that of the change since ZooKeeper 3.9 (ZOOKEEPER-4655), and -1 where a
// client catches up.
func appendNotice(b []byte, typ watch.EventType, path string, zxid int64) []byte {
	start := len(b)
	h := jute.ReplyHeader{Xid: jute.XidNotification, Zxid: zxid}
	b = h.Append(jute.BeginFrame(b))
	b = (&jute.WatcherEvent{Type: jute.EventType(typ), State: jute.StateSyncConnected, Path: path}).Append(b)
	return jute.EndFrame(b, start)
}

// position returns the place up to which everybody has been told.
func (n *notifier) position() position {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.at
}

// join makes a connection one that may leave watches.
func (n *notifier) join(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastID++
	c.id = n.lastID
	n.members[c.id] = &watcher{c, c.caller}
}

// identify tells the notifier who a connection is by now.
func (n *notifier) identify(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.members[c.id]; w != nil {
		w.caller = c.caller
	}
}

// leave drops a connection and its watches.
func (n *notifier) leave(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registry.DropConnection(c.id)
	delete(n.members, c.id)
}

// quiet runs fn at the notifier's position while nothing is matched, if everything up to it has been taken out of the inbox
// of c; otherwise it returns false. fn may use the registry.
func (n *notifier) quiet(c *conn, fn func(r *watch.Registry, at position)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.inbox.empty() {
		return false
	}
	fn(n.registry, n.at)
	return true
}
