package state

// Counts says how many there are.
type Counts struct {
	// Keys are plain keys; Nodes are znodes, the root and those below /zookeeper included.
	Keys, Nodes int
	// Sessions are those of ZooKeeper clients, Leases those of etcd clients.
	Sessions, Leases int
}

// Count returns how many keys, znodes, sessions and leases there are at present.
func Count(v View) Counts {
	sessions := v.m.leases.sessions
	return Counts{
		Keys: v.m.plain.Sizes().Keys, Nodes: v.m.tree.Sizes().Keys, Sessions: sessions, Leases: len(v.m.leases.byID) - sessions,
	}
}
