package check

import (
	"cmp"
	"slices"
)

// NeverBack checks that revisions and zxids never go back: an operation that began after another had returned shows no lower one. That
// holds for all writes and fresh reads of all clients through both doors, for all that one member answers, and for all that one
// client is told (of etcd's members by each alone, since its clients may read old data elsewhere). The two counters go together.
func NeverBack(h *History) []error {
	var wrong complaints
	revisions := h.revisions(h.sources())
	shown := func(o *Operation) (int64, bool) {
		if r := revisions[o]; r != 0 && o.Outcome == Done {
			return r, true
		}
		return o.Revision, false
	}
	var ordered, zxids []*Operation
	members, clients := map[[2]int][]*Operation{}, map[[2]int][]*Operation{}
	for _, o := range h.Operations {
		if !o.Answered() {
			continue
		}
		at, where := 0, o.Member
		if o.ZooKeeper {
			at, where = 1, -1
		}
		members[[2]int{at, o.Member}] = append(members[[2]int{at, o.Member}], o)
		clients[[2]int{o.Client, where}] = append(clients[[2]int{o.Client, where}], o)
		if o.Read == nil || o.Read.Fresh {
			ordered, zxids = append(ordered, o), append(zxids, o)
		}
	}
	neverBack("all", "revision", ordered, shown, &wrong)
	neverBack("all", "zxid", zxids, zxidOf(revisions), &wrong)
	for _, groups := range []map[[2]int][]*Operation{members, clients} {
		for _, ops := range groups {
			neverBack("one member or client", "revision", ops, func(o *Operation) (int64, bool) { return o.Revision, false }, &wrong)
			neverBack("one member or client", "zxid", ops, func(o *Operation) (int64, bool) { return o.Zxid, false }, &wrong)
		}
	}
	together(ordered, revisions, &wrong)
	return wrong.all()
}

// zxidOf is what an operation shows of the zxid, and whether nothing else may have it.
func zxidOf(revisions map[*Operation]int64) func(*Operation) (int64, bool) {
	return func(o *Operation) (int64, bool) { return o.Zxid, o.ZooKeeper && revisions[o] != 0 && o.Outcome == Done }
}

// neverBack goes through operations by the time at which they began. number is what an operation shows, 0 if nothing, and whether it is
// its own, above all before.
func neverBack(who, what string, ops []*Operation, number func(*Operation) (int64, bool), wrong *complaints) {
	returned := byReturn(ops)
	var newest *Operation
	high := int64(0)
	for _, o := range byCall(ops) {
		for len(returned) > 0 && returned[0].Return < o.Call {
			if n, _ := number(returned[0]); n > high {
				high, newest = n, returned[0]
			}
			returned = returned[1:]
		}
		n, own := number(o)
		if n != 0 && newest != nil && (n < high || own && n == high) {
			wrong.add("%s: %s %#x after %#x: %v began after %v had returned", who, what, n, high, o, newest)
		}
	}
}

// together checks that writes through ZooKeeper's door have their zxids in the order of their revisions.
func together(ops []*Operation, revisions map[*Operation]int64, wrong *complaints) {
	var writes []*Operation
	for _, o := range ops {
		if o.ZooKeeper && o.Outcome == Done && revisions[o] != 0 {
			writes = append(writes, o)
		}
	}
	slices.SortFunc(writes, func(a, b *Operation) int { return cmp.Compare(revisions[a], revisions[b]) })
	for i, o := range writes {
		if i > 0 && o.Zxid <= writes[i-1].Zxid {
			wrong.add("revision %d has zxid %#x, revision %d before it %#x", revisions[o], o.Zxid, revisions[writes[i-1]], writes[i-1].Zxid)
		}
	}
}
