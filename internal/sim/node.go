package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
	"github.com/okapi-kv/okapi/internal/wal"
)

const (
	tickMS        = 100
	electionTicks = 10
	dataDir       = "/data"
)

// node is one simulated machine with one member on it.
type node struct {
	world *World
	id    uint64
	fs    *vfs.Mem
	epoch int // of the process: what was scheduled for an earlier one is dropped
	up    bool
	left  bool // the cluster, for good: it was removed
	// serving says that clients are let in.
	serving bool

	pausedUntil int64
	drive       drive
	offset      int64   // of the wall clock
	rate        float64 // of both clocks

	disk      *replica.Disk
	log       *watchedLog
	member    *replica.Member
	persister *replica.Persister
	applier   *replica.Applier
	store     *replica.Store
	waiters   *replica.Waiters

	appends   []*replica.Append
	writing   bool
	applies   []*replica.Apply
	applying  bool
	saving    bool   // a snapshot is under way
	logged    uint64 // bytes of log when the last one began
	applied   uint64
	reads     map[uint64]func(error)
	waiting   []readWait
	nextRead  uint64
	inquiries inquiries
	touched   map[int64]bool
	stale     staleTouches
	links     map[uint64]bool // to which members, as far as this one knows
}

// readWait is a read that may go on once index is applied.
type readWait struct {
	index uint64
	done  func(error)
}

func newNode(w *World, id uint64) *node {
	n := &node{
		world: w, id: id, fs: vfs.NewMem(w.cfg.Seed<<8 | id),
		offset: w.between(-5*second, 5*second), rate: 1 + w.cfg.ClockDrift*(2*w.rng.Float64()-1),
	}
	n.log = newWatchedLog(w.cfg.Bug, func(hs wal.HardState, entries []*raftpb.Entry) {
		w.check.leaders.synced(n, hs)
		w.check.log.synced(n, entries)
	})
	n.drive = drive{node: n}
	n.inquiries = inquiries{node: n, open: make(map[uint64]func(replica.Answer, error))}
	return n
}

func (w *World) node(id uint64) *node {
	if id == 0 || id > uint64(len(w.nodes)) {
		return nil
	}
	return w.nodes[id-1]
}

// start boots the member from its disk. A crash point may lie in the boot itself.
func (n *node) start() {
	w := n.world
	n.epoch++
	var founders []state.Member // nobody, if it joins
	if n.id <= uint64(w.cfg.Members) {
		for id := uint64(1); id <= uint64(w.cfg.Members); id++ {
			founders = append(founders, state.Member{ID: id, PeerURLs: []string{peerURL(id)}})
		}
	}
	if !w.healed && w.chance(w.cfg.CrashPoint*0.3) {
		n.drive.setFaults(vfs.Faults{StopAt: 1 + w.rng.IntN(12)})
	}
	disk, err := replica.OpenDisk(replica.DiskOptions{
		FS: n.fs, Dir: dataDir, Identity: wal.Identity{ClusterID: 77, MemberID: n.id}, Founders: founders,
		SegmentBytes: w.cfg.SegmentBytes, Seed: n.id,
	})
	if err != nil {
		n.diskFailed("start", err)
		return
	}
	n.log.Log = disk.Log
	incarnation := w.rng.Uint64()>>16 | 1
	n.disk, n.waiters = disk, replica.NewWaiters(incarnation<<20)
	n.store = replica.NewStore(disk.Machine, disk.Boot.Conf, disk.Seed)
	n.persister = replica.NewPersister(n.log, disk.Hard)
	n.applier = replica.NewApplier(n.id, n.store, n.waiters)
	n.store.Subscribe(func(p replica.Publication) {
		w.check.progress.published(n, p)
		w.published(n)
	})
	n.member, err = replica.NewMember(replica.MemberOptions{
		ID: n.id, Incarnation: incarnation, Boot: disk.Boot, Log: n.log,
		TickMS: tickMS, ElectionTicks: electionTicks, TailBytes: 8 << 10,
		Settings: settings(), Waiters: n.waiters, Logger: quiet(),
	})
	if err != nil {
		w.fail("member %d does not start: %v", n.id, err)
		return
	}
	n.up, n.serving, n.drive.low, n.logged = true, false, false, 0
	n.applied = disk.Boot.SnapshotIndex
	n.appends, n.writing, n.applies, n.applying, n.saving = nil, false, nil, false, false
	n.reads, n.waiting, n.touched = make(map[uint64]func(error)), nil, make(map[int64]bool)
	n.stale = staleTouches{}
	n.log.recovered(disk)
	w.check.leaders.recovered(n, disk.Hard)
	n.links = linksTo(disk.Boot.Members.Members)
	w.check.quorums.configured(disk.Boot.SnapshotIndex, disk.Boot.Conf)
	w.note("n%d starts at snapshot %d with %d entries", n.id, disk.Boot.SnapshotIndex, len(disk.Boot.Entries))
	w.check.state.applied(n)
	n.later(w.between(0, tickMS*millisecond), n.tick)
}

