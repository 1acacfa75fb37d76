// Package wal is the write-ahead log of one member: raft entries, term, vote, commit
// index and the positions of snapshots, in segment files.
//
// # Idea
//
// Append and Mark gather records in memory; Sync writes all of them as one batch and
// makes it durable with one fdatasync. A batch begins on a fresh 4 KiB block, carries the
// whole hard state twice and a checksum in each 512-byte sector, and goes into space that
// was filled with zeros and synced before. So after a crash every sector can be judged by
// itself: it is what this log wrote at this place, it was never written (zeros), or it is
// damaged.
//
// # Invariants
//
//   - A batch is written only after the one before is synced. A sign of a later batch
//     proves that everything before it was durable: a flaw there is damage.
//   - Only the last batch can be torn by a crash, and then each of its sectors is whole
//     or zero. It is cut, and the cut is remembered on disk until ClearCut: a sector that
//     the disk lost looks the same, so the entries may have been acknowledged.
//   - A block that a sync covered is not written again, except that Open repeats the last
//     batch byte for byte: after a failed sync the system may show it without the disk
//     having it.
//   - The file reaches at least one block beyond its last batch, durably, before that
//     batch is written. A shorter file was truncated.
//   - A segment is sealed before the first batch of the next one is written, and the next
//     file exists before the seal. A missing file is noticed.
//   - After a failed write or sync nothing more is written: the content of the file is
//     unknown, and only Open can find out.
//
// # Why not simpler
//
// A checksum per record cannot tell a torn tail from damage in the middle: both end the
// log, and cutting there drops acknowledged entries. Checksums per sector over zeros can.
//
// The layout is in docs/internals/data-files.md.
package wal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/okapi-kv/okapi/internal/vfs"
)

const (
	// segmentBytesDefault is large enough that the files of a busy member are few, and
	// small enough that space comes back soon after a snapshot.
	segmentBytesDefault = 64 << 20
	// segmentBytesMin holds the header, one batch and the seal, each with its margin.
	segmentBytesMin = 8 * blockBytes
	// prepareBytesDefault is how far a segment is filled with zeros in one step: enough
	// for some sixty small syncs, and short to write.
	prepareBytesDefault = 256 << 10
	// bufferBytesKept is the largest buffer that stays allocated between two syncs.
	bufferBytesKept = 4 << 20
)

// Identity says whose log it is. A log is opened by its owner only.
type Identity struct {
	ClusterID, MemberID uint64
}

// HardState is what a member must not forget between two messages.
type HardState struct {
	// Term is the newest term that the member has seen, Vote the member that it voted for
	// in that term (0: none), Commit an index up to which the log is known to be
	// committed; the newest one may be higher.
	Term, Vote, Commit uint64
}

// Mark is the position of a snapshot: it covers everything up to the entry with this
// index and term.
type Mark struct {
	Index, Term uint64
}

// Options are the settings of a Log; the zero value is good for production.
type Options struct {
	// SegmentBytes is the size from which a new segment is begun; 64 MiB if 0. A batch
	// that does not fit makes its segment longer.
	SegmentBytes int64
	// PrepareBytes is how much of a segment is filled with zeros in one step; 256 KiB if
	// 0.
	PrepareBytes int64
	// MustExist makes Open refuse an empty folder with ErrNoLog: the caller knows that
	// this member has written a log before.
	MustExist bool
}

// withDefaults fills in and rounds the sizes.
func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytesDefault
	}
	if o.PrepareBytes == 0 {
		o.PrepareBytes = prepareBytesDefault
	}
	o.SegmentBytes = max(segmentBytesMin, roundUp(o.SegmentBytes))
	o.PrepareBytes = max(2*blockBytes, roundUp(o.PrepareBytes))
	return o
}

// roundUp returns n rounded up to whole blocks.
func roundUp(n int64) int64 { return (n + blockBytes - 1) / blockBytes * blockBytes }

// Log is an open log. Append, Mark, Sync, Release, ClearCut and Close belong to one
// goroutine, the writer; the reading methods may be called from any.
type Log struct {
	// Written is how many bytes batches have taken on the disk since the log was opened. It may be read from anywhere.
	Written atomic.Uint64

	fs   vfs.FS
	dir  string
	id   Identity
	opts Options
	lock io.Closer

	// err is the first failure of a write or sync; it is the answer to everything after.
	err error
	// group is what the next Sync writes; durable the hard state that the last one did.
	group   group
	durable HardState
	end     position
	// cut says that a cut is remembered, as far as NoteEnd is concerned.
	cut bool
	// header and frame hold the batch in its form on disk, zeros what segments are filled
	// with; all are reused.
	header [batchHeaderBytes]byte
	frame  []byte
	zeros  []byte
	mu     sync.Mutex
	// segments are the files from the oldest to the one that is written, index what is
	// in them; guarded by mu. The writer alone changes them, so it reads them without.
	segments []*segment
	index    logIndex
}

// position is the end of the log in its last segment.
type position struct {
	// offset is where the next batch goes, sequence its number, crc that of the batch
	// before.
	offset   int64
	sequence uint64
	crc      uint32
	// preparedBytes is the size of the file, durableBytes the size that a sync covered.
	preparedBytes, durableBytes int64
}

// tail returns the segment that is written.
func (l *Log) tail() *segment { return l.segments[len(l.segments)-1] }

// poison keeps the first failure.
func (l *Log) poison(err error) error {
	if l.err == nil {
		l.err = err
	}
	return l.err
}

// Close gives up the files and the lock. What was appended since the last Sync is
// dropped. The log cannot be used afterwards.
func (l *Log) Close() error {
	if errors.Is(l.err, ErrClosed) {
		return nil
	}
	l.err = ErrClosed
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.releaseLocked())
	}
	l.segments, l.index = nil, logIndex{last: l.index.last}
	errs = append(errs, l.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}
