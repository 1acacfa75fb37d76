package zk

import (
	"cmp"
	"slices"
	"time"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// dump lists the sessions, their ephemeral nodes, and when connections are closed unless something is heard of their
// clients. Sessions are listed as a member of ZooKeeper lists them that is not the leader
// (org.apache.zookeeper.server.quorum.LearnerSessionTracker), because their deadlines are the leader's alone. Leases of
// etcd clients that own znodes are among the sessions with ephemerals.
func (a *answer) dump() {
	owners := a.owners()
	a.printf("SessionTracker dump:\n")
	a.dumpSessions(owners)
	a.printf("ephemeral nodes dump:\n")
	a.dumpEphemerals(owners)
	a.printf("Connections dump:\n")
	a.dumpConnections()
}

// owners returns sessions and leases by id.
func (a *answer) owners() []state.Owner {
	var owners []state.Owner
	at := a.srv.notifier.position()
	a.srv.replica.ReadTree(at.seq, at.zxid, func(v state.View) { owners = state.Owners(v) })
	slices.SortFunc(owners, func(x, y state.Owner) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(owners, func(x, y state.Owner) bool { return x.ID == y.ID })
}

func (a *answer) dumpSessions(owners []state.Owner) {
	sessions := 0
	for i := range owners {
		if owners[i].Session {
			sessions++
		}
	}
	a.printf("Global Sessions(%d):\n", sessions)
	for i := range owners {
		if owners[i].Session {
			a.printf("0x%x\t%dms\n", uint64(owners[i].ID), owners[i].TimeoutMS)
		}
	}
}

func (a *answer) dumpEphemerals(owners []state.Owner) {
	owners = slices.DeleteFunc(owners, func(o state.Owner) bool { return o.Ephemerals == 0 })
	a.printf("Sessions with Ephemerals (%d):\n", len(owners))
	for i := range owners {
		if a.over() {
			return
		}
		var paths []string
		at := a.srv.notifier.position()
		a.srv.replica.ReadTree(at.seq, at.zxid, func(v state.View) { paths = v.Ephemerals(owners[i].ID) })
		a.printf("0x%x:\n", uint64(owners[i].ID))
		for _, path := range paths {
			a.printf("\t%s\n", path)
		}
	}
}

// deadline returns when reading from a connection ends unless something is heard of its client.
func deadline(l *link) time.Time {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	return l.srv.epoch.Add(time.Duration(l.deadlineNS))
}

// closing is a connection and when it is closed.
type closing struct {
	link *link
	at   time.Time
}

// dumpConnections lists the connections by when they are closed, rounded up to the next tick, as ZooKeeper does
// (org.apache.zookeeper.server.ExpiryQueue).
func (a *answer) dumpConnections() {
	tick := time.Duration(a.srv.settings.tickTimeMS) * time.Millisecond
	links := a.connections()
	all, sets := make([]closing, len(links)), 0
	for i, l := range links {
		all[i] = closing{l, deadline(l).Truncate(tick).Add(tick)}
	}
	slices.SortStableFunc(all, func(x, y closing) int { return x.at.Compare(y.at) })
	size := func(i int) int { // of the set that begins at i
		n := i
		for n < len(all) && all[n].at.Equal(all[i].at) {
			n++
		}
		return n - i
	}
	for i := 0; i < len(all); i += size(i) {
		sets++
	}
	a.printf("Connections Sets (%d)/(%d):\n", sets, len(all))
	for i := 0; i < len(all) && !a.over(); {
		n := size(i)
		a.printf("%d expire at %s:\n", n, javaDate(all[i].at))
		for _, c := range all[i : i+n] {
			a.printf("\t%s\n", full(c.link))
		}
		i += n
	}
}
