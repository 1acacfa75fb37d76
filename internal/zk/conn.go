package zk

import (
	"net/netip"
	"sync"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
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
// be started early is: commands are submitted as soon as they are read, a sync begins at once. What
// shows the state to the client happens only when everything before it has been answered: then
// a read sees the session's earlier writes, and nothing older than any earlier reply.
//
// One thing cannot start early. A read is answered from the newest view, so a write that stands
// behind a read is held back until that read is done; otherwise the read could see a write that its
// client sent after it.
//
// # Who calls
//
// conn starts nothing and blocks nowhere. receive is given one frame after the other; advance
// answers what can be answered and leaves the bytes in out. Both are called with mu held, by
// whoever has input for the connection. The outcomes of commands and syncs come from other
// goroutines, which must not wait for a read that holds mu: they go into the inbox, which has a
// lock of its own, and the owner is woken to call advance.
//
// # Invariants
//
// The zxid of the replies never falls. Sequence numbers of submitted commands are consecutive. After
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
	// caller is on whose behalf commands are submitted; Sequence is that of the last one.
	caller command.Caller
	// timeoutMS is the negotiated session timeout; 0 before.
	timeoutMS int32
	shake     handshake

	queue queue
	// bytes is the size of all requests in the queue.
	bytes int
	// started is the number of the last item that has been submitted or needs no submission.
	started uint64
	// zxid is the largest zxid in a reply so far, seq the last change that a reply has shown.
	zxid int64
	seq  uint64
	// nowNS is the time of the present call of receive or advance.
	nowNS int64

	reader jute.Reader
	req    request
	look   look
	// out is what has been encoded and not taken for sending.
	out output

	inbox inbox
	// spare is empty memory for the inbox.
	spare []outcome
}

// owner is who brings a connection its input and sends its output. Its methods do not block.
type owner interface {
	// wake makes the owner call advance soon.
	wake()
	// kick makes the owner close the connection at once.
	kick()
}

// inbox holds outcomes that have not been looked at. It is bounded by the requests in the queue.
type inbox struct {
	mu       sync.Mutex
	outcomes []outcome
}

// add puts an outcome in.
func (b *inbox) add(o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes = append(b.outcomes, o)
}

// take empties the inbox; the memory of spare, which is empty, is used for what comes next.
func (b *inbox) take(spare []outcome) []outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.outcomes
	b.outcomes = spare
	return taken
}

// outcome is what has become of the item with number n.
type outcome struct {
	n      uint64
	result state.Result
	err    error
}

// newConn returns the state of a connection that has just been accepted. remote may be invalid.
func newConn(srv *services, remote netip.AddrPort, o owner) *conn {
	c := &conn{srv: srv, remote: remote, owner: o}
	c.caller.Protocol = command.ZooKeeper
	c.caller.Identities = initialIdentities(remote.Addr())
	c.look.fn = c.look.run
	c.out.stats = &srv.stats
	c.shake.conn = c
	return c
}

// complete tells what has become of item n. It is called from any goroutine, once for each
// command and sync; it blocks for nothing but another call of it.
func (c *conn) complete(n uint64, result state.Result, err error) {
	c.inbox.add(outcome{n, result, err})
	c.owner.wake()
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
	switch c.phase {
	case phaseConnecting:
		c.shake.connect(frame)
	case phaseServing:
		c.serve(frame)
	}
}

