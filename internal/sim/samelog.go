package sim

import (
	"hash/fnv"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// sameLog proves that there is one log: entries of the same index and term are equal wherever they are stored, all members apply the
// same entries, and a command is in one of them at most.
type sameLog struct {
	world   *World
	applied map[uint64]seenEntry
	stored  map[entryID]uint64 // the hash of what any member has synced
	where   map[command.ID]uint64
	last    uint64 // the highest index that was applied
	// fingerprint is made of all entries and of when they were first applied.
	fingerprint uint64
}

// entryID is by what an entry is known.
type entryID struct{ index, term uint64 }

type seenEntry struct {
	term, hash uint64
}

func newSameLog(w *World) sameLog {
	return sameLog{world: w, applied: map[uint64]seenEntry{}, stored: map[entryID]uint64{}, where: map[command.ID]uint64{}}
}

func hashOf(e *raftpb.Entry) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(e.GetData())
	return h.Sum64()
}

// synced checks entries that a member has stored.
func (l *sameLog) synced(n *node, entries []*raftpb.Entry) {
	for _, e := range entries {
		id, hash := entryID{e.GetIndex(), e.GetTerm()}, hashOf(e)
		if was, ok := l.stored[id]; ok && was != hash {
			l.world.fail("member %d stores another entry %d of term %d than was stored before", n.id, id.index, id.term)
		}
		l.stored[id] = hash
	}
}

// apply checks an entry that a member applies, and tells whether it is the first to do so.
func (l *sameLog) apply(n *node, e *raftpb.Entry) (first bool) {
	seen := seenEntry{e.GetTerm(), hashOf(e)}
	index := e.GetIndex()
	if was, ok := l.applied[index]; ok {
		if was != seen {
			l.world.fail("member %d applies another entry %d than was applied before", n.id, index)
		}
		return false
	}
	l.applied[index] = seen
	l.last = max(l.last, index)
	l.fingerprint = l.fingerprint*1099511628211 ^ seen.hash ^ uint64(l.world.now)
	data := e.GetData()
	if e.GetType() != raftpb.EntryNormal {
		change := new(raftpb.ConfChangeV2)
		if err := proto.Unmarshal(data, change); err != nil {
			l.world.fail("entry %d does not decode: %v", index, err)
		}
		data = change.GetContext()
	}
	if len(data) == 0 {
		return true
	}
	var batch command.Batch
	if err := command.DecodeBatch(data, &batch); err != nil {
		l.world.fail("entry %d does not decode: %v", index, err)
		return true
	}
	for i := range batch.Proposals {
		l.proposal(index, &batch.Proposals[i])
	}
	return true
}

// proposal checks that no command is in two entries, and that none that was reported as not done is in any.
func (l *sameLog) proposal(index uint64, p *command.Proposal) {
	if p.ID.Member == 0 {
		return
	}
	if before, ok := l.where[p.ID]; ok {
		l.world.fail("command %v is applied twice: in entries %d and %d", p.ID, before, index)
	}
	if l.world.check.acked.gone[p.ID] {
		l.world.fail("command %v is applied in entry %d, but its client was told that it was not done", p.ID, index)
	}
	l.where[p.ID] = index
}
