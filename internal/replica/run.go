package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
)

// runLoop steps the Member. It is the only goroutine that touches it.
func (r *Replica) runLoop(ctx context.Context) error {
	ticker := time.NewTicker(time.Duration(r.opts.TickMS) * time.Millisecond)
	defer ticker.Stop()
	var fx Effects
	var spare []Input
	for {
		var inputs []Input
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			inputs = append(r.inbox.take(spare), r.takeTouched(), Tick{})
		case <-r.inbox.signal:
			inputs = r.inbox.take(spare)
		}
		now := Time{WallMS: r.opts.Clock.Now().UnixMilli(), MonotonicMS: r.monotonicMS()}
		for _, in := range gather(inputs) {
			r.member.Step(now, in, &fx)
		}
		spare = inputs
		r.carryOut(&fx)
		fx.reset()
		r.publishStatus()
	}
}

// gather joins proposals that came one by one into a single input, in place of the last of them, so
// that they are batched together.
func gather(inputs []Input) []Input {
	var all []Pending
	kept := inputs[:0]
	for _, in := range inputs {
		if p, ok := in.(Propose); ok {
			all = append(all, p.Commands...)
			continue
		}
		kept = append(kept, in)
	}
	if len(all) > 0 {
		kept = append(kept, Propose{Commands: all})
	}
	return kept
}

// takeTouched returns the sessions and leases heard of since the last tick.
func (r *Replica) takeTouched() Input {
	r.touchMu.Lock()
	defer r.touchMu.Unlock()
	ids := make([]int64, 0, len(r.touched))
	for id := range r.touched { // the Member sorts
		ids = append(ids, id)
	}
	clear(r.touched)
	return Touched{IDs: ids}
}

// carryOut hands effects to those who carry them out.
func (r *Replica) carryOut(fx *Effects) {
	if len(fx.Append) > 0 {
		r.appends.put(fx.Append...)
	}
	for _, s := range fx.Send {
		r.transport.Send(s.To, s.Data)
	}
	for _, a := range fx.Apply {
		r.applies.put(applierJob{apply: a})
	}
	for _, ready := range fx.ReadReady {
		r.gate.ready(ready)
	}
	if len(fx.NotDone) > 0 {
		r.waiters.Fail(fx.NotDone, ErrNotDone)
	}
	for _, s := range fx.SendSnapshot {
		r.sendSnapshot(s)
	}
}

// runWriter makes appends durable: all that are queued go into one sync.
func (r *Replica) runWriter(ctx context.Context) error {
	var spare []*Append
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.appends.signal:
		case <-r.marks.signal:
		}
		if err := r.markSnapshots(); err != nil {
			return err
		}
		appends := r.appends.take(spare)
		spare = appends
		sync, err := r.persister.Write(appends)
		if err == nil && sync {
			err = r.persister.Sync()
		}
		if err != nil {
			return err
		}
		for _, a := range appends {
			in := Appended{Append: a}
			if a.Snapshot != nil {
				if in, err = r.install(ctx, a); err != nil {
					return err
				}
			}
			r.inbox.put(in)
		}
	}
}

// install has the applier replace the state machine, and waits for it: later appends are answered later.
func (r *Replica) install(ctx context.Context, a *Append) (Appended, error) {
	done := make(chan Appended, 1)
	r.applies.put(applierJob{install: a, done: done})
	select {
	case in := <-done:
		return in, nil
	case <-ctx.Done():
		return Appended{}, nil // the append stays unanswered, as after a crash
	}
}

// reclaimSteps is how much history the applier frees between two entries.
const reclaimSteps = 128

// runApplier applies committed entries and installs snapshots.
func (r *Replica) runApplier(ctx context.Context) error {
	var spare []applierJob
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.applies.signal:
		}
		jobs := r.applies.take(spare)
		spare = jobs
		for _, job := range jobs {
			if job.install != nil {
				in, err := r.installHere(job.install)
				if err != nil {
					return err
				}
				job.done <- in
				continue
			}
			if err := r.applyJob(job.apply); err != nil {
				return err
			}
		}
	}
}

func (r *Replica) applyJob(job *Apply) error {
	done, err := r.applier.Apply(job)
	if err != nil {
		return err
	}
	if err := r.checkSettings(done.Bootstrapped); err != nil {
		return err
	}
	r.gate.advance(job.Entries[len(job.Entries)-1].GetIndex())
	r.inbox.put(done)
	r.store.reclaim(reclaimSteps * len(job.Entries))
	r.maybeSnapshot()
	return nil
}

