package zk

import (
	"cmp"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/watch"
)

// Like ZooKeeper's, these words tell of data watches alone, persistent and recursive ones among them
// (org.apache.zookeeper.server.DataTree.dumpWatches).

// wchs counts the watches.
func (a *answer) wchs() {
	n := a.srv.notifier.stats()
	a.printf("%d connections watching %d paths\nTotal watches:%d\n", n.DataConnections, n.DataPaths, n.DataWatches)
}

// wchc lists the watches by session.
func (a *answer) wchc() {
	for _, w := range a.srv.notifier.watchers() {
		paths := a.srv.notifier.pathsOf(w.id)
		if len(paths) == 0 || a.over() {
			continue // Its watches have gone meanwhile.
		}
		a.printf("0x%x\n", uint64(w.session))
		for _, path := range paths {
			a.printf("\t%s\n", path)
		}
	}
	a.printf("\n")
}

// wchp lists the watches by path.
func (a *answer) wchp() {
	for _, path := range a.srv.notifier.paths() {
		sessions := a.srv.notifier.sessionsOf(path)
		if len(sessions) == 0 || a.over() {
			continue
		}
		a.printf("%s\n", path)
		for _, session := range sessions {
			a.printf("\t0x%x\n", uint64(session))
		}
	}
	a.printf("\n")
}

// watchingSession is a connection that has watches, and its session.
type watchingSession struct {
	id      watch.ConnID
	session int64
}

// stats counts the watches.
func (n *notifier) stats() watch.Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.registry.Stats()
}

// yield lets others have the lock for a moment.
func (n *notifier) yield() {
	n.mu.Unlock()
	n.mu.Lock()
}

// watchers returns the connections that have data watches, by session.
func (n *notifier) watchers() []watchingSession {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []watchingSession
	for _, id := range n.registry.DataConnections(n.yield) {
		if w := n.members[id]; w != nil {
			all = append(all, watchingSession{id, w.caller.Session})
		}
	}
	slices.SortFunc(all, func(x, y watchingSession) int {
		return cmp.Or(cmp.Compare(uint64(x.session), uint64(y.session)), cmp.Compare(x.id, y.id))
	})
	return slices.Compact(all)
}

// paths returns the paths that have data watches.
func (n *notifier) paths() []string {
	return sorted(n, func() []string { return n.registry.DataPaths(n.yield) })
}

// pathsOf returns the paths on which a connection has data watches.
func (n *notifier) pathsOf(id watch.ConnID) []string {
	return sorted(n, func() []string { return n.registry.DataPathsOf(id, n.yield) })
}

// sessionsOf returns the sessions that have data watches on a path.
func (n *notifier) sessionsOf(path string) []int64 {
	return sorted(n, func() []int64 {
		var sessions []int64
		for _, id := range n.registry.DataConnectionsOf(path, n.yield) {
			if w := n.members[id]; w != nil {
				sessions = append(sessions, w.caller.Session)
			}
		}
		return sessions
	})
}

// sorted returns what list gives under the lock; it is sorted without.
func sorted[T cmp.Ordered](n *notifier, list func() []T) []T {
	n.mu.Lock()
	all := list()
	n.mu.Unlock()
	slices.Sort(all)
	return slices.Compact(all)
}
