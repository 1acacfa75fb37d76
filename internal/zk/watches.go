package zk

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// watches answers the requests of a connection that have to do with watches. It does so at the notifier's own position, where
// no event can come between the look at a node and the watch on it.
type watches struct {
	conn *conn
}

// watching is a request about watches, decoded.
type watching struct {
	// path and kinds are those of addWatch, removeWatches and checkWatches; kinds is 0 if the request names none that there are.
	path  string
	kinds watch.Kinds
	// nowhere says that the path is null: there is no watch there.
	nowhere bool
	// again are the watches that a client brings along after a reconnection, for setWatches and setWatches2.
	again *jute.SetWatches
}

// The watcher types of checkWatches and removeWatches (org.apache.zookeeper.Watcher.WatcherType), and the modes of
// addWatch (org.apache.zookeeper.AddWatchMode).
const (
	typeChildren            = 1
	typeData                = 2
	typeAny                 = 3
	typePersistent          = 4
	typePersistentRecursive = 5

	modePersistent          = 0
	modePersistentRecursive = 1
)

// kindsOfType translates a watcher type; 0 if there is none of this number.
func kindsOfType(n int32) watch.Kinds {
	switch n {
	case typeChildren:
		return watch.Child
	case typeData:
		return watch.Data
	case typeAny:
		return watch.AnyKind
	case typePersistent:
		return watch.Persistent
	case typePersistentRecursive:
		return watch.Recursive
	}
	return 0
}

// kindsOfMode translates a mode; 0 if there is none of this number.
func kindsOfMode(n int32) watch.Kinds {
	switch n {
	case modePersistent:
		return watch.Persistent
	case modePersistentRecursive:
		return watch.Recursive
	}
	return 0
}

// decodeWatching reads the body of a request about watches.
func decodeWatching(r *jute.Reader, op jute.OpCode) *watching {
	if op == jute.OpSetWatches || op == jute.OpSetWatches2 {
		w := &watching{again: &jute.SetWatches{}}
		w.again.Decode(r, op)
		return w
	}
	if op == jute.OpAddWatch {
		var m jute.WatchRequest
		m.Decode(r)
		return &watching{path: m.Path, kinds: kindsOfMode(m.Kind)}
	}
	w := &watching{}
	w.path, w.nowhere = r.MaybeString()
	w.kinds = kindsOfType(r.Int32())
	return w
}

// quiet moves the position to the notifier's and runs fn there; see notifier.quiet. The events up to there are encoded
// before, so fn may encode what follows them. It does nothing if the connection is at its end.
func (w *watches) quiet(fn func(r *watch.Registry)) {
	c := w.conn
	for c.phase != phaseFinished {
		for c.first() != nil && c.phase != phaseFinished {
			c.takeIn()
		}
		done := c.srv.notifier.quiet(c, func(r *watch.Registry, at position) {
			c.reveal(at)
			fn(r)
		})
		if done {
			return
		}
	}
}

// codeTooManyWatches answers a request that would leave more watches than there may be. ZooKeeper has no such bound and no code
// for it; this one is known to every client, none takes the watch for left, and none tries again by itself.
const codeTooManyWatches = jute.CodeSystemError

// leave moves the position to the notifier's and leaves the watch that a read asks for, if the read finds what it
// takes: the node, or for exists at least the right to know that there is none
// (org.apache.zookeeper.server.FinalRequestProcessor; DataTree.statNode). Whether the caller may read is the same question for all of
// these reads. A read whose watch is one too many is refused.
func (w *watches) leave(it *item) {
	c := w.conn
	w.quiet(func(r *watch.Registry) {
		caller := c.caller
		caller.Identities = it.identities
		code := state.NoNode
		c.srv.replica.ReadTree(c.at.seq, c.at.zxid, func(v state.View) { _, code = v.Exists(&caller, it.path) })
		leaves := code == state.OK || code == state.NoNode && it.op == jute.OpExists
		if leaves && !r.Add(c.id, it.path, it.leaves) {
			it.code = codeTooManyWatches
		}
	})
}

