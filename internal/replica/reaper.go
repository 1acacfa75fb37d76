package replica

import (
	"context"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// reaper has containers that are empty again and TTL nodes whose time is over deleted, while this member leads. It only
// proposes: apply looks again. So two members that both believe in their office for a while do no harm.
type reaper struct {
	r *Replica
}

// reapMost is how many nodes one round deletes, so that a flood of them does not crowd out clients.
const reapMost = 2000

// run makes a round in each interval.
func (p *reaper) run(ctx context.Context) error {
	ticker := time.NewTicker(p.r.opts.ReapInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if p.r.Status().Leads {
				p.round(ctx)
			}
		}
	}
}

// round proposes what may be reaped now and waits until it is settled, so that rounds do not pile up.
func (p *reaper) round(ctx context.Context) {
	var found []command.Reap
	now := p.r.opts.Clock.Now().UnixMilli()
	p.r.store.Read(func(v state.View) { found = state.Reapable(v, now, reapMost) })
	settled := make(chan struct{}, len(found))
	for i := range found {
		err := p.r.Submit(command.Caller{}, &found[i], func(state.Result, error) { settled <- struct{}{} })
		if err != nil {
			return // it is stopping
		}
	}
	for range found {
		select {
		case <-settled:
		case <-ctx.Done():
			return
		}
	}
}
