package replica

import (
	"context"
	"sync"
)

// inquiries lead the answers to Asks back to those who wait for them. It is safe for concurrent use.
type inquiries struct {
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

func newInquiries() *inquiries { return &inquiries{open: make(map[uint64]*inquiry)} }

// begin registers an Ask of n ids and returns its number.
func (q *inquiries) begin(n int) (uint64, *inquiry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	one := &inquiry{answers: make([]Answer, n), missing: n, done: make(chan struct{})}
	q.open[q.last] = one
	return q.last, one
}

// forget drops an Ask whose caller has given up.
func (q *inquiries) forget(number uint64) {
	q.mu.Lock()
	delete(q.open, number)
	q.mu.Unlock()
}

// answer hands answers to those who wait.
func (q *inquiries) answer(answers []Answer) {
	if len(answers) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range answers {
		one := q.open[a.Number]
		if one == nil {
			continue
		}
		one.answers[a.At] = a
		if one.missing--; one.missing == 0 {
			delete(q.open, a.Number)
			close(one.done)
		}
	}
}

// KeepAlive gives leases their whole time again and returns once the leader has confirmed it: kept[i] tells
// whether ids[i] is known and has its whole TTL from the call on. An id whose time is up is answered when it is settled
// what becomes of it. Many callers share a round trip, whatever they ask.
//
// The error is ErrNoLeader or ErrTimeout, when ctx is done first, or ErrStopped; leases may have been renewed. The
// caller must not change ids.
func (r *Replica) KeepAlive(ctx context.Context, ids []int64) (kept []bool, err error) {
	answers, err := r.inquire(ctx, Ask{IDs: ids, Renew: true})
	if err != nil {
		return nil, err
	}
	kept = make([]bool, len(ids))
	for i, a := range answers {
		kept[i] = a.Known
	}
	return kept, nil
}

// Remaining asks the leader how many milliseconds a session or lease has for certain before it may expire; known is false if
// there is none. The errors are those of KeepAlive.
func (r *Replica) Remaining(ctx context.Context, id int64) (ms int64, known bool, err error) {
	answers, err := r.inquire(ctx, Ask{IDs: []int64{id}})
	if err != nil {
		return 0, false, err
	}
	return answers[0].LeftMS, answers[0].Known, nil
}

// inquire asks the leader and waits for all answers.
func (r *Replica) inquire(ctx context.Context, a Ask) ([]Answer, error) {
	if len(a.IDs) == 0 {
		return nil, nil
	}
	number, one := r.inquiries.begin(len(a.IDs))
	a.Number = number
	r.inbox.put(a)
	select {
	case <-one.done:
		return one.answers, nil
	case <-r.stopped:
		r.inquiries.forget(number)
		return nil, ErrStopped
	case <-ctx.Done():
		r.inquiries.forget(number)
		r.inbox.put(GiveUp{Number: number})
		if r.Status().Leader == 0 {
			return nil, ErrNoLeader
		}
		return nil, ErrTimeout
	}
}
