package sim

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// quorums proves that any quorum of a configuration meets any of the next one, and knows who had to have an entry when.
type quorums struct {
	world *World
	confs []confAt // in force, in order
}

// confAt is raft's configuration from an entry on.
type confAt struct {
	index uint64
	conf  *raftpb.ConfState
}

// configured notes the configuration that a member has after an entry.
func (q *quorums) configured(index uint64, conf *raftpb.ConfState) {
	last := len(q.confs) - 1
	if last < 0 || q.confs[last].index < index && !slices.Equal(voters(q.confs[last].conf), voters(conf)) {
		if last >= 0 && !overlap(q.confs[last].conf, conf) {
			q.world.fail("a quorum of %v need not meet one of %v, which follows it at entry %d", q.confs[last].conf, conf, index)
		}
		q.confs = append(q.confs, confAt{index, conf})
	}
}

// voters lists the voters of a configuration, a zero, and those of the one it comes from.
func voters(conf *raftpb.ConfState) []uint64 {
	return slices.Concat(conf.GetVoters(), []uint64{0}, conf.GetVotersOutgoing())
}

// confSlack is how many entries may follow a configuration change before it is applied at the leader: they may be committed
// by the configuration before.
const confSlack = 300

// hold tells whether an entry is durable on a quorum of a configuration by which it may have been committed.
func (q *quorums) hold(index, term uint64) bool {
	holds := func(id uint64) bool {
		m := q.world.node(id)
		return m != nil && m.log.holds(index, term)
	}
	for i, at := range q.confs {
		past := i+1 < len(q.confs) && q.confs[i+1].index+confSlack < index
		if at.index < index && !past && isQuorum(at.conf, holds) {
			return true
		}
	}
	return false
}

// last are the newest configurations, at most n.
func (q *quorums) last(n int) []confAt { return q.confs[max(0, len(q.confs)-n):] }

// overlap tells whether every quorum of a has a member in common with every quorum of b: it looks at each way to divide all
// into two camps.
func overlap(a, b *raftpb.ConfState) bool {
	ids := slices.Concat(a.GetVoters(), a.GetVotersOutgoing(), b.GetVoters(), b.GetVotersOutgoing())
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for camps := range 1 << len(ids) {
		in := func(id uint64) bool { return camps>>slices.Index(ids, id)&1 == 1 }
		out := func(id uint64) bool { return !in(id) }
		if isQuorum(a, in) && isQuorum(b, out) {
			return false
		}
	}
	return true
}

// isQuorum tells whether those who are in can decide.
func isQuorum(conf *raftpb.ConfState, in func(uint64) bool) bool {
	decides := func(ids []uint64) bool {
		n := 0
		for _, id := range ids {
			if in(id) {
				n++
			}
		}
		return n > len(ids)/2 || len(ids) == 0
	}
	return decides(conf.GetVoters()) && decides(conf.GetVotersOutgoing())
}
