package state

// Owner is a session or lease, to which ephemeral znodes may belong.
type Owner struct {
	ID int64
	// TimeoutMS is a session's timeout in milliseconds.
	TimeoutMS int32
	// Session says that it is a session.
	Session bool
	// Ephemerals is how many znodes end with it.
	Ephemerals int
}

// Ephemerals returns how many znodes end with a session or lease at present. It calls Yield as Owners does.
func Ephemerals(v View) (n int) {
	steps := 0
	for _, l := range v.m.leases.byID { // in any order: they are added up
		n += len(l.nodes)
		stepView(v, &steps)
	}
	return n
}

// Owners returns all sessions and leases at present, in no order. It calls Yield every 256 of them, during which some
// may come and go.
func Owners(v View) []Owner {
	all, steps := make([]Owner, 0, len(v.m.leases.byID)), 0
	for _, l := range v.m.leases.byID { // in any order: nothing is decided here
		all = append(all, Owner{ID: l.id, TimeoutMS: l.timeoutMS, Session: l.kind == leaseSession, Ephemerals: len(l.nodes)})
		stepView(v, &steps)
	}
	return all
}
