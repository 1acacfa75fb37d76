package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Applier carries out committed entries, one after the other, and tells those who wait for them. It is
// apart from the Member so that a long command never holds up heartbeats. It is used by one goroutine at
// a time.
type Applier struct {
	member  uint64
	store   *Store
	waiters *Waiters
	conf    *raftpb.ConfState // as of the last applied entry, or of the one under way
	term    uint64            // of the last applied entry
	logged  uint64            // bytes of entries applied since the last snapshot
	batch   command.Batch
	out     state.Output
	counts  Counts
}

// NewApplier applies to store, which stands at a snapshot.
func NewApplier(member uint64, store *Store, waiters *Waiters) *Applier {
	_, term := store.machine.Index()
	return &Applier{member: member, store: store, waiters: waiters, conf: store.conf, term: term}
}

// Apply applies the entries of a job and returns the news for the Member. An error means that this member
// cannot follow the log: it must stop.
func (a *Applier) Apply(job *Apply) (Applied, error) {
	done := Applied{Apply: job}
	for _, e := range job.Entries {
		if err := a.applyEntry(e, &done); err != nil {
			return done, fmt.Errorf("apply entry %d: %w", e.GetIndex(), err)
		}
	}
	done.Bootstrapped = a.store.bootstrapped()
	done.Members = a.store.members()
	return done, nil
}

// Results are what the commands of the last applied entry came to. They are good until the next one is applied.
func (a *Applier) Results() []state.Result { return a.out.Results }

// Conf is raft's configuration as of the last applied entry.
func (a *Applier) Conf() *raftpb.ConfState { return a.conf }

// decode takes an entry apart: what is for the state machine goes into the batch, and the configuration becomes that
// after the entry.
func (a *Applier) decode(e *raftpb.Entry, done *Applied) (err error) {
	a.batch.Time, a.batch.Proposals = 0, a.batch.Proposals[:0]
	switch {
	case e.GetType() != raftpb.EntryNormal:
		cc, err := decodeChange(e, &a.batch)
		if err != nil {
			return err
		}
		a.conf, err = a.configure(e, cc, a.store.published(), done)
		return err
	case len(e.GetData()) > 0:
		return command.DecodeBatch(e.GetData(), &a.batch)
	}
	return nil
}

func (a *Applier) applyEntry(e *raftpb.Entry, done *Applied) error {
	a.logged += entryBytes(e)
	if err := a.decode(e, done); err != nil {
		return err
	}
	a.store.apply(&state.Entry{Index: e.GetIndex(), Term: e.GetTerm(), Batch: a.batch}, a.conf, &a.out)
	done.Leases = append(done.Leases, a.out.Leases...)
	for i := range a.batch.Proposals {
		c := a.batch.Proposals[i].Command
		a.counts.add(c, &a.out.Results[i])
		done.MembersChanged = done.MembersChanged || c.Kind() == command.KindChangeMembers
	}
	a.publish(e.GetTerm())
	return nil
}
