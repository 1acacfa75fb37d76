package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/transport"
)

// Transport carries frames and snapshots to other members. No call blocks.
type Transport interface {
	// SetPeers says who the other members are and how they are reached: links to and from all others end.
	SetPeers(peers map[uint64][]string)
	Send(to uint64, frame []byte)
	SendSnapshot(to uint64, header []byte, body io.ReadCloser)
}

// Options are what a Replica needs.
type Options struct {
	// ID is this member; Incarnation is drawn anew at every start.
	ID, Incarnation uint64
	Disk            *Disk
	Clock           clock.Clock
	Logger          *slog.Logger
	// TickMS is the heartbeat interval; a leader is missed after ElectionTicks of them.
	TickMS        int64
	ElectionTicks int
	// SnapshotBytes is how many bytes of log lie between snapshots at least.
	SnapshotBytes uint64
	// DiskReserve is below how much free space, in bytes, this member calls its disk low; 0 never.
	DiskReserve int64
	// ReapInterval is the time between two looks for containers and TTL nodes whose time is over.
	ReapInterval time.Duration
	// BudgetBytes bounds the commands of Propose whose outcome is open.
	BudgetBytes int64
	// MaxCommandBytes bounds one command.
	MaxCommandBytes int
	// Settings are what this member proposes if it is the first leader of a new cluster.
	Settings command.Settings
	// CheckSettings says whether the settings that the cluster has agree with this member's flags; an
	// error stops the member.
	CheckSettings func(have command.Settings) error
	// Metrics is where the member counts; nil counts for nobody.
	Metrics *telemetry.Metrics
}

// tailBytes bounds the entries that a member keeps in memory for those that lag a little.
const tailBytes = 8 << 20

// Replica runs a Member, its Persister and its Applier. All methods are safe for concurrent use.
type Replica struct {
	// Leases asks the leader about sessions and leases.
	Leases *Leases

	opts       Options
	member     *Member // owned by runLoop
	lastLeader uint64  // the last leader that was known; owned by runLoop
	persister  *Persister
	applier    *Applier // owned by runApplier
	checked    bool     // CheckSettings was asked; owned by runApplier
	store      *Store
	waiters    *Waiters
	gate       *gate
	budget     *semaphore.Weighted
	transport  Transport

	inbox *mailbox[Input]
	// proposals are apart from other inputs, so that they are ordered together and none is wrapped by itself.
	proposals *mailbox[Pending]
	appends   *mailbox[*Append]
	applies   *mailbox[applierJob]
	archive   *archive
	room      *room

	touched touches

	started time.Time
	status  atomic.Pointer[MemberStatus]
	ready   chan struct{} // closed when an entry of the current term is applied and the settings are known
	isReady sync.Once
	serving chan struct{} // closed when clients may be let in
	stopped chan struct{} // closed when Run ends
	// expelled takes the first reason why the others do not want this member any more.
	expelled chan error
}

// applierJob is an Apply, or a snapshot to install with the Append that waits for it.
type applierJob struct {
	apply   *Apply
	install *Append
	done    chan<- Appended
}

// New makes a Replica from what is on its disk. Nothing happens before Run.
func New(o Options) (*Replica, error) {
	if o.Metrics == nil {
		o.Metrics = telemetry.NewMetrics(telemetry.About{MemberID: o.ID})
	}
	r := &Replica{
		opts: o, store: NewStore(o.Disk.Machine, o.Disk.Boot.Conf, o.Disk.Seed), waiters: NewWaiters(o.Incarnation << 24),
		gate: newGate(o.Disk.Boot.SnapshotIndex), budget: semaphore.NewWeighted(o.BudgetBytes),
		persister: NewPersister(o.Disk.Log, o.Disk.Hard),
		inbox:     newMailbox[Input](), proposals: newMailbox[Pending](), appends: newMailbox[*Append](), applies: newMailbox[applierJob](),

		started: o.Clock.Now(), touched: touches{ids: make(map[int64]struct{})}, ready: make(chan struct{}), serving: make(chan struct{}), stopped: make(chan struct{}), expelled: make(chan error, 1),
	}
	r.archive, r.Leases, r.room = newArchive(r), newLeases(r), newRoom(r)
	r.applier = NewApplier(o.ID, r.store, r.waiters)
	member, err := NewMember(MemberOptions{
		ID: o.ID, Incarnation: o.Incarnation, Boot: o.Disk.Boot, Log: o.Disk.Log,
		TickMS: o.TickMS, ElectionTicks: o.ElectionTicks, TailBytes: tailBytes,
		Settings: o.Settings, Waiters: r.waiters, Logger: raftLogger{o.Logger},
	})
	if err != nil {
		return nil, err
	}
	r.member = member
	r.publishStatus()
	return r, nil
}

