package rpc

import (
	"context"
	"errors"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// queueBytes is how much of a stream's messages may wait before the next one is not taken: gRPC's own value.
const queueBytes = 64 << 10

// stream is one call. As a grpc.ServerStream it is its handler's.
type stream struct {
	conn   *conn
	id     uint32
	head   *head
	ctx    context.Context
	cancel context.CancelFunc
	// unexpire takes back what is to happen when the client's patience ends before the call has begun; nil without
	// such a limit.
	unexpire func() bool
	// arrived tells the handler that the client has said something, room that it may say more itself. Each holds a
	// token; they are nil for a call of one message.
	arrived, room chan struct{}

	// What follows is under the connection's mutex.

	in      []byte // what came and was not taken, from the prefix of a message on
	allowed int64  // what the client may still send
	taken   bool   // the message of a call that has one

	window int64     // what may still be sent to the client
	queue  []message // what waits
	queued int       // bytes of queue
	// listed says that the stream is among the ready or the stalled of its connection.
	listed bool

	header, trailer metadata.MD
	why             *status.Status // how the call has ended; nil stands for OK
	begun           bool           // the handler runs, or has run
	headSent        bool
	ending          bool // the handler has returned: trailers follow what waits
	closedByClient  bool
	closed          bool // no byte goes in or out any more
}

// begin begins a call.
func (c *conn) begin(h *head) error {
	st := &stream{conn: c, id: c.heads.id, head: h, allowed: windowBytes}
	if h.timeout > 0 {
		st.ctx, st.cancel = context.WithTimeout(h.ctx, h.timeout)
		st.unexpire = context.AfterFunc(st.ctx, st.expire)
	} else {
		st.ctx, st.cancel = context.WithCancel(h.ctx)
	}
	if h.method != nil && h.method.stream != nil {
		st.arrived, st.room = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID = st.id
	most := int64(c.server.opts.StreamsMax)
	switch {
	case c.state >= connDraining:
		st.abandon() // the client knows by now that nobody answers
		return nil
	case int64(len(c.streams)) >= most || int64(c.running) >= most:
		st.abandon()
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeRefusedStream}
	}
	st.window = c.streamWindow
	c.streams[st.id] = st
	switch {
	case h.refusal != nil:
		st.closedByClient = c.heads.last
		st.failLocked(h.refusal)
	case h.method.many:
		st.runLocked()
	}
	if c.heads.last && !st.closed {
		return st.endLocked()
	}
	return nil
}

// abandon lets go of a call that nobody knows.
func (st *stream) abandon() {
	if st.unexpire != nil {
		st.unexpire()
	}
	st.cancel()
}

// expire ends a call whose message has not come before the client's patience was over. A handler that runs sees to it
// itself.
func (st *stream) expire() {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.begun && !st.closed {
		st.failLocked(status.FromContextError(context.DeadlineExceeded))
	}
}

// failLocked ends a call whose handler does not run.
func (st *stream) failLocked(why *status.Status) {
	st.begun, st.ending, st.why = true, true, why
	st.abandon()
	st.sendLocked()
}

// runLocked has the handler run.
func (st *stream) runLocked() {
	if st.begun {
		return
	}
	if st.unexpire != nil {
		st.unexpire()
	}
	st.begun = true
	st.conn.running++
	st.conn.calls.Add(1)
	st.conn.server.runCall(st)
}

// takeLocked takes a piece of what the client says.
func (st *stream) takeLocked(f *http2.DataFrame) error {
	st.allowed -= int64(f.Length)
	if st.allowed < 0 {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	}
	if data := f.Data(); len(data) > 0 {
		st.in = appendExact(st.in, data)
	}
	if len(st.in) >= prefixBytes {
		size := sizeOf(st.in)
		if why := st.conn.server.tooLarge(size); why == nil {
			st.allowLocked(prefixBytes + int64(size) - int64(len(st.in)))
		} else if !st.begun {
			st.closedByClient = st.closedByClient || f.StreamEnded()
			st.failLocked(why)
			return nil
		}
	}
	if f.StreamEnded() {
		return st.endLocked()
	}
	st.tellLocked()
	return nil
}

// allowLocked lets the client send at least so many bytes.
func (st *stream) allowLocked(bytes int64) {
	more := bytes - st.allowed
	if more <= 0 || st.closed || st.closedByClient {
		return
	}
	st.allowed += more
	c := st.conn
	c.out = appendWindowUpdate(c.out, st.id, uint32(more))
	signal(c.wake)
}

// endLocked notes that the client has said all. A call of one message begins now.
func (st *stream) endLocked() error {
	st.closedByClient = true
	if !st.head.method.many {
		st.runLocked()
	}
	st.tellLocked()
	return nil
}

// tellLocked wakes the handler if it waits for the client.
func (st *stream) tellLocked() {
	if st.arrived != nil {
		signal(st.arrived)
	}
}

// closeLocked ends the stream: what waits on it is dropped. Its context is to be cancelled.
func (st *stream) closeLocked() {
	if st.closed {
		return
	}
	c := st.conn
	st.closed = true
	delete(c.streams, st.id)
	for i := range st.queue {
		st.queue[i].free()
	}
	st.queue, st.queued = nil, 0
	if st.unexpire != nil {
		st.unexpire()
	}
	c.drainedLocked()
}

// sendLocked moves what may be sent of a stream to what its connection sends next.
func (st *stream) sendLocked() {
	c := st.conn
	defer signal(c.wake)
	if !st.headSent && len(st.queue) > 0 {
		st.headLocked()
	}
	for len(st.queue) > 0 {
		m := &st.queue[0]
		n := int(min(frameBytesMax, st.window, c.window, int64(m.left)))
		switch {
		case st.window <= 0:
			return
		case c.window <= 0:
			st.listLocked(&c.stalled)
			return
		case len(c.out) >= outBytes:
			st.listLocked(&c.ready)
			return
		}
		c.out = m.moveTo(appendFrame(c.out, http2.FrameData, 0, st.id, n), n)
		c.spoken = true
		st.window -= int64(n)
		c.window -= int64(n)
		st.queued -= n
		if m.left == 0 {
			m.free()
			st.queue = st.queue[1:]
		}
		if st.room != nil && st.queued < queueBytes {
			signal(st.room)
		}
	}
	if st.ending && !st.closed {
		st.trailLocked()
	}
}

// listLocked puts the stream on a list of its connection, unless it is on one.
func (st *stream) listLocked(list *[]*stream) {
	if !st.listed {
		st.listed = true
		*list = append(*list, st)
	}
}

// headLocked sends the headers of the answer.
func (st *stream) headLocked() {
	c := st.conn
	st.headSent, c.spoken = true, true
	how := ""
	if st.head.packing != nil {
		how = st.head.encoding
	}
	c.out = c.replies.appendHead(c.out, st.id, how, st.header)
}

// trailLocked sends the end of the answer, and closes the stream. A client that has not said all is told that nobody
// listens.
func (st *stream) trailLocked() {
	c := st.conn
	alone := ""
	if !st.headSent {
		if alone = httpOK; st.head.refusal != nil {
			alone = st.head.http
		}
		if len(st.header) > 0 {
			st.headLocked()
			alone = ""
		}
	}
	c.spoken = true
	c.out = c.replies.appendTrailer(c.out, st.id, st.why, st.trailer, alone)
	if !st.closedByClient {
		c.out = appendReset(c.out, st.id, http2.ErrCodeNo)
	}
	st.closeLocked()
}

// run runs the handler, and sends what comes of it.
func (st *stream) run() {
	c, m := st.conn, st.head.method
	defer c.calls.Done()
	defer st.cancel()
	ctx := grpc.NewContextWithServerTransportStream(st.ctx, (*call)(st))
	var err error
	var answer message
	if m.unary != nil {
		var reply any
		if reply, err = m.unary.Handler(m.service, ctx, st.RecvMsg, c.server.opts.Unary); err == nil {
			answer, err = c.server.pack(reply, st.head.packing)
		}
	} else {
		st.ctx = ctx
		if around := c.server.opts.Stream; around != nil {
			err = around(m.service, st, m.streamInfo, m.stream.Handler)
		} else {
			err = m.stream.Handler(m.service, st)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if st.closed {
		answer.free()
		return
	}
	if answer.left > 0 {
		st.pushLocked(answer)
	}
	st.ending, st.why = true, statusOf(err)
	st.sendLocked()
}

// statusOf is the status with which a call ends; nil for OK.
func statusOf(err error) *status.Status {
	if err == nil {
		return nil
	}
	why, ok := status.FromError(err)
	if !ok {
		why = status.FromContextError(err)
	}
	return why
}

func (st *stream) pushLocked(m message) {
	st.queue = append(st.queue, m)
	st.queued += m.left
}

// Context implements grpc.ServerStream.
func (st *stream) Context() context.Context { return st.ctx }

// errClosed is told to a handler whose client is gone and whose context does not know yet.
var errClosed = status.Error(codes.Canceled, context.Canceled.Error())

// gone is why nothing can be said any more.
func (st *stream) gone() error {
	if err := st.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return errClosed
}

// SendMsg implements grpc.ServerStream. It waits while much of the stream waits for the client.
func (st *stream) SendMsg(m any) error {
	packed, err := st.conn.server.pack(m, st.head.packing)
	if err != nil {
		return err
	}
	for {
		if sent, err := st.trySend(packed); sent || err != nil {
			return err
		}
		select {
		case <-st.room:
		case <-st.ctx.Done():
			packed.free()
			return st.gone()
		}
	}
}

// trySend takes a message if there is room for it.
func (st *stream) trySend(m message) (sent bool, err error) {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	if st.closed || st.ending {
		m.free()
		return false, st.gone()
	}
	if st.queued >= queueBytes {
		return false, nil
	}
	st.pushLocked(m)
	st.sendLocked()
	return true, nil
}

// RecvMsg implements grpc.ServerStream: it waits for the client's next message.
func (st *stream) RecvMsg(m any) error {
	for {
		body, packed, err := st.receive()
		if err == nil {
			return st.conn.server.unpack(body, packed, st.head.encoding, m)
		}
		if !errors.Is(err, errNotYet) {
			return err
		}
		select {
		case <-st.arrived:
		case <-st.ctx.Done():
			return st.gone()
		}
	}
}

// errNotYet says that the next message has not come as a whole.
var errNotYet = errors.New("not yet")

// receive takes the next message.
func (st *stream) receive() (body []byte, packed byte, err error) {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	if st.closed {
		return nil, 0, st.gone()
	}
	if len(st.in) < prefixBytes {
		return nil, 0, st.missingLocked()
	}
	size := sizeOf(st.in)
	if why := st.conn.server.tooLarge(size); why != nil {
		return nil, 0, why.Err()
	}
	end := prefixBytes + int(size)
	if len(st.in) < end {
		return nil, 0, st.missingLocked()
	}
	body, packed = st.in[prefixBytes:end:end], st.in[0]
	if st.in = st.in[end:]; len(st.in) == 0 {
		st.in = nil
	}
	if !st.head.method.many {
		if st.in != nil {
			return nil, 0, status.Error(codes.Internal, "cardinality violation: received more than one request")
		}
		st.taken = true
		return body, packed, nil
	}
	if room := windowBytes - int64(len(st.in)); st.allowed <= room/2 {
		st.allowLocked(room)
	}
	return body, packed, nil
}

// missingLocked says why there is no next message.
func (st *stream) missingLocked() error {
	switch {
	case !st.closedByClient:
		return errNotYet
	case len(st.in) > 0:
		return status.Error(codes.Internal, io.ErrUnexpectedEOF.Error())
	case !st.head.method.many && !st.taken:
		return status.Error(codes.Internal, "cardinality violation: received no request")
	}
	return io.EOF
}

// SetHeader implements grpc.ServerStream.
func (st *stream) SetHeader(md metadata.MD) error {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	if st.headSent {
		return status.Error(codes.Internal, "the header was sent already")
	}
	st.header = metadata.Join(st.header, md)
	return nil
}

// SendHeader implements grpc.ServerStream.
func (st *stream) SendHeader(md metadata.MD) error {
	if err := st.SetHeader(md); err != nil {
		return err
	}
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	if st.closed {
		return st.gone()
	}
	st.headLocked()
	signal(st.conn.wake)
	return nil
}

// SetTrailer implements grpc.ServerStream.
func (st *stream) SetTrailer(md metadata.MD) {
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	st.trailer = metadata.Join(st.trailer, md)
}

// call is a stream as a grpc.ServerTransportStream, which handlers of one message find in their context.
type call stream

// Method implements grpc.ServerTransportStream.
func (t *call) Method() string { return t.head.method.path }

// SetHeader implements grpc.ServerTransportStream.
func (t *call) SetHeader(md metadata.MD) error { return (*stream)(t).SetHeader(md) }

// SendHeader implements grpc.ServerTransportStream.
func (t *call) SendHeader(md metadata.MD) error { return (*stream)(t).SendHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (t *call) SetTrailer(md metadata.MD) error {
	(*stream)(t).SetTrailer(md)
	return nil
}
