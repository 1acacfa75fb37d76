package sim

import (
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// nodesMax is how many machines there are at most in one run, those that have left included.
const nodesMax = 11

// changeMembers asks a member for one change of the membership, sensible or not. Machines for new members are started
// some time after that, whatever comes of the change: an operator does not wait either.
func (w *World) changeMembers(n *node) {
	ms := n.member.Status().Members
	some := func(ids []uint64) uint64 {
		if len(ids) == 0 {
			return 1
		}
		return ids[w.rng.IntN(len(ids))]
	}
	anybody := some(append(slices.Clone(ms.Voters()), ms.Learners()...))
	var list []command.MemberChange
	switch w.rng.IntN(8) {
	case 0, 1:
		list = append(list, w.addition(command.Learner))
	case 2:
		list = append(list, w.addition(command.Role(w.rng.IntN(3))))
	case 3, 4:
		list = append(list, command.MemberChange{Action: command.SetRole, ID: some(ms.Learners()), Role: command.Voter})
	case 5:
		list = append(list, command.MemberChange{Action: command.RemoveMember, ID: anybody})
	case 6:
		list = append(list, command.MemberChange{Action: command.RemoveMember, ID: anybody}, w.addition(command.Learner))
	default:
		list = append(list, command.MemberChange{Action: command.SetRole, ID: some(ms.Voters()), Role: command.Observer})
	}
	w.note("n%d is asked to change members: %v", n.id, list)
	n.propose(command.Caller{}, &command.ChangeMembers{Changes: list}, func(r state.Result, err error) {
		w.note("changing members %v: %v %v %s", list, r.Code, err, r.Detail)
		if err == nil && r.Code == state.OK {
			w.check.changed++
		}
	})
}

// addition adds a member on a new machine; none once there are enough machines: then it is one that is not possible.
func (w *World) addition(role command.Role) command.MemberChange {
	id := uint64(len(w.nodes) + 1)
	if id > nodesMax {
		return command.MemberChange{Action: command.AddMember, ID: 1}
	}
	n := newNode(w, id)
	w.nodes = append(w.nodes, n)
	w.after(w.between(0, 3*second), func() {
		if !n.up && !n.left {
			n.start()
		}
	})
	return command.MemberChange{Action: command.AddMember, ID: id, Role: role, PeerURLs: []string{peerURL(id)}}
}

// linksTo is a set of members to be linked with.
func linksTo(members []state.Member) map[uint64]bool {
	links := make(map[uint64]bool)
	for _, m := range members {
		links[m.ID] = true
	}
	return links
}

// admits tells whether a member takes what another one sends: as in production it links with those that it does not know yet,
// and tells those that have been removed.
func (n *network) admits(to, from *node) bool {
	if !to.up || to.links[from.id] {
		return to.up
	}
	s := to.member.Status()
	if s.Members.WasRemoved(from.id) && !slices.Contains(s.Counted, from.id) {
		if !s.Dismisses {
			return false
		}
		from.deliver(func() { n.world.leave(from, "another member says so") })
		return false
	}
	to.links[from.id] = true
	return true
}

// redial has a member that finds itself removed ask others for a link again, which is how it learns that they know.
func (n *network) redial(from *node) {
	if !from.up || !from.member.Status().Members.WasRemoved(from.id) {
		return
	}
	for _, to := range n.world.nodes {
		if from.up && from.links[to.id] && !n.cut[link{from.id, to.id}] && !n.cut[link{to.id, from.id}] {
			n.admits(to, from)
		}
	}
}

// leave stops a member that does not belong to the cluster any more.
func (w *World) leave(n *node, why string) {
	w.note("n%d leaves: %s", n.id, why)
	n.left = true
	n.end()
	for _, c := range w.watchers {
		if c.at == n {
			w.after(c.between(0, 300*millisecond), c.connect)
		}
	}
}

// current are the members of the cluster, as the one that is furthest knows them.
func (w *World) current() (members []*node) {
	var furthest *node
	for _, n := range w.nodes {
		if n.up && (furthest == nil || n.applied > furthest.applied) {
			furthest = n
		}
	}
	if furthest == nil {
		w.fail("nobody is up although nothing harms anybody")
		return w.nodes
	}
	furthest.store.Read(func(v state.View) {
		for _, m := range state.Members(v).Members {
			members = append(members, w.node(m.ID))
		}
	})
	return members
}
