package wal

import "fmt"

// Release deletes the segments whose entries are all at or below index and covered by
// the mark, as far as it is durable. The segment that is written always stays. Entries
// from a deleted segment are then raft.ErrCompacted; calls of Entries that are under way
// finish. After an error the log is of no use any more, as after Sync.
func (l *Log) Release(index uint64) error {
	if l.err != nil {
		return l.err
	}
	limit := min(index, l.index.mark.Index)
	// The hard state and the marks of a segment are repeated in the header of the next,
	// so only its entries count.
	for len(l.segments) > 1 && !l.index.needs(l.segments[0], limit) {
		if err := l.deleteOldest(); err != nil {
			return l.poison(fmt.Errorf("release log segment: %w", err))
		}
	}
	return nil
}

// deleteOldest removes one file. Its folder is synced before the next goes, so that a
// crash can never leave a hole in the middle, which would look like damage.
func (l *Log) deleteOldest() error {
	oldest := l.segments[0]
	l.mu.Lock()
	l.segments = l.segments[1:]
	l.index.forget(oldest)
	err := oldest.releaseLocked()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.fs.Remove(oldest.path); err != nil {
		return err
	}
	return l.fs.SyncDir(l.dir)
}