// checkSettings refuses, once the settings of the cluster are known here, to go on with flags that
// disagree.
func (r *Replica) checkSettings(bootstrapped bool) error {
	if !bootstrapped || r.checked {
		return nil
	}
	r.checked = true
	var have command.Settings
	r.store.Read(func(v state.View) { have, _ = v.Settings() })
	return r.opts.CheckSettings(have)
}

// installHere replaces the state machine by a received snapshot.
func (r *Replica) installHere(a *Append) (Appended, error) {
	in, err := r.applier.Install(r.opts.Disk.FS, r.opts.Disk.SnapshotDir(), a)
	if err != nil {
		return Appended{}, fmt.Errorf("install snapshot: %w", err)
	}
	r.gate.advance(a.Snapshot.GetMetadata().GetIndex())
	return in, nil
}

// maybeSnapshot begins a snapshot if enough log has gathered and none is under way.
func (r *Replica) maybeSnapshot() {
	if r.applier.Logged() < r.opts.SnapshotBytes {
		return
	}
	select {
	case r.snapshots <- struct{}{}:
		r.applier.SnapshotBegun()
	default:
	}
}

// runSnapshots writes snapshots while the member serves. A snapshot that cannot be written is reported and
// tried again later; the log is kept meanwhile.
func (r *Replica) runSnapshots(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.snapshots:
		}
		start := r.monotonicMS()
		done, err := WriteSnapshot(r.opts.Disk.FS, r.opts.Disk.SnapshotDir(), r.store)
		if err != nil {
			r.opts.Logger.Error("snapshot not written; the log is kept and it is tried again later", "error", err)
			continue
		}
		r.opts.Logger.Info("snapshot written", "index", done.Index, "ms", r.monotonicMS()-start)
		done.Keep = done.Index - min(done.Index, keptEntries)
		r.marks.put(done)
	}
}

// markSnapshots tells the log and the Member of finished snapshots, and drops log that only an older
// snapshot needs.
func (r *Replica) markSnapshots() error {
	for _, s := range r.marks.take(nil) {
		if err := r.persister.Mark(s.Index, s.Term); err != nil {
			return err
		}
		r.inbox.put(s)
		if err := r.persister.Release(s.Keep); err != nil {
			return err
		}
	}
	return nil
}

// keptEntries is how many entries below a snapshot stay readable for members that lag a little.
const keptEntries = 5000

// sendSnapshot streams our newest snapshot to a member that lags too far.
func (r *Replica) sendSnapshot(s SnapshotSend) {
	file, message, err := r.openSnapshot(s)
	if err != nil {
		r.opts.Logger.Error("snapshot cannot be sent", "to", s.To, "error", err)
		r.SnapshotSent(s.To, false)
		return
	}
	r.transport.SendSnapshot(s.To, message, file)
}

// snapshotBody is an open snapshot file as a stream.
type snapshotBody struct {
	io.Reader
	io.Closer
}

func (r *Replica) openSnapshot(s SnapshotSend) (io.ReadCloser, []byte, error) {
	msg, err := decodeRaft(s.Message[1:])
	if err != nil {
		return nil, nil, err
	}
	md := msg.GetSnapshot().GetMetadata()
	name, err := snapshot.Find(r.opts.Disk.FS, r.opts.Disk.SnapshotDir(), md.GetIndex(), md.GetTerm())
	if err != nil {
		return nil, nil, err
	}
	file, err := snapshot.Open(r.opts.Disk.FS, name)
	if err != nil {
		return nil, nil, err
	}
	return snapshotBody{file.Bytes(), file}, s.Message, nil
}

// ReceiveSnapshot stores a snapshot that another member streams. It implements the transport's handler.
func (r *Replica) ReceiveSnapshot(from uint64, header []byte, body io.Reader) error {
	if len(header) == 0 || frameKind(header[0]) != frameRaft {
		return errFrame
	}
	msg, err := decodeRaft(header[1:])
	if err != nil {
		return err
	}
	md := msg.GetSnapshot().GetMetadata()
	if err := snapshot.Receive(r.opts.Disk.FS, r.opts.Disk.SnapshotDir(), md.GetIndex(), md.GetTerm(), body); err != nil {
		return fmt.Errorf("store snapshot from member %x: %w", from, err)
	}
	r.inbox.put(SnapshotReceived{From: from, Message: bytes.Clone(header)})
	return nil
}