// Run runs the member until ctx is done or it can no longer be trusted with its disk. The error says why
// it stopped; nil after ctx.
func (r *Replica) Run(ctx context.Context, transport Transport) error {
	r.transport = transport
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	writer := func(ctx context.Context) error { return withAdvice(r.opts.Disk.Dir, r.runWriter(ctx)) }
	for _, run := range []func(context.Context) error{r.runLoop, writer, r.runApplier, r.archive.run, r.room.run, r.runOpening, (&reaper{r}).run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				cancel(err)
			}
		})
	}
	select {
	case <-ctx.Done():
	case reason := <-r.expelled:
		cancel(reason)
	}
	close(r.stopped)
	wg.Wait()
	r.gate.close(ErrStopped)
	r.waiters.Fail(r.waiters.All(), ErrUnknown)
	cause := context.Cause(ctx)
	meant := errors.Is(cause, context.Canceled)
	if meant {
		if err := r.opts.Disk.Log.NoteEnd(); err != nil { // what it is for needs a second fault
			r.opts.Logger.Warn("the end of the log could not be noted", "error", err)
		}
	}
	err := r.opts.Disk.Log.Close()
	if !meant {
		return errors.Join(cause, err)
	}
	return err
}

// Serving is closed once this member may answer clients: an entry of the current term has been applied
// here, the cluster has its settings, and everything that was acknowledged before is applied here.
func (r *Replica) Serving() <-chan struct{} { return r.serving }

// Status describes the member.
func (r *Replica) Status() MemberStatus {
	s := *r.status.Load()
	s.DiskFree = r.room.free.Load()
	return s
}

// Store returns the state of this member, which may lag behind others.
func (r *Replica) Store() *Store { return r.store }

// ReadIndex returns once this member's view holds everything that any member acknowledged before the call.
func (r *Replica) ReadIndex(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			r.opts.Metrics.ReadIndexesFailed.Inc()
		}
	}()
	done := make(chan error, 1)
	id, err := r.gate.register(done)
	if err != nil {
		return err
	}
	r.inbox.put(Read{ID: id})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		r.gate.forget(id)
		return ErrTimeout
	}
}

// Submit asks for a command to be carried out and returns at once. If it returns nil, done is called exactly
// once: with the result when it is applied here, or with an Outcome. Results come in the order of the log,
// one after the other; done must not block. The caller bounds what it has under way.
func (r *Replica) Submit(caller command.Caller, cmd command.Command, done func(state.Result, error)) error {
	p := command.Proposal{ID: command.ID{Member: r.opts.ID}, Caller: caller, Command: cmd}
	size := command.Size(&p)
	if size > r.opts.MaxCommandBytes {
		return ErrTooLarge
	}
	grows := command.Grows(cmd)
	if grows && r.Status().DiskFull {
		return ErrDiskFull
	}
	p.ID.Number = r.waiters.Add(done)
	select {
	case <-r.stopped:
		// Run may have told everybody before we were there to be told.
		if r.waiters.take(p.ID.Number) != nil {
			return ErrStopped
		}
		return nil
	default:
	}
	r.proposals.put(Pending{
		Number: p.ID.Number, Encoded: command.AppendProposal(make([]byte, 0, size), &p),
		Grows: grows, change: cmd.Kind() == command.KindChangeMembers,
	})
	return nil
}

