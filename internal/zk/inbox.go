package zk

import (
	"sync"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// inbox holds what has come for a connection and was not looked at yet: results of its commands and events for its
// watches in the order of the log, and the ends of syncs. It has a lock of its own, so that those who bring
// something wait for nothing.
//
// Its results are bounded by the requests in the queue. Events are bounded in bytes: a client that does not
// take them loses its connection rather than filling the server's memory. It comes back and sets its watches again, and
// is told then what it has missed.
//
// What brings something in is called from any goroutine and blocks for nothing but another such call. The owner is told each
// time.
type inbox struct {
	owner owner
	// max is how many bytes of events may be in it before another one is too many.
	max int

	mu       sync.Mutex
	arrivals []arrival
	// eventBytes is the size of the events in it.
	eventBytes int
}

// arrival is one thing that has come. It is one of three: the outcome of item n; events; or, if there is only
// an error, the end of the connection.
type arrival struct {
	n      uint64
	result state.Result
	err    error
	// events are encoded notifications, the last of which is at position at.
	events []byte
	at     position
}

// complete tells what has become of item n. It is called once for each command and sync.
func (b *inbox) complete(n uint64, result state.Result, err error) {
	b.add(arrival{n: n, result: result, err: err})
}

// end ends the connection when everything that has come before is looked at.
func (b *inbox) end(reason error) { b.add(arrival{err: reason}) }

// tell tells of an event, whose frame is copied.
func (b *inbox) tell(frame []byte, at position) {
	if b.addEvent(frame, at) {
		b.owner.wake()
	} else {
		b.owner.kick(errEventsWaiting) // It does not send, so it might not look in here.
	}
}

func (b *inbox) add(a arrival) {
	b.mu.Lock()
	b.arrivals = append(b.arrivals, a)
	b.mu.Unlock()
	b.owner.wake()
}

// addEvent puts an event in; false if there are too many already.
func (b *inbox) addEvent(frame []byte, at position) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.eventBytes > b.max {
		return false
	}
	b.eventBytes += len(frame)
	if last := len(b.arrivals) - 1; last >= 0 && b.arrivals[last].events != nil {
		a := &b.arrivals[last]
		a.events, a.at = append(a.events, frame...), at
		return true
	}
	b.arrivals = append(b.arrivals, arrival{events: append([]byte(nil), frame...), at: at})
	return true
}

// empty reports whether nothing has come.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.arrivals) == 0
}

// take empties the inbox; the memory of spare, which is empty, is used for what comes next.
func (b *inbox) take(spare []arrival) []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.arrivals
	b.arrivals, b.eventBytes = spare, 0
	return taken
}
