package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// archive is the Replica's care for snapshots: taking our own, sending them, and storing received ones.
type archive struct {
	r        *Replica
	begin    chan struct{}           // without room: at most one snapshot is under way
	finished *mailbox[SnapshotTaken] // durable, but the log has yet to be told
	storing  sync.Mutex              // held while a received snapshot is stored: one at a time
	// fs leaves a quarter of the disk's reserve to the log: a snapshot can wait.
	fs vfs.FS
	// owed is the MonotonicMS from which on the snapshot that failed last is due again; 0 if none is.
	owed atomic.Int64
	// written is how many bytes had been written to the log when the last snapshot began; owned by the applier.
	written uint64
}

func newArchive(r *Replica) *archive {
	return &archive{
		r: r, begin: make(chan struct{}), finished: newMailbox[SnapshotTaken](),
		fs: vfs.LeaveFree(r.opts.Disk.FS, r.opts.DiskReserve/4),
	}
}

// maybeBegin begins a snapshot if one is due and none is under way.
func (a *archive) maybeBegin() {
	if !a.due() {
		return
	}
	select {
	case a.begin <- struct{}{}:
		a.owed.Store(0)
		a.written = a.r.opts.Disk.Log.Written.Load()
		a.r.applier.SnapshotBegun()
	default:
	}
}

// beginNow begins a snapshot unless one is under way; who wanted it asks again.
func (a *archive) beginNow() {
	select {
	case a.begin <- struct{}{}:
	default:
	}
}

// retryTime is how long a snapshot that failed waits, in ms.
const retryTime = 10_000

// due tells whether enough log has gathered, or the last snapshot failed a while ago. While the disk is low, what counts is what
// the log takes of it: the snapshot lets it go, and what was deleted.
func (a *archive) due() bool {
	if owed := a.owed.Load(); owed != 0 && a.r.monotonicMS() >= owed {
		return true
	}
	if a.r.Status().DiskLow && a.r.opts.Disk.Log.Written.Load()-a.written >= uint64(a.r.opts.DiskReserve/4) {
		return true
	}
	logged := a.r.applier.Logged()
	return logged >= a.r.opts.SnapshotBytes && logged >= a.enough()
}

// enough is how many bytes of log are worth a snapshot: half of what it has to hold, at least. So snapshots cost each write
// the same however much there is, and a restart reads at most half as much log as state. Members take theirs at different
// times, up to half as much later, and the leader last: who is busy with one answers a little slower.
func (a *archive) enough() uint64 {
	var live int64
	a.r.store.Read(func(v state.View) {
		sizes := v.Sizes()
		live = sizes.PlainLive + sizes.TreeLive
	})
	s := a.r.Status()
	members := uint64(max(1, len(s.Members.Members)))
	place := uint64(0)
	for place+1 < members && s.Members.Members[place].ID != s.ID {
		place++
	}
	if s.Leads {
		place = members
	}
	least := max(a.r.opts.SnapshotBytes, uint64(live)/2)
	return least + least*place/(2*members)
}

// run writes snapshots while the member serves. A snapshot that cannot be written is reported and
// tried again later; the log is kept meanwhile.
func (a *archive) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.begin:
		}
		start := a.r.monotonicMS()
		done, err := WriteSnapshot(a.fs, a.r.opts.Disk.SnapshotDir(), a.r.store)
		if err != nil {
			a.r.opts.Logger.Error("snapshot not written: free space on the disk or see to it; the log is kept and it is tried again", "error", err)
			a.owed.Store(a.r.monotonicMS() + retryTime)
			continue
		}
		a.r.opts.Logger.Info("snapshot written", "index", done.Index, "ms", a.r.monotonicMS()-start)
		done.Keep = done.Index
		if !a.r.Status().DiskLow {
			done.Keep -= min(done.Index-1, keptEntries)
		}
		a.finished.put(done)
	}
}

// mark tells the log and the Member of finished snapshots, and drops log that only an older
// snapshot needs.
func (a *archive) mark() error {
	for _, s := range a.finished.take(nil) {
		if err := a.r.persister.Mark(s.Index, s.Term); err != nil {
			return err
		}
		a.r.inbox.put(s)
		// One more stays: the Member reads the term of the entry before the first it keeps.
		if err := a.r.persister.Release(s.Keep - min(s.Keep, 2)); err != nil {
			return err
		}
	}
	return nil
}

// keptEntries is how many entries below a snapshot stay readable for members that lag a little.
const keptEntries = 5000

// send streams our newest snapshot to a member that lags too far.
func (a *archive) send(s SnapshotSend) {
	file, err := a.open(s.Message)
	if err != nil {
		a.r.opts.Logger.Error("snapshot cannot be sent", "to", s.To, "error", err)
		a.r.SnapshotSent(s.To, false)
		return
	}
	a.r.transport.SendSnapshot(s.To, s.Message, file)
}

// snapshotBody is an open snapshot file as a stream.
type snapshotBody struct {
	io.Reader
	io.Closer
}

// announced returns the mark of the snapshot that a frame announces.
func announced(frame []byte) (snapshotMark, error) {
	if len(frame) == 0 || frameKind(frame[0]) != frameRaft {
		return snapshotMark{}, errFrame
	}
	msg, err := decodeRaft(frame[1:])
	if err != nil {
		return snapshotMark{}, err
	}
	md := msg.GetSnapshot().GetMetadata()
	return snapshotMark{md.GetIndex(), md.GetTerm()}, nil
}

// open opens the file of the snapshot that a frame announces.
func (a *archive) open(frame []byte) (io.ReadCloser, error) {
	mark, err := announced(frame)
	if err != nil {
		return nil, err
	}
	name, err := snapshot.Find(a.r.opts.Disk.FS, a.r.opts.Disk.SnapshotDir(), mark.index, mark.term)
	if err != nil {
		return nil, err
	}
	file, err := snapshot.Open(a.r.opts.Disk.FS, name)
	if err != nil {
		return nil, err
	}
	return snapshotBody{file.Bytes(), file}, nil
}

// receive stores a snapshot that another member streams.
func (a *archive) receive(from uint64, header []byte, body io.Reader) error {
	mark, err := announced(header)
	if err != nil {
		return err
	}
	if !a.storing.TryLock() {
		return errBusy
	}
	defer a.storing.Unlock()
	if err := snapshot.Receive(a.fs, a.r.opts.Disk.SnapshotDir(), mark.index, mark.term, body); err != nil {
		return fmt.Errorf("store snapshot from member %x: %w", from, err)
	}
	a.r.inbox.put(SnapshotReceived{From: from, Message: bytes.Clone(header)})
	return nil
}

// awaitInstalled has the applier replace the state machine, and waits for it: later appends are answered later.
func (a *archive) awaitInstalled(ctx context.Context, job *Append) (in Appended, installed bool) {
	done := make(chan Appended, 1)
	a.r.applies.put(applierJob{install: job, done: done})
	select {
	case in := <-done:
		return in, true
	case <-ctx.Done():
		return Appended{}, false // the append stays unanswered, as after a crash
	}
}

// install replaces the state machine by a received snapshot.
func (a *archive) install(job *Append) (Appended, error) {
	in, err := a.r.applier.Install(a.r.opts.Disk.FS, a.r.opts.Disk.SnapshotDir(), job)
	if err != nil {
		return Appended{}, fmt.Errorf("install snapshot: %w", err)
	}
	a.r.gate.advance(job.Snapshot.GetMetadata().GetIndex())
	return in, nil
}
