package sim

import (
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/snapshot"
)

// sameState proves that the state is a function of the log: members agree on it at each index, after restarts and snapshots too,
// and on what each command came to.
type sameState struct {
	world   *World
	digests map[uint64]uint64 // by index, after the whole entry
	results map[uint64]uint64 // by index, a hash of what its commands came to
}

func newSameState(w *World) sameState {
	return sameState{world: w, digests: map[uint64]uint64{}, results: map[uint64]uint64{}}
}

// applied checks that members agree on the state at each index.
func (s *sameState) applied(n *node) {
	index, digest := n.store.Digest()
	if before, ok := s.digests[index]; ok && before != digest {
		s.world.fail("member %d has digest %x at entry %d, others have %x", n.id, digest, index, before)
	}
	s.digests[index] = digest
}

// came checks that the commands of an entry came to the same at each member.
func (s *sameState) came(n *node, index uint64, results []state.Result) {
	hash := uint64(14695981039346656037)
	for i := range results {
		r := &results[i]
		for _, x := range []uint64{uint64(r.Code), uint64(r.Revision), uint64(r.Zxid), r.Seq} {
			hash = (hash ^ x) * 1099511628211
		}
	}
	if before, ok := s.results[index]; ok && before != hash {
		s.world.fail("the commands of entry %d came to something else at member %d than before", index, n.id)
	}
	s.results[index] = hash
}

// saved checks that a snapshot which a member has written holds the state at its index.
func (s *sameState) saved(n *node, done replica.SnapshotTaken) {
	name, err := snapshot.Find(n.fs, n.disk.SnapshotDir(), done.Index, done.Term)
	if err != nil {
		return // a disk that is cut off shows nothing any more
	}
	m, _, err := replica.ReadSnapshot(n.fs, name, n.id)
	if err != nil {
		s.world.fail("member %d cannot read the snapshot of entry %d that it has written: %v", n.id, done.Index, err)
		return
	}
	if digest := m.Digest(); digest != s.digests[done.Index] {
		s.world.fail("the snapshot of entry %d by member %d has digest %x, the state then had %x", done.Index, n.id, digest, s.digests[done.Index])
	}
}
