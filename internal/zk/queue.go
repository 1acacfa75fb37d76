package zk

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// itemKind says what an item of the queue waits for and how it is answered.
type itemKind uint8

const (
	// itemHandshake waits for the command that opens or attaches the session.
	itemHandshake itemKind = iota
	// itemWrite waits for its command.
	itemWrite
	// itemSync waits for the member to catch up.
	itemSync
	// itemRead waits for nothing but its turn, and is answered from a view.
	itemRead
	// itemFixed has its answer already.
	itemFixed
	// itemEnd has no answer: the connection ends when it is reached.
	itemEnd
)

// item is one request that has not been answered yet.
type item struct {
	kind itemKind
	// done says that what it waits for has happened: result holds for a handshake and a write.
	done bool
	op   jute.OpCode
	xid  int32
	// bytes is the size of the request.
	bytes int
	// atNS is when it was received, by services.nowNS.
	atNS int64

	// path, reads and identities are what a read asks, and for whom: a later auth does not count.
	path       string
	nullPath   bool
	reads      []readOp
	identities []command.Identity
	// leaves is the watch that a read leaves if the node is there, or for exists also if it is not.
	leaves watch.Kinds
	// watching is a request about watches.
	watching *watching

	// command is that of a write or handshake; replies are the types of a multi's elements.
	command command.Command
	replies []jute.OpCode
	result  state.Result

	// code and zxid are the answer of an itemFixed; code that of a read or write that cannot be decoded.
	code jute.ErrorCode
	zxid int64
	// end is why the connection ends after the answer; nil if it does not.
	end error
}

// ready reports whether what the item waits for has happened.
func (it *item) ready() bool {
	switch it.kind {
	case itemHandshake, itemWrite, itemSync:
		return it.done
	}
	return true
}

// holds reports whether writes behind the item must wait for it; see conn.
func (it *item) holds() bool {
	return it.leaves != 0 || it.watching != nil || it.kind == itemSync
}

// queueKeep is the room that an idle connection keeps.
const queueKeep = 16

// queue holds the unanswered requests of a connection in the order of their arrival. They have
// consecutive numbers, from 1, which are never used again. The zero value is empty; its bound is
// kept by its user.
type queue struct {
	ring []item
	// head is the number of the first item less one, tail that of the last.
	head, tail uint64
}

func (q *queue) len() int { return int(q.tail - q.head) }

// at returns the item with number n, which is in the queue. The pointer is good until the next
// push or pop.
func (q *queue) at(n uint64) *item { return &q.ring[n&uint64(len(q.ring)-1)] }

// has reports whether the item with number n is in the queue.
func (q *queue) has(n uint64) bool { return n > q.head && n <= q.tail }

// push adds an empty item at the end and returns it with its number.
func (q *queue) push() (*item, uint64) {
	if q.len() == len(q.ring) {
		q.grow()
	}
	q.tail++
	return q.at(q.tail), q.tail
}

// pop takes the first item out.
func (q *queue) pop() {
	q.head++
	*q.at(q.head) = item{} // Nothing is held longer than needed.
	if q.head == q.tail && len(q.ring) > queueKeep {
		q.ring = nil
	}
}

// cut drops all items behind the one with number n.
func (q *queue) cut(n uint64) {
	for ; q.tail > n; q.tail-- {
		*q.at(q.tail) = item{}
	}
}

// grow doubles the ring, whose length is a power of two.
func (q *queue) grow() {
	old := q.ring
	q.ring = make([]item, max(4, 2*len(old)))
	for n := q.head + 1; n <= q.tail; n++ {
		*q.at(n) = old[n&uint64(len(old)-1)]
	}
}
