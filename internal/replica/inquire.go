package replica

import (
	"context"
	"sync"
)

// Leases asks the leader what only it knows of sessions and leases. It is safe for concurrent use.
type Leases struct {
	inbox   *mailbox[Input]
	stopped <-chan struct{}
	status  func() MemberStatus

	mu   sync.Mutex
	last uint64
	open map[uint64]*inquiry
}

// inquiry is one Ask that is not wholly answered.
type inquiry struct {
	answers []Answer // by place
	missing int
	done    chan struct{} // closed when nothing is missing
}

func newLeases(r *Replica) *Leases {
	return &Leases{inbox: r.inbox, stopped: r.stopped, status: r.Status, open: make(map[uint64]*inquiry)}
}

// KeepAlive gives leases their whole time again and returns once the leader has confirmed it: kept[i] tells
// whether ids[i] is known and has its whole TTL from the call on. An id whose time is up is answered when it is settled
// what becomes of it. Many callers share a round trip, whatever they ask.
//
// The error is ErrNoLeader or ErrTimeout, when ctx is done first, or ErrStopped; leases may have been renewed. The
// caller must not change ids.
func (l *Leases) KeepAlive(ctx context.Context, ids []int64) (kept []bool, err error) {
	answers, err := l.inquire(ctx, Ask{IDs: ids, Renew: true})
	if err != nil {
		return nil, err
	}
	kept = make([]bool, len(ids))
	for i, a := range answers {
		kept[i] = a.Known
	}
	return kept, nil
}

// Remaining asks the leader how many milliseconds a session or lease has at least before it may expire; known is false if
// there is none. The errors are those of KeepAlive.
func (l *Leases) Remaining(ctx context.Context, id int64) (ms int64, known bool, err error) {
	answers, err := l.inquire(ctx, Ask{IDs: []int64{id}})
	if err != nil {
		return 0, false, err
	}
	return answers[0].LeftMS, answers[0].Known, nil
}

// inquire asks the leader and waits for all answers.
func (l *Leases) inquire(ctx context.Context, a Ask) ([]Answer, error) {
	if len(a.IDs) == 0 {
		return nil, nil
	}
	number, one := l.begin(len(a.IDs))
	a.Number = number
	l.inbox.put(a)
	select {
	case <-one.done:
		return one.answers, nil
	case <-l.stopped:
		l.forget(number)
		return nil, ErrStopped
	case <-ctx.Done():
		l.forget(number)
		l.inbox.put(GiveUp{Number: number})
		if l.status().Leader == 0 {
			return nil, ErrNoLeader
		}
		return nil, ErrTimeout
	}
}

// begin registers an Ask of n ids and returns its number.
func (l *Leases) begin(n int) (uint64, *inquiry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	one := &inquiry{answers: make([]Answer, n), missing: n, done: make(chan struct{})}
	l.open[l.last] = one
	return l.last, one
}

// forget drops an Ask whose caller has given up.
func (l *Leases) forget(number uint64) {
	l.mu.Lock()
	delete(l.open, number)
	l.mu.Unlock()
}

// answer hands answers to those who wait.
func (l *Leases) answer(answers []Answer) {
	if len(answers) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range answers {
		one := l.open[a.Number]
		if one == nil {
			continue
		}
		one.answers[a.At] = a
		if one.missing--; one.missing == 0 {
			delete(l.open, a.Number)
			close(one.done)
		}
	}
}