// peerURL is where the others reach a member.
func peerURL(id uint64) string { return fmt.Sprintf("http://p%d:1", id) }

// settings are those of every simulated cluster.
func settings() command.Settings {
	return command.Settings{TreePrefix: "/zk", TreeHistory: 5000, ExtendedTypes: true}
}

func quiet() raft.Logger {
	return replica.RaftLogger(slog.New(slog.DiscardHandler))
}

// later schedules fn for this process: it is dropped if the process has ended by then, and held up while it
// is paused.
func (n *node) later(delay int64, fn func()) {
	epoch := n.epoch
	n.world.after(delay, func() {
		if n.epoch == epoch {
			n.deliver(fn)
		}
	})
}

// deliver runs fn now, after the pause, or not at all if the process is down.
func (n *node) deliver(fn func()) {
	if !n.up {
		return
	}
	if n.pausedUntil > n.world.now {
		n.later(n.pausedUntil-n.world.now, fn)
		return
	}
	fn()
}

// clock is this machine's idea of time.
func (n *node) clock() replica.Time {
	t := int64(float64(n.world.now) * n.rate / float64(millisecond))
	return replica.Time{WallMS: 1_700_000_000_000 + t + n.offset/millisecond, MonotonicMS: t}
}

func (n *node) tick() {
	ids := make([]int64, 0, len(n.touched))
	for id := range n.touched { // the Member sorts
		ids = append(ids, id)
		n.world.check.mortals.alive(id)
	}
	clear(n.touched)
	if n.world.cfg.Bug == StaleTouch {
		ids = n.stale.add(ids, n)
	}
	if !n.writing {
		if err := n.persister.Idle(); err != nil {
			n.diskFailed("idle", err)
			return
		}
	}
	n.drive.look()
	n.step(replica.Touched{IDs: ids})
	n.step(replica.Tick{})
	n.world.net.redial(n)
	n.world.check.mortals.ticked(n)
	n.later(int64(tickMS*float64(millisecond)/n.rate), n.tick)
}

// step gives the Member one input and carries out what it wants.
func (n *node) step(in replica.Input) {
	if !n.up {
		return
	}
	w := n.world
	var fx replica.Effects
	n.member.Step(n.clock(), in, &fx)
	w.check.stepped(n)
	w.check.answers.sent(n, fx.Send)
	if fx.Links != nil {
		n.links = linksTo(fx.Links.Members)
	}
	n.openDoors()
	for _, s := range fx.Send {
		w.net.send(n, s)
	}
	for _, s := range fx.SendSnapshot {
		w.net.sendSnapshot(n, s)
	}
	n.appends = append(n.appends, fx.Append...)
	n.applies = append(n.applies, fx.Apply...)
	for _, r := range fx.ReadReady {
		n.readReady(r)
	}
	n.inquiries.answered(fx.Answers)
	n.waiters.Fail(fx.Unknown, replica.ErrUnknown)
	n.waiters.Fail(fx.Refused, replica.ErrDiskFull)
	n.waiters.Fail(fx.NotDone, replica.ErrNotDone)
	n.pumpWriter()
	n.pumpApplier()
	if fx.TakeSnapshot {
		n.takeSnapshot()
	}
	if fx.Wiped {
		w.fail("member %d finds that it has lost what it had acknowledged", n.id)
	}
}