// serve takes the frame of a request.
func (c *conn) serve(frame []byte) {
	c.srv.stats.received.Add(1)
	if !c.srv.replica.Touch(c.caller.Session) {
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
	if c.req.garbled && c.req.class != classAuth {
		it.kind, it.code = itemRead, jute.CodeMarshallingError
		return
	}
	switch c.req.class {
	case classWrite:
		it.kind, it.command, it.replies = itemWrite, c.req.command, c.req.replies
		if it.op == jute.OpCloseSession {
			it.end, c.phase = errClosedByClient, phaseDraining
		}
	case classRead:
		it.kind, it.looks, it.path, it.reads = itemRead, true, c.req.path, c.req.reads
	case classLook:
		it.kind = itemRead
	case classSync:
		it.kind, it.path = itemSync, c.req.path
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
	if c.caller.Identities, ok = authenticate(c.caller.Identities, &c.req.auth); !ok {
		it.code, it.end, c.phase = jute.CodeAuthFailed, errAuthFailed, phaseDraining
	}
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

// start submits the commands that nothing holds back: those in front of the first read that has
// not been answered.
func (c *conn) start() {
	c.started = max(c.started, c.queue.head)
	for c.started < c.queue.tail {
		it := c.queue.at(c.started + 1)
		if it.looks {
			return
		}
		c.started++
		if it.kind != itemWrite {
			continue
		}
		c.caller.Sequence++
		caller := c.caller
		caller.Identities = it.identities
		if err := c.submit(c.started, caller, it.command); err != nil {
			c.refuse(c.started, err)
			return
		}
	}
}

// submit hands a command of item n to the replica.
func (c *conn) submit(n uint64, caller command.Caller, cmd command.Command) error {
	c.queue.at(n).command = nil // It belongs to the replica from here on.
	return c.srv.replica.Submit(caller, cmd, func(r state.Result, err error) { c.complete(n, r, err) })
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

// advance looks into the inbox and answers what can be answered, until out is full.
func (c *conn) advance(nowNS int64) {
	c.nowNS = nowNS
	c.openInbox()
	for c.queue.len() > 0 && len(c.out.buf) < c.srv.limits.replyBytes {
		it := c.queue.at(c.queue.head + 1)
		if (it.kind == itemWrite || it.kind == itemSync || it.kind == itemHandshake) && !it.done {
			return
		}
		if c.answer(it); c.phase == phaseFinished {
			return
		}
		it = c.queue.at(c.queue.head + 1) // The answer may have made the queue grow.
		if it.kind != itemHandshake && it.kind != itemEnd {
			c.srv.stats.latency(c.nowNS - it.atNS)
		}
		c.forget(it)
		end := it.end
		c.queue.pop()
		if end != nil {
			c.finish(end)
			return
		}
		c.start()
	}
}

// openInbox notes the outcomes that have come in. An outcome that nobody knows ends the
// connection: the client must not take what follows for the answer.
func (c *conn) openInbox() {
	outcomes := c.inbox.take(c.spare)
	for i := range outcomes {
		o := &outcomes[i]
		switch {
		case !c.queue.has(o.n): // The connection has ended meanwhile.
		case o.err != nil:
			c.finish(o.err)
		default:
			it := c.queue.at(o.n)
			it.done, it.result = true, o.result
		}
	}
	clear(outcomes)
	c.spare = nil
	if cap(outcomes) <= 4*queueKeep {
		c.spare = outcomes[:0]
	}
}

// answer encodes the answer to the first item of the queue, which is ready, or finishes the
// connection.
func (c *conn) answer(it *item) {
	switch it.kind {
	case itemHandshake:
		c.shake.finish(it)
	case itemWrite:
		c.answerWrite(it)
	case itemRead, itemSync:
		c.answerRead(it)
	case itemFixed:
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
	c.reveal(it.result.Zxid, it.result.Seq)
	c.out.write(it, code, c.zxid)
}

// reveal notes the position of what the next reply shows.
func (c *conn) reveal(zxid int64, seq uint64) {
	c.zxid = max(c.zxid, zxid)
	c.seq = max(c.seq, seq)
}

// answerRead answers from the newest view.
func (c *conn) answerRead(it *item) {
	l := &c.look
	l.see(c.srv.replica, &c.caller, it)
	if !l.alive {
		c.finish(errSessionGone)
		return
	}
	invariant.Assert(l.seq >= c.seq, "a view shows everything that was answered before")
	c.reveal(l.zxid, l.seq)
	c.out.read(it, l, c.zxid)
	l.release()
}
