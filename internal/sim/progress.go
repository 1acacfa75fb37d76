package sim

import "github.com/okapi-kv/okapi/internal/replica"

// progress proves that nothing goes back: what a member knows to be committed and has applied, and the position, zxid and revision
// that it shows, as long as its process runs.
type progress struct {
	world *World
	of    map[uint64]*reached
}

// reached is how far a process has come.
type reached struct {
	epoch           int
	commit, applied uint64
	seq             uint64
	zxid, revision  int64
}

func newProgress(w *World) progress { return progress{world: w, of: map[uint64]*reached{}} }

// by returns how far the present process of a member has come.
func (p *progress) by(n *node) *reached {
	r := p.of[n.id]
	if r == nil || r.epoch != n.epoch {
		r = &reached{epoch: n.epoch}
		p.of[n.id] = r
	}
	return r
}

func (p *progress) stepped(n *node) {
	r, s := p.by(n), n.member.Status()
	if s.Commit < r.commit || s.Applied < r.applied {
		p.world.fail("member %d goes back from commit %d, applied %d to commit %d, applied %d", n.id, r.commit, r.applied, s.Commit, s.Applied)
	}
	if s.Applied > s.Commit {
		p.world.fail("member %d has applied %d, of which only %d are committed", n.id, s.Applied, s.Commit)
	}
	r.commit, r.applied = s.Commit, s.Applied
}

// published checks what a member shows of itself.
func (p *progress) published(n *node, shown replica.Publication) {
	r := p.by(n)
	if shown.Seq < r.seq || shown.Zxid < r.zxid || shown.Revision < r.revision {
		p.world.fail("member %d goes back from position %d, zxid %d, revision %d to %d, %d, %d", n.id, r.seq, r.zxid, r.revision, shown.Seq, shown.Zxid, shown.Revision)
	}
	r.seq, r.zxid, r.revision = shown.Seq, shown.Zxid, shown.Revision
}