// openDoors lets clients in once an entry of the current term is applied here and the cluster has its
// settings.
func (n *node) openDoors() {
	if n.serving || !n.member.Status().Serving {
		return
	}
	n.store.Read(func(v state.View) { _, n.serving = v.Settings() })
}

// pumpWriter begins the next write if the disk is free: all queued appends, one sync.
func (n *node) pumpWriter() {
	w := n.world
	if n.writing || len(n.appends) == 0 || !n.up {
		return
	}
	batch := n.appends
	n.appends, n.writing = nil, true
	sync, err := n.persister.Write(batch)
	if err != nil {
		n.diskFailed("write", err)
		return
	}
	if !sync || w.cfg.Bug == SendBeforeSync {
		n.later(0, func() { n.written(batch) })
		if sync {
			n.later(n.drive.syncTime(), func() { _ = n.persister.Sync() })
		}
		return
	}
	n.later(n.drive.syncTime(), func() {
		if err := n.persister.Sync(); err != nil {
			n.diskFailed("sync", err)
			return
		}
		n.written(batch)
		w.crashAfterVote(n, batch)
	})
}

// crashAfterVote sometimes crashes a member that has just voted, so that a lost vote shows.
func (w *World) crashAfterVote(n *node, batch []*replica.Append) {
	for _, a := range batch {
		if v := a.Hard.GetVote(); n.up && v != 0 && v != n.id && len(a.Entries) == 0 && !w.healed && w.chance(w.cfg.VoteCrash) {
			n.crashFor(w.between(0, 5*millisecond))
			return
		}
	}
}

// written answers appends in order.
func (n *node) written(batch []*replica.Append) {
	n.writing = false
	for _, a := range batch {
		in := replica.Appended{Append: a}
		if a.Snapshot != nil {
			n.applyAll()
			var err error
			if in, err = n.applier.Install(n.fs, n.disk.SnapshotDir(), a); err != nil {
				n.diskFailed("install", err)
				return
			}
			n.advance(a.Snapshot.GetMetadata().GetIndex())
		}
		n.step(in)
	}
	n.pumpWriter()
}

// pumpApplier applies queued entries a little later.
func (n *node) pumpApplier() {
	if n.applying || len(n.applies) == 0 || !n.up {
		return
	}
	n.applying = true
	n.later(n.world.between(0, 2*millisecond), func() {
		n.applying = false
		n.applyAll()
	})
}

func (n *node) applyAll() {
	for len(n.applies) > 0 && n.up {
		job := n.applies[0]
		n.applies = n.applies[1:]
		all := replica.Applied{Apply: job}
		for _, e := range job.Entries {
			first := n.world.check.log.apply(n, e)
			done, err := n.applier.Apply(&replica.Apply{Entries: []*raftpb.Entry{e}})
			if err != nil {
				n.world.fail("member %d: %v", n.id, err)
				return
			}
			n.world.check.state.came(n, e.GetIndex(), n.applier.Results())
			n.world.check.quorums.configured(e.GetIndex(), n.applier.Conf())
			all.Members, all.MembersChanged = done.Members, all.MembersChanged || done.MembersChanged
			all.ConfIndex = max(all.ConfIndex, done.ConfIndex)
			all.Changes = append(all.Changes, done.Changes...)
			all.Leases = append(all.Leases, done.Leases...)
			all.Bootstrapped = done.Bootstrapped
			n.world.check.mortals.leases(done.Leases, first || n.member.Status().Leads)
			n.advance(e.GetIndex())
		}
		n.step(all)
		if n.applier.Logged() >= n.world.cfg.SnapshotBytes || n.drive.low && n.disk.Log.Written.Load()-n.logged >= diskReserve/4 {
			n.takeSnapshot()
		}
	}
}

