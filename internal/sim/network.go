package sim

import "github.com/okapi-kv/okapi/internal/replica"

// link is one direction between two members.
type link struct{ from, to uint64 }

// network carries frames between members and loses, repeats, delays and reorders them.
type network struct {
	world *World
	cut   map[link]bool
}

func (n *network) heal() { n.cut = nil }

// sever cuts a direction.
func (n *network) sever(from, to uint64) {
	if n.cut == nil {
		n.cut = make(map[link]bool)
	}
	n.cut[link{from, to}] = true
}

// partition splits the members into two groups, fully or one way.
func (n *network) partition(oneWay bool) {
	w := n.world
	side := make(map[uint64]bool)
	for _, m := range w.nodes {
		side[m.id] = w.chance(0.5)
	}
	n.cut = nil
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if side[a.id] && !side[b.id] {
				n.sever(a.id, b.id)
				if !oneWay {
					n.sever(b.id, a.id)
				}
			}
		}
	}
	w.note("partition %v one way %v", side, oneWay)
}

// send carries a frame. Sometimes the sender hears that it was dropped.
func (n *network) send(from *node, out replica.Outgoing) {
	w := n.world
	to := w.node(out.To)
	if n.cut[link{from.id, out.To}] || to == nil || !from.links[out.To] || !w.healed && w.chance(w.cfg.Loss) {
		if w.chance(0.3) {
			from.later(w.between(0, millisecond), func() { from.step(replica.Unreachable{To: out.To}) })
		}
		return
	}
	copies := 1
	if !w.healed && w.chance(w.cfg.Duplicate) {
		copies = 2
	}
	for range copies {
		data := append([]byte(nil), out.Data...)
		w.after(n.delay(), func() {
			if !n.cut[link{from.id, to.id}] && n.admits(to, from) {
				to.deliver(func() { to.step(replica.Frame{From: from.id, Data: data}) })
			}
		})
	}
}

// spreadEnd tells others that a process has ended, as refused connections do, unless it is back by then or they do not reach its machine.
func (n *network) spreadEnd(ended *node) {
	w := n.world
	for _, other := range w.nodes {
		if other != ended && other.up && !n.cut[link{other.id, ended.id}] {
			other.later(w.between(0, 100*millisecond), func() { other.step(replica.Ended{ID: ended.id}) })
		}
	}
}

// sendSnapshot carries a snapshot file and the message that announces it.
func (n *network) sendSnapshot(from *node, s replica.SnapshotSend) {
	w := n.world
	to := w.node(s.To)
	w.note("n%d sends n%d a snapshot", from.id, s.To)
	file, ok := from.snapshotFile(s.Message)
	if !ok || n.cut[link{from.id, s.To}] || !from.links[s.To] || !w.healed && w.chance(w.cfg.Loss) {
		from.later(w.between(millisecond, 50*millisecond), func() { from.step(replica.SnapshotSent{To: s.To}) })
		return
	}
	epoch := from.epoch
	w.after(n.delay()*5, func() {
		delivered := false
		if n.admits(to, from) {
			to.deliver(func() { delivered = to.receiveSnapshot(from.id, s.Message, file) })
		}
		if from.epoch == epoch && from.up {
			from.step(replica.SnapshotSent{To: s.To, OK: delivered})
		}
	})
}

func (n *network) delay() int64 {
	w := n.world
	d := w.between(w.cfg.DelayLo, w.cfg.DelayHi)
	if !w.healed && w.chance(0.01) {
		d *= 10
	}
	return d
}