// answer answers a request about watches.
func (w *watches) answer(it *item) {
	c, code := w.conn, it.code
	switch {
	case code != jute.CodeOK:
		w.quiet(func(*watch.Registry) {})
	case it.watching.again != nil:
		w.catchUp(it.watching.again)
	default:
		w.quiet(func(r *watch.Registry) { code = it.watching.change(r, c.id, it.op) })
	}
	if c.phase != phaseFinished {
		c.out.watching(it.op, it.xid, c.at.zxid, code)
	}
}

// change does addWatch, checkWatches or removeWatches for a connection.
func (w *watching) change(r *watch.Registry, id watch.ConnID, op jute.OpCode) jute.ErrorCode {
	switch {
	case w.kinds == 0:
		return jute.CodeMarshallingError
	case op == jute.OpAddWatch:
		if !r.Add(id, w.path, w.kinds) {
			return codeTooManyWatches
		}
	case w.nowhere,
		op == jute.OpCheckWatches && !r.Has(id, w.path, w.kinds),
		op == jute.OpRemoveWatches && !r.Remove(id, w.path, w.kinds):
		return jute.CodeNoWatcher
	}
	return jute.CodeOK
}

// catchUpStep is how many watches are set again at one position.
const catchUpStep = 256

// missed is what a list of setWatches tells of a node that changed after a zxid; none if it did not, and then the watch is left
// again. Access lists do not count here: a client that may not read a node learns no more than that it changed, as in
// ZooKeeper (org.apache.zookeeper.server.DataTree.setWatches).
type missed func(v state.View, path string, zxid int64) watch.EventType

const none watch.EventType = 0

// statOf looks at a node regardless of access lists.
func statOf(v state.View, path string) (z state.Stat, there bool) {
	z, code := v.Exists(&command.Caller{Protocol: command.Internal}, path)
	return z, code == state.OK
}

func missedData(v state.View, path string, zxid int64) watch.EventType {
	switch z, there := statOf(v, path); {
	case !there:
		return watch.NodeDeleted
	case z.Mzxid > zxid:
		return watch.NodeDataChanged
	}
	return none
}

func missedExist(v state.View, path string, _ int64) watch.EventType {
	if _, there := statOf(v, path); there {
		return watch.NodeCreated
	}
	return none
}

func missedChild(v state.View, path string, zxid int64) watch.EventType {
	switch z, there := statOf(v, path); {
	case !there:
		return watch.NodeDeleted
	case z.Pzxid > zxid:
		return watch.ChildrenChanged
	}
	return none
}

func missedNothing(state.View, string, int64) watch.EventType { return none }

// catchUp sets the watches again that a client had on its last connection, and tells at once of those nodes that have
// changed since. What persistent watches have missed is lost, as in ZooKeeper. Where they are too many the connection ends:
// clients do not look at the answer to setWatches, so they would wait for events of watches that are not there.
func (w *watches) catchUp(m *jute.SetWatches) {
	w.setAgain(m.Data, watch.Data, m.RelativeZxid, missedData)
	w.setAgain(m.Exist, watch.Data, m.RelativeZxid, missedExist)
	w.setAgain(m.Child, watch.Child, m.RelativeZxid, missedChild)
	w.setAgain(m.Persistent, watch.Persistent, 0, missedNothing)
	w.setAgain(m.PersistentRecursive, watch.Recursive, 0, missedNothing)
	w.quiet(func(*watch.Registry) {}) // The reply is at a position of its own if there was nothing to set.
}

// setAgain does one list, in steps, between which others are let in.
func (w *watches) setAgain(paths []string, kind watch.Kinds, zxid int64, missed missed) {
	c := w.conn
	told := make([]watch.EventType, catchUpStep)
	for len(paths) > 0 && c.phase != phaseFinished {
		step := paths[:min(len(paths), catchUpStep)]
		paths = paths[len(step):]
		full := false
		w.quiet(func(r *watch.Registry) {
			c.srv.replica.ReadTree(c.at.seq, c.at.zxid, func(v state.View) {
				for i, path := range step {
					if told[i] = missed(v, path, zxid); told[i] == none {
						full = !r.Add(c.id, path, kind) || full
					}
				}
			})
		})
		if full {
			c.finish(errTooManyWatches)
			return
		}
		for i, path := range step {
			if told[i] != none {
				c.out.notice(told[i], path, -1)
			}
		}
	}
}
