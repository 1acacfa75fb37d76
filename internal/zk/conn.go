package zk

import (
	"net/netip"
	"sync"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// phase is how far a connection has come.
type phase uint8

const (
	// phaseConnecting waits for the connect request.
	phaseConnecting phase = iota
	// phaseOpening waits for the session to be opened or attached. Nothing is read meanwhile.
	phaseOpening
	// phaseServing takes requests.
	phaseServing
	// phaseDraining takes no more requests and answers those that it has.
	phaseDraining
	// phaseFinished has nothing more to do than to send what has been encoded.
	phaseFinished
)

// conn is the protocol state of one client.
//
// # Idea
//
// Requests stand in a queue in the order of their arrival and are answered in that order. What can
// be started early is: commands are submitted as soon as they are read, a sync begins at once.
//
// A connection lives at a position in the order of all commands, which never goes back. What comes for it, results of its
// commands and events for its watches, lies in the inbox in that order, and taking something out of it moves
// the position there. A read that is at the head of the queue looks at the tree as it is at the position. Before, the position
// moves up to the notifier's and past all that is in the inbox, unless a later write of the session is under way, which
// could have been decided by then. So a read sees the session's earlier writes, which are answered before it, none of its
// later ones, and nothing older than an earlier reply; and every event comes before the first reply that shows its
// change.
//
// Two things hold back the writes behind them. A request that leaves a watch wants the notifier's own position: a write that
// was decided before it would be shown too early there. And so does a sync: the read behind it must see what the sync waited
// for, which may be newer than a write that was sent after both.
//
// # Who calls
//
// conn starts nothing and blocks nowhere. receive is given one frame after the other; advance
// answers what can be answered and leaves the bytes in out. Both are called with mu held, by
// whoever has input for the connection. What comes from other goroutines, which must not wait for a read
// that holds mu, goes into the inbox, which has a lock of its own, and the owner is woken to call advance.
//
// # Invariants
//
// The position and the zxid of the replies never fall. Sequence numbers of submitted commands are consecutive. After
// a refusal to submit, nothing later is submitted. Once finished, the queue is empty.
type conn struct {
	srv *services
	// owner has the socket.
	owner  owner
	remote netip.AddrPort

	mu    sync.Mutex
	phase phase
	// reason is why the connection has ended or is about to.
	reason error
	// id names the connection among those that may leave watches; 0 before it has a session.
	id watch.ConnID
	// caller is on whose behalf commands are submitted; Sequence is that of the last one.
	caller command.Caller
	// timeoutMS is the negotiated session timeout; 0 before.
	timeoutMS int32
	// closes says that the client has asked to close the session: what it asked before is answered, though its
	// session may be gone from the view already.
	closes  bool
	shake   handshake
	watches watches

	queue   queue
	account account
	// bytes is the size of all requests in the queue.
	bytes int
	// started is the number of the last item that has been submitted or needs no submission.
	started uint64
	// underway is how many submitted commands have no outcome yet.
	underway int
	// at is the position.
	at position
	// nowNS is the time of the present call of receive or advance.
	nowNS int64

	reader jute.Reader
	req    request
	look   look
	// out is what has been encoded and not taken for sending.
	out output

	// heard is the replica's memory of when the client of the session was heard of.
	heard Heard

	inbox inbox
	// arrivals were taken out of the inbox; the first next of them have been looked at.
	arrivals []arrival
	next     int
}

// owner is who brings a connection its input and sends its output. Its methods do not block.
type owner interface {
	// wake makes the owner call advance soon.
	wake()
	// kick makes the owner close the connection at once, for the given reason.
	kick(reason error)
}

// newConn returns the state of a connection that has just been accepted. remote may be invalid.
func newConn(srv *services, remote netip.AddrPort, o owner) *conn {
	c := &conn{srv: srv, remote: remote, owner: o, inbox: inbox{owner: o, max: srv.limits.eventBytes}}
	c.caller.Protocol = command.ZooKeeper
	c.caller.Identities = initialIdentities(remote.Addr())
	c.look.fn = c.look.run
	c.account = noAccount()
	c.out.stats, c.out.account = &srv.stats, &c.account
	c.shake.conn, c.watches.conn = c, c
	return c
}

// hasRoom reports whether one more frame may be received now. It is false too while the session
// is being opened.
func (c *conn) hasRoom() bool {
	switch c.phase {
	case phaseConnecting:
		return true
	case phaseServing:
		return c.queue.len() < c.srv.limits.requests && c.bytes < c.srv.limits.requestBytes &&
			len(c.out.buf) < c.srv.limits.replyBytes
	}
	return false
}

// open reports whether the connection may still receive, now or later.
func (c *conn) open() bool { return c.phase < phaseDraining }

// receive takes one frame, of which it keeps nothing. The caller has seen that there is room.
func (c *conn) receive(frame []byte, nowNS int64) {
	c.nowNS = nowNS
	c.srv.stats.received.Add(1)
	c.account.received++
	switch c.phase {
	case phaseConnecting:
		c.shake.connect(frame)
	case phaseServing:
		c.serve(frame)
	}
}

// serve takes the frame of a request.
func (c *conn) serve(frame []byte) {
	if !c.srv.replica.Touch(c.caller.Session, &c.heard) {
		c.finish(errNotVouching)
		return
	}
	if !decode(&c.reader, frame, &c.req) {
		c.drain(errGarbledHeader)
		return
	}
	it, n := c.push(len(frame))
	it.xid, it.op = c.req.header.Xid, c.req.header.Op
	c.enter(it, n)
	c.req = request{} // An idle connection holds no command.
	c.start()
}

// enter fills the new item n from the decoded request.
func (c *conn) enter(it *item, n uint64) {
	it.identities = c.caller.Identities
	if c.req.garbled && c.req.class == classSASL {
		it.kind, it.end, c.phase = itemEnd, errGarbledAuth, phaseDraining
		return
	}
	if c.req.garbled && c.req.class != classAuth {
		it.kind, it.code = itemRead, jute.CodeMarshallingError
		if c.req.spends {
			it.kind, it.command = itemWrite, &command.Multi{} // It does nothing, in a zxid.
		}
		return
	}
	switch c.req.class {
	case classWrite:
		it.kind, it.command, it.replies = itemWrite, c.req.command, c.req.replies
		if it.op == jute.OpCloseSession {
			it.end, c.phase = errClosedByClient, phaseDraining
			c.closes = true
		}
	case classRead:
		it.kind, it.path, it.reads, it.leaves = itemRead, c.req.path, c.req.reads, c.req.leaves
	case classLook:
		it.kind = itemRead
	case classWatch:
		it.kind, it.watching = itemRead, c.req.watching
	case classSync:
		it.kind, it.path, it.nullPath = itemSync, c.req.path, c.req.nullPath
		c.srv.syncs.add(c, n)
	case classAuth:
		c.enterAuth(it)
	case classSASL:
		it.kind = itemFixed
	case classUnknown:
		it.kind, it.code, it.zxid = itemFixed, jute.CodeUnimplemented, -1
		it.end, c.phase = errUnknownOp, phaseDraining
	}
}

// enterAuth carries out an auth request, which counts for all requests behind it.
func (c *conn) enterAuth(it *item) {
	if c.req.garbled {
		it.kind, it.end, c.phase = itemEnd, errGarbledAuth, phaseDraining
		return
	}
	it.kind = itemFixed
	var ok bool
	if c.caller.Identities, ok = authenticate(c.caller.Identities, &c.req.auth, c.srv.superDigest); !ok {
		c.srv.stats.authFailed.Add(1)
		it.code, it.end, c.phase = jute.CodeAuthFailed, errAuthFailed, phaseDraining
	}
	c.srv.notifier.identify(c)
}

// push adds an item for a request of the given size.
func (c *conn) push(bytes int) (*item, uint64) {
	it, n := c.queue.push()
	it.bytes, it.atNS = bytes, c.nowNS
	c.bytes += bytes
	c.srv.budget.add(bytes)
	c.srv.stats.outstanding.Add(1)
	return it, n
}

// forget takes the size of an item that leaves the queue off the accounts.
func (c *conn) forget(it *item) {
	c.bytes -= it.bytes
	c.srv.budget.release(it.bytes)
	c.srv.stats.outstanding.Add(-1)
}

// start submits the commands that nothing holds back.
func (c *conn) start() {
	c.started = max(c.started, c.queue.head)
	for c.started < c.queue.tail {
		it := c.queue.at(c.started + 1)
		if it.holds() {
			return
		}
		c.started++
		if it.kind != itemWrite {
			continue
		}
		caller := c.caller
		caller.Sequence++
		caller.Identities = it.identities
		err := c.submit(c.started, caller, it.command)
		if isDiskFull(err) {
			it.kind, it.code = itemRead, jute.CodeQuotaExceeded // Its number goes to the next write.
			continue
		}
		if err != nil {
			c.refuse(c.started, err)
			return
		}
		c.caller.Sequence++
		c.underway++
	}
}

// submit hands a command of item n to the replica.
func (c *conn) submit(n uint64, caller command.Caller, cmd command.Command) error {
	c.queue.at(n).command = nil // It belongs to the replica from here on.
	return c.srv.replica.Submit(caller, cmd, func(r state.Result, err error) { c.inbox.complete(n, r, err) })
}

// refuse ends the connection in front of item n, which could not be submitted: requests before it
// are answered, it and those behind it were not done.
func (c *conn) refuse(n uint64, err error) {
	for m := n; m <= c.queue.tail; m++ {
		c.forget(c.queue.at(m))
	}
	c.queue.cut(n - 1)
	c.drain(err)
}

// drain takes no more requests and ends the connection when the present ones are answered.
func (c *conn) drain(reason error) {
	if c.phase == phaseFinished {
		return
	}
	it, _ := c.push(0)
	it.kind, it.end = itemEnd, reason
	c.phase = phaseDraining
}

// finish ends the connection now. Requests in the queue are not answered; what has been encoded
// is still to be sent.
func (c *conn) finish(reason error) {
	if c.phase == phaseFinished {
		return
	}
	c.phase, c.reason = phaseFinished, reason
	for c.queue.len() > 0 {
		c.forget(c.queue.at(c.queue.head + 1))
		c.queue.pop()
	}
}

// advance takes in what has come and answers what can be answered, until out is full.
func (c *conn) advance(nowNS int64) {
	c.nowNS = nowNS
	for c.phase != phaseFinished && len(c.out.buf) < c.srv.limits.replyBytes {
		if c.queue.len() > 0 && c.queue.at(c.queue.head+1).ready() {
			c.answerFirst()
		} else if !c.takeIn() {
			return
		}
	}
}

// answerFirst answers the first item of the queue, which is ready, and takes it out.
func (c *conn) answerFirst() {
	if c.answer(c.queue.at(c.queue.head + 1)); c.phase == phaseFinished {
		return
	}
	it := c.queue.at(c.queue.head + 1) // The answer may have made the queue grow.
	c.count(it)
	c.forget(it)
	end := it.end
	c.queue.pop()
	if end != nil {
		c.finish(end)
		return
	}
	c.start()
}

// count counts the answer to an item. What only says who is calling is not counted among the latencies, as in ZooKeeper, nor is a
// session that was attached.
func (c *conn) count(it *item) {
	switch it.kind {
	case itemWrite, itemRead, itemSync:
		c.account.answered(operationOf(it.op), it, c.at.zxid, c.nowNS)
		c.srv.stats.answered(it.kind, c.nowNS-it.atNS)
	}
}

// first returns what has come first; nil if nothing has.
func (c *conn) first() *arrival {
	if c.next == len(c.arrivals) {
		c.refill()
	}
	if len(c.arrivals) == 0 {
		return nil
	}
	return &c.arrivals[c.next]
}

// refill takes over what has come since all before was looked at. Two lists change places with the inbox, so that what
// comes needs no memory of its own; after a burst they are let go.
func (c *conn) refill() {
	clear(c.arrivals)
	spare := c.arrivals[:0]
	if cap(spare) > 4*queueKeep {
		spare = nil
	}
	c.arrivals, c.next = c.inbox.take(spare), 0
}

// takeIn looks at what has come first; false if nothing has. An outcome that nobody knows ends the
// connection: the client must not take what follows for the answer.
func (c *conn) takeIn() bool {
	a := c.first()
	if a == nil {
		return false
	}
	c.next++
	switch {
	case a.events != nil:
		c.out.events(a.events)
		c.reveal(a.at)
	case a.n != 0 && !c.queue.has(a.n): // The connection has ended meanwhile.
	case c.lateRefusal(a):
	case a.err != nil:
		c.finish(a.err)
	default:
		it := c.queue.at(a.n)
		it.done, it.result = true, a.result
		if it.kind == itemWrite {
			c.underway--
		}
	}
	return true
}

// lateRefusal takes the news that a command was not done because the disks of the cluster are full. It reports false, and the
// connection ends, if others of the session are under way: those behind it lack the number before theirs.
func (c *conn) lateRefusal(a *arrival) bool {
	if a.n == 0 || c.underway != 1 || !isDiskFull(a.err) {
		return false
	}
	it := c.queue.at(a.n)
	if it.kind != itemWrite {
		return false
	}
	it.kind, it.code = itemRead, jute.CodeQuotaExceeded
	c.caller.Sequence-- // Nobody has seen it.
	c.underway--
	return true
}

// answer encodes the answer to the first item of the queue, which is ready, or finishes the
// connection.
func (c *conn) answer(it *item) {
	switch {
	case it.kind == itemHandshake:
		c.shake.finish(it)
	case it.kind == itemWrite:
		c.answerWrite(it)
	case it.watching != nil:
		c.watches.answer(it)
	case it.kind == itemRead, it.kind == itemSync:
		c.answerRead(it)
	case it.kind == itemFixed:
		c.out.fixed(it)
	}
}

// answerWrite answers a decided command.
func (c *conn) answerWrite(it *item) {
	code, err := wireCode(it.result.Code)
	if err != nil {
		c.finish(err)
		return
	}
	c.reveal(position{it.result.Seq, it.result.Zxid})
	if it.code != jute.CodeOK {
		c.out.refuse(it, c.at.zxid)
		return
	}
	c.out.write(it, code, c.at.zxid)
}

// reveal moves the position to what the next reply shows.
func (c *conn) reveal(at position) {
	invariant.Assert(at.seq >= c.at.seq && at.zxid >= c.at.zxid, "a position does not go back")
	c.at = at
}

// settle moves the position to where a read is answered: to the notifier's, unless a later write is under way. The notifier
// may have told of that already, and an event that has come may be its.
func (c *conn) settle() {
	for c.underway == 0 && c.phase != phaseFinished {
		at := c.srv.notifier.position()
		if !c.takeIn() {
			c.reveal(at)
			return
		}
	}
}

// answerRead answers from the tree as it is at the position.
func (c *conn) answerRead(it *item) {
	if it.leaves != 0 {
		c.watches.leave(it)
	} else {
		c.settle()
	}
	if c.phase == phaseFinished {
		return
	}
	l := &c.look
	if err := l.see(c, it); err != nil {
		c.finish(err)
		return
	}
	c.out.read(it, l, c.at.zxid)
	l.release()
}
