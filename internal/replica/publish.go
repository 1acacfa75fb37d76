package replica

import (
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// publish tells subscribers what happened and those who wait here what became of their commands, in the order of
// the log. The view that shows the results is readable already.
func (a *Applier) publish(term uint64) {
	events := a.out.Events
	for i := range a.batch.Proposals {
		result := &a.out.Results[i]
		mine := eventsUpTo(events, result.Seq)
		a.store.publisher.publish(Publication{
			Events: events[:mine], Seq: result.Seq, Zxid: result.Zxid, Revision: result.Revision,
		})
		events = events[mine:]
		id := a.batch.Proposals[i].ID
		if id.Member != a.member {
			continue
		}
		if w := a.waiters.take(id.Number); w != nil {
			w.done(*result, nil)
		}
	}
	end := at(a.store.published())
	end.Leases = a.out.Leases
	a.store.publisher.publish(end)
	if term > a.term {
		a.term = term
		a.waiters.Fail(a.waiters.lost(term), ErrNotDone)
	}
}

// eventsUpTo is how many events belong to commands up to a sequence number.
func eventsUpTo(events []state.Event, seq uint64) int {
	n := 0
	for n < len(events) && events[n].Seq <= seq {
		n++
	}
	return n
}

// Install replaces the state by a received snapshot. Commands that were handed to any leader may be in it
// or not, so their outcome is unknown. It returns the news for the Member. An error means that the snapshot, which was whole when
// it came, cannot be read any more.
func (a *Applier) Install(fs vfs.FS, dir string, job *Append) (Appended, error) {
	md := job.Snapshot.GetMetadata()
	name, err := snapshot.Find(fs, dir, md.GetIndex(), md.GetTerm())
	if err != nil {
		return Appended{}, err
	}
	m, conf, err := ReadSnapshot(fs, name, a.store.seed)
	if err != nil {
		return Appended{}, err
	}
	a.store.install(m, conf)
	installed := at(m.View())
	installed.Installed = true
	a.store.publisher.publish(installed)
	a.conf, a.term, a.logged = conf, max(a.term, md.GetTerm()), 0
	a.waiters.Fail(a.waiters.lost(^uint64(0)), ErrUnknown)
	return Appended{Append: job, Leases: a.store.leases(), Members: a.store.members(), Bootstrapped: a.store.bootstrapped()}, nil
}

// Logged returns how many bytes of log lie behind the last snapshot.
func (a *Applier) Logged() uint64 { return a.logged }

// SnapshotBegun says that a snapshot of the present state is being taken.
func (a *Applier) SnapshotBegun() { a.logged = 0 }