// advance notes that index is applied and lets readers through.
func (n *node) advance(index uint64) {
	n.applied = max(n.applied, index)
	n.world.check.state.applied(n)
	kept := n.waiting[:0]
	for _, r := range n.waiting {
		if r.index <= n.applied {
			r.done(nil)
		} else {
			kept = append(kept, r)
		}
	}
	n.waiting = kept
}

// takeSnapshot takes a snapshot; the log hears of it some time later.
func (n *node) takeSnapshot() {
	if n.saving || !n.up {
		return
	}
	n.saving, n.logged = true, n.disk.Log.Written.Load()
	n.world.note("n%d takes a snapshot at %d", n.id, n.applied)
	n.applier.SnapshotBegun()
	done, err := replica.WriteSnapshot(vfs.LeaveFree(n.fs, diskReserve/4), n.disk.SnapshotDir(), n.store)
	if vfs.IsNoSpace(err) {
		n.later(second, func() { n.saving = false }) // tried again with the next entry that fills the log
		return
	}
	if err != nil {
		n.diskFailed("snapshot", err)
		return
	}
	if n.world.cfg.Bug == SnapshotWithoutSession {
		dropSessions(n.fs, n.disk.SnapshotDir(), done.Index, done.Term)
	}
	n.world.check.state.saved(n, done)
	n.later(n.world.between(0, 200*millisecond), func() { n.snapshotWritten(done) })
}

func (n *node) snapshotWritten(done replica.SnapshotTaken) {
	n.saving = false
	if err := n.persister.Mark(done.Index, done.Term); err != nil {
		n.diskFailed("mark", err)
		return
	}
	done.Keep = done.Index
	if kept := uint64(n.world.rng.IntN(50)); !n.drive.low {
		done.Keep -= min(done.Index-1, kept)
	}
	n.step(done)
	if err := n.persister.Release(done.Keep - 1); err != nil {
		n.diskFailed("release", err)
	}
}

// snapshotFile reads the file that a snapshot message speaks of.
func (n *node) snapshotFile(message []byte) ([]byte, bool) {
	index, term, ok := snapshotOf(message)
	if !ok {
		return nil, false
	}
	name, err := snapshot.Find(n.fs, n.disk.SnapshotDir(), index, term)
	if err != nil {
		return nil, false
	}
	data, err := n.fs.ReadFile(name)
	return data, err == nil
}

// receiveSnapshot stores a snapshot from another member.
func (n *node) receiveSnapshot(from uint64, message, file []byte) bool {
	index, term, ok := snapshotOf(message)
	if !ok {
		return false
	}
	err := snapshot.Receive(vfs.LeaveFree(n.fs, diskReserve/4), n.disk.SnapshotDir(), index, term, io.Reader(bytes.NewReader(file)))
	if vfs.IsNoSpace(err) {
		return false
	}
	if err != nil {
		n.diskFailed("receive snapshot", err)
		return false
	}
	n.step(replica.SnapshotReceived{From: from, Message: message})
	return n.up
}

// raftMessage decodes a frame that holds a message of raft.
func raftMessage(frame []byte) (*raftpb.Message, error) {
	m := new(raftpb.Message)
	return m, proto.Unmarshal(frame[1:], m)
}

func snapshotOf(message []byte) (index, term uint64, ok bool) {
	m, err := raftMessage(message)
	if err != nil {
		return 0, 0, false
	}
	md := m.GetSnapshot().GetMetadata()
	return md.GetIndex(), md.GetTerm(), true
}

// diskFailed ends the process, as production does, when the disk was cut off under it, is full or failed. Any other
// error from a healthy disk is a violation.
func (n *node) diskFailed(doing string, err error) {
	if !errors.Is(err, vfs.ErrStopped) && !errors.Is(err, vfs.ErrInjected) && !vfs.IsNoSpace(err) {
		n.world.fail("member %d: %s: %v", n.id, doing, err)
		return
	}
	n.world.note("n%d disk cut off in %s", n.id, doing)
	n.crash()
}

// crash ends the process and takes what was not synced, as far as the seed says.
func (n *node) crash() { n.crashFor(n.world.between(100*millisecond, 3*second)) }

