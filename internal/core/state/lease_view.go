package state

// Leases have no history, so what these functions return is the present; and as they let the machine run every
// 256 items, it may be that of several moments: what comes or goes meanwhile may be missing or not.

// GrantedLeases returns the ids of all etcd leases, in no order.
func GrantedLeases(v View) []int64 {
	ids := make([]int64, 0, Count(v).Leases)
	steps := 0
	for id, l := range v.m.leases.byID { // in any order: the caller sorts
		if l.kind == leaseGranted {
			ids = append(ids, id)
		}
		stepView(v, &steps)
	}
	return ids
}

// KeysOfLease is View.LeaseKeys for a lease that may have very many keys: they are in no order.
func KeysOfLease(v View, id int64) []string {
	l := v.m.leases.get(id)
	if l == nil {
		return nil
	}
	keys := make([]string, 0, len(l.keys)+len(l.nodes))
	steps := 0
	for key := range l.keys { // in any order: the caller sorts
		keys = append(keys, key)
		stepView(v, &steps)
	}
	for path := range l.nodes { // in any order: the caller sorts
		if v.m.hasKey(path) {
			keys = append(keys, v.m.mount.prefix+path)
		}
		stepView(v, &steps)
	}
	return keys
}

// stepView counts one item of a long read and lets the machine run after every stepKeys of them.
func stepView(v View, n *int) {
	*n++
	if *n%stepKeys == 0 && v.Yield != nil {
		v.Yield()
	}
}
