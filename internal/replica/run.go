package replica

import (
	"context"
	"sync"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// runLoop steps the Member. It is the only goroutine that touches it.
func (r *Replica) runLoop(ctx context.Context) error {
	p := newPulse(r.opts.Clock, r.opts.TickMS)
	defer p.timer.Stop()
	var fx Effects
	var spare []Input
	var commands []Pending
	r.inbox.put(Begin{})
	for {
		inputs, ok := r.await(ctx, p, spare)
		if !ok {
			return nil
		}
		now := Time{WallMS: r.opts.Clock.Now().UnixMilli(), MonotonicMS: r.monotonicMS()}
		for _, in := range inputs {
			r.member.Step(now, in, &fx)
		}
		spare = inputs
		if commands = r.proposals.take(commands); len(commands) > 0 {
			r.member.Step(now, Propose{Commands: commands}, &fx) // all at once, so that they are batched together
		}
		if fx.Wiped {
			return ErrWiped
		}
		r.carryOut(&fx)
		fx.reset()
		r.publishStatus()
	}
}

// await waits for inputs or proposals and returns the inputs, in exchange for spare; false once ctx is done.
func (r *Replica) await(ctx context.Context, p *pulse, spare []Input) (inputs []Input, ok bool) {
	select {
	case <-ctx.Done():
		return nil, false
	case <-p.timer.C():
		inputs = append(r.inbox.take(spare), Touched{IDs: r.touched.take()}, Tick{})
		p.restart()
		return inputs, true
	case <-r.inbox.signal:
	case <-r.proposals.signal:
	}
	return r.inbox.take(spare), true
}

// pulse times the ticks. No tick is shorter than it should be, as it would be with a Ticker: after a pause, that gives one tick
// for the time missed and the next one when it is due by the old count. A keep-alive between the two, which is given its
// TTL in ticks, would be cut short. So a tick is counted from when all that came before it has been taken.
type pulse struct {
	timer  clock.Timer
	length time.Duration
}

func newPulse(c clock.Clock, tickMS int64) *pulse {
	length := time.Duration(tickMS) * time.Millisecond
	return &pulse{c.NewTimer(length), length}
}

// restart begins the next tick.
func (p *pulse) restart() { p.timer.Reset(p.length) }

// openingPatience is how long a member may take to serve before it says what it waits for.
const openingPatience = 10 * time.Second

// runOpening lets clients in when this member has caught up for the first time: one that was away long would
// make the first of them wait.
func (r *Replica) runOpening(ctx context.Context) error {
	slow := time.NewTicker(openingPatience)
	defer slow.Stop()
	for ready := false; !ready; {
		select {
		case <-ctx.Done():
			return nil
		case <-slow.C:
			r.opts.Logger.Warn("not serving yet: no leader, or the end of this member's log was cut and a majority of the others "+
				"has not yet told how far theirs reach; start the other members", "leader", r.Status().Leader)
		case <-r.ready:
			ready = true
		}
	}
	if r.ReadIndex(ctx) == nil {
		close(r.serving)
	}
	return nil
}

// touches are the sessions and leases heard of since the last tick.
type touches struct {
	mu  sync.Mutex
	ids map[int64]struct{}
}

func (t *touches) add(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids[id] = struct{}{}
}

func (t *touches) take() []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]int64, 0, len(t.ids))
	for id := range t.ids { // the Member sorts
		ids = append(ids, id)
	}
	clear(t.ids)
	return ids
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
	r.Leases.answer(fx.Answers)
	if len(fx.Unknown) > 0 {
		r.waiters.Fail(fx.Unknown, ErrUnknown)
	}
	if len(fx.Refused) > 0 {
		r.waiters.Fail(fx.Refused, ErrDiskFull)
	}
	if len(fx.NotDone) > 0 {
		r.waiters.Fail(fx.NotDone, ErrNotDone)
	}
	for _, s := range fx.SendSnapshot {
		r.archive.send(s)
	}
	if fx.Links != nil {
		r.transport.SetPeers(PeerURLs(fx.Links.Members, r.opts.ID))
	}
	if fx.TakeSnapshot {
		r.archive.beginNow()
	}
}

// idleTime is how long the log must be idle before a commit index is written down alone.
const idleTime = 100 * time.Millisecond

// runWriter makes appends durable: all that are queued go into one sync.
func (r *Replica) runWriter(ctx context.Context) error {
	var spare []*Append
	idle := time.NewTicker(idleTime)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.appends.signal:
			idle.Reset(idleTime)
		case <-r.archive.finished.signal:
		case <-idle.C:
			if err := r.persister.Idle(); err != nil {
				return err
			}
			continue
		}
		if err := r.archive.mark(); err != nil {
			return err
		}
		appends := r.appends.take(spare)
		spare = appends
		sync, err := r.persister.Write(appends)
		if err == nil && sync {
			began := r.opts.Clock.Now()
			err = r.persister.Sync()
			r.opts.Metrics.LogSync.Observe(r.opts.Clock.Now().Sub(began).Seconds())
		}
		if err != nil {
			return err
		}
		for _, a := range appends {
			in := Appended{Append: a}
			if a.Snapshot != nil {
				var installed bool
				if in, installed = r.archive.awaitInstalled(ctx, a); !installed {
					return nil
				}
			}
			r.inbox.put(in)
		}
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
				in, err := r.archive.install(job.install)
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
	counts := r.applier.TakeCounts()
	counts.addTo(r.opts.Metrics)
	if err := r.checkSettings(done.Bootstrapped); err != nil {
		return err
	}
	r.gate.advance(job.Entries[len(job.Entries)-1].GetIndex())
	r.inbox.put(done)
	r.store.reclaim(reclaimSteps * len(job.Entries))
	r.archive.maybeBegin()
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
