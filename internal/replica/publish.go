package replica

import (
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// publish tells those who wait here what became of their commands, in the order of the log. The view
// that shows the results is readable already.
func (a *Applier) publish(term uint64) {
	for i := range a.batch.Proposals {
		id := a.batch.Proposals[i].ID
		if id.Member != a.member {
			continue
		}
		if w := a.waiters.take(id.Number); w != nil {
			w.done(a.out.Results[i], nil)
		}
	}
	if term > a.term {
		a.term = term
		a.waiters.Fail(a.waiters.lost(term), ErrNotDone)
	}
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
	a.conf, a.term, a.logged = conf, max(a.term, md.GetTerm()), 0
	a.waiters.Fail(a.waiters.lost(^uint64(0)), ErrUnknown)
	return Appended{Append: job, Leases: a.store.leases(), Bootstrapped: a.store.bootstrapped()}, nil
}

// Logged returns how many bytes of log lie behind the last snapshot.
func (a *Applier) Logged() uint64 { return a.logged }

// SnapshotBegun says that a snapshot of the present state is being taken.
func (a *Applier) SnapshotBegun() { a.logged = 0 }