// crashFor is crash with a time after which the process is started again.
func (n *node) crashFor(delay int64) {
	w := n.world
	w.check.crashes++
	w.note("n%d crashes at applied %d", n.id, n.applied)
	n.fs = n.fs.Crash(vfs.Survival{Percent: int(w.cfg.Survive * 100), Seed: w.rng.Uint64()})
	if w.cfg.Bug == WipedReturns && w.chance(0.3) {
		n.fs = vfs.NewMem(w.rng.Uint64())
	}
	n.drive.setFaults(vfs.Faults{})
	n.end()
	w.net.spreadEnd(n)
	epoch := n.epoch
	w.after(delay, func() {
		if n.epoch == epoch && !n.up {
			n.start()
		}
	})
}

// end ends the process: who waits for something here learns that it is not coming.
func (n *node) end() {
	n.up, n.pausedUntil = false, 0
	n.epoch++
	waiters, reads, waiting := n.waiters, n.reads, n.waiting
	n.reads, n.waiting = nil, nil
	if waiters != nil {
		waiters.Fail(waiters.All(), replica.ErrUnknown)
	}
	for _, id := range sortedKeys(reads) {
		reads[id](replica.ErrStopped)
	}
	for _, r := range waiting {
		r.done(replica.ErrStopped)
	}
	n.inquiries.fail(replica.ErrStopped)
}

// pause holds the process up; its clock goes on.
func (n *node) pause(d int64) {
	n.world.note("n%d pauses %s", n.id, stamp(d))
	n.pausedUntil = n.world.now + d
}

// pend makes a command one that is waited for here; done is called when its outcome is known.
func pend(n *node, caller command.Caller, cmd command.Command, done func(state.Result, error)) replica.Pending {
	var id command.ID
	number := n.waiters.Add(func(r state.Result, err error) {
		n.world.check.acked.outcome(n, id, err)
		done(r, err)
	})
	id = command.ID{Member: n.id, Number: number}
	p := command.Proposal{ID: id, Caller: caller, Command: cmd}
	return replica.Pending{Number: number, Encoded: command.AppendProposal(nil, &p), Grows: command.Grows(cmd)}
}

// propose hands a command to this member; done is called when its outcome is known.
func (n *node) propose(caller command.Caller, cmd command.Command, done func(state.Result, error)) {
	pending := pend(n, caller, cmd, done)
	if pending.Grows && n.world.cfg.Bug == RefuseAndDo && n.member.Status().DiskFull {
		pending.Grows = false
		n.step(replica.Propose{Commands: []replica.Pending{pending}})
		n.waiters.Fail([]uint64{pending.Number}, replica.ErrDiskFull)
		return
	}
	in := replica.Propose{Commands: []replica.Pending{pending}}
	forwarded := !n.member.Status().Leads
	n.step(in)
	if forwarded && n.world.cfg.Bug == ForwardTwice && n.world.chance(0.05) {
		n.step(in)
	}
}

// readIndex calls done once this member holds everything that was acknowledged before.
func (n *node) readIndex(done func(error)) {
	if n.world.cfg.Bug == LocalRead {
		n.later(0, func() { done(nil) })
		return
	}
	n.nextRead++
	n.reads[n.nextRead] = done
	n.step(replica.Read{ID: n.nextRead})
}

func (n *node) readReady(r replica.ReadReady) {
	for _, id := range r.IDs {
		done := n.reads[id]
		if done == nil {
			continue
		}
		delete(n.reads, id)
		if r.Index <= n.applied {
			done(nil)
			continue
		}
		n.waiting = append(n.waiting, readWait{r.Index, done})
	}
}

// touch says that a session's client was heard of; false if this member may not vouch for it.
func (n *node) touch(id int64, timeoutMS int64, heard *replica.Heard) bool {
	n.touched[id] = true
	s, now := n.member.Status(), n.clock().MonotonicMS
	sure := heard.Again(now, s.VouchedMS, timeoutMS)
	return sure && now-s.VouchedMS <= timeoutMS/3 && !s.DiskHangs
}
