package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/wal"
)

// Log is the durable log of a member; *wal.Log is one.
// tidy: it is one thing with one implementation, around which the simulator keeps its own record.
type Log interface {
	Append(hs wal.HardState, entries []*raftpb.Entry) error
	Mark(m wal.Mark) error
	Sync() error
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
	Release(index uint64) error
	ClearCut() error
}

// Persister makes appends durable. It is used by one goroutine at a time.
type Persister struct {
	log Log
	// hard is what the log holds; a commit index that moved alone waits for the next sync.
	hard wal.HardState
	lags bool // hard is newer than what the log holds
}

// NewPersister writes to log, whose last hard state is hard.
func NewPersister(log Log, hard wal.HardState) *Persister {
	return &Persister{log: log, hard: hard}
}

// Write hands appends to the log, in order. They are not durable before Sync, if sync is returned
// true; else they may be answered at once. An error means that the log can no longer be trusted: the
// member must stop.
func (p *Persister) Write(appends []*Append) (sync bool, err error) {
	for _, a := range appends {
		sync = sync || a.Sync
		if a.Snapshot != nil {
			md := a.Snapshot.GetMetadata()
			if err := p.log.Mark(wal.Mark{Index: md.GetIndex(), Term: md.GetTerm()}); err != nil {
				return false, fmt.Errorf("mark snapshot in the log: %w", err)
			}
		}
		if a.Hard != nil {
			p.hard = wal.HardState{Term: a.Hard.GetTerm(), Vote: a.Hard.GetVote(), Commit: a.Hard.GetCommit()}
		}
		if a.ClearCut {
			if err := p.log.ClearCut(); err != nil {
				return false, fmt.Errorf("clear the cut of the log: %w", err)
			}
			continue
		}
		if !a.Sync {
			p.lags = true // only a commit index: it goes out with the next write, or when the log is idle
			continue
		}
		p.lags = false
		if err := p.log.Append(p.hard, a.Entries); err != nil {
			return false, fmt.Errorf("append to the log: %w", err)
		}
	}
	return sync, nil
}

// Sync makes everything written durable. An error means that the log can no longer be trusted: the
// member must stop, and must not try again.
func (p *Persister) Sync() error {
	if err := p.log.Sync(); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return nil
}

// Idle writes down a commit index that has waited for company, so that a restart finds applied what was
// applied before the pause.
func (p *Persister) Idle() error {
	if !p.lags {
		return nil
	}
	p.lags = false
	if err := p.log.Append(p.hard, nil); err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	return p.Sync()
}

// Mark notes in the log that a snapshot of our own covers everything up to index.
func (p *Persister) Mark(index, term uint64) error {
	if err := p.log.Mark(wal.Mark{Index: index, Term: term}); err != nil {
		return fmt.Errorf("mark snapshot in the log: %w", err)
	}
	return p.Sync()
}

// Release lets the log drop entries up to index.
func (p *Persister) Release(index uint64) error {
	if err := p.log.Release(index); err != nil {
		return fmt.Errorf("drop old entries of the log: %w", err)
	}
	return nil
}