// Propose carries out a command and waits for its result; while the budget of open commands is used up it
// waits for room first. The error is an Outcome.
func (r *Replica) Propose(ctx context.Context, caller command.Caller, cmd command.Command) (res state.Result, err error) {
	defer func() {
		if err != nil {
			r.opts.Metrics.ProposalsFailed.Inc()
		}
	}()
	type outcome struct {
		result state.Result
		err    error
	}
	size := min(int64(command.Size(&command.Proposal{Caller: caller, Command: cmd})), r.opts.BudgetBytes)
	if err := r.budget.Acquire(ctx, size); err != nil {
		return state.Result{}, ErrOverloaded
	}
	done := make(chan outcome, 1)
	err = r.Submit(caller, cmd, func(res state.Result, err error) {
		r.budget.Release(size)
		done <- outcome{res, err}
	})
	if err != nil {
		r.budget.Release(size)
		return state.Result{}, err
	}
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return state.Result{}, ErrTimeout
	}
}

// Touch says that the client of a session was heard of here; heard belongs to its connection. It returns false if this member may not
// vouch for the session now: the leader has not confirmed one of its reports within the last third of the
// session's timeout, or none that has this session for longer, so the session may be about to end elsewhere.
func (r *Replica) Touch(session int64, heard *Heard) bool {
	r.touched.add(session)
	timeout, ok := int64(0), false
	r.store.Read(func(v state.View) {
		var s state.Session
		s, ok = v.Session(session)
		timeout = int64(s.TimeoutMS)
	})
	status := r.Status()
	now := r.monotonicMS()
	sure := heard.Again(now, status.VouchedMS, timeout)
	return ok && sure && now-status.VouchedMS <= timeout/3 && !status.DiskHangs // Nothing that the client asks for would be done.
}

// TransferLeadership hands the office on if this member leads: to the voter with that id, or for 0 to the one whose log is
// longest. The effect shows in Status. There is none if the other member cannot be reached or does not catch up within an
// election timeout; then this one goes on leading.
func (r *Replica) TransferLeadership(to uint64) { r.inbox.put(Transfer{To: to}) }

// Receive takes a frame from another member. It implements the transport's handler.
func (r *Replica) Receive(from uint64, frame []byte) { r.inbox.put(Frame{From: from, Data: frame}) }

// Unreachable takes the news that a frame was dropped.
func (r *Replica) Unreachable(to uint64) { r.inbox.put(Unreachable{To: to}) }

// Ended takes the news that another member's process has ended.
func (r *Replica) Ended(peer uint64) { r.inbox.put(Ended{ID: peer}) }

// Expelled stops the member: another one says that it must not take part any more.
func (r *Replica) Expelled(reason error) {
	for told, meant := range map[error]error{
		transport.ErrRemoved: ErrRemoved, transport.ErrDirectory: ErrForgetful, transport.ErrFeature: ErrTooOld,
	} {
		if errors.Is(reason, told) { // one of them
			reason = fmt.Errorf("%w (%w)", meant, reason)
			break
		}
	}
	select {
	case r.expelled <- reason:
	default: // it is on its way
	}
}

// SnapshotSent takes the end of a snapshot stream.
func (r *Replica) SnapshotSent(to uint64, ok bool) {
	r.opts.Metrics.SnapshotSent(to, ok)
	r.inbox.put(SnapshotSent{To: to, OK: ok})
}

// monotonicMS is the time since the start; it never jumps.
func (r *Replica) monotonicMS() int64 { return r.opts.Clock.Now().Sub(r.started).Milliseconds() }

// ReceiveSnapshot stores a snapshot that another member streams. It implements the transport's handler.
func (r *Replica) ReceiveSnapshot(from uint64, header []byte, body io.Reader) error {
	err := r.archive.receive(from, header, body)
	r.opts.Metrics.SnapshotReceived(from, err == nil)
	return err
}

// publishStatus makes the Member's status visible.
func (r *Replica) publishStatus() {
	s := r.member.Status()
	if was := r.status.Load(); s.Leader != 0 && (was == nil || was.Leader != s.Leader) {
		r.opts.Metrics.LeaderChanges.Inc()
	}
	if was := r.status.Load(); was != nil && was.DiskFull != s.DiskFull {
		r.room.fullChanged(&s)
	}
	if was := r.status.Load(); was != nil && was.DiskHangs != s.DiskHangs {
		r.room.hangsChanged(&s)
	}
	r.opts.Metrics.ProposalsPending.Set(float64(r.waiters.count()))
	r.status.Store(&s)
	if s.Serving && r.member.bootstrapped {
		r.isReady.Do(func() { close(r.ready) })
	}
}
