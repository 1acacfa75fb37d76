package zk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

const (
	// writeBytesMax is how much is given to the socket at once: within one session timeout, a client
	// must take that much.
	writeBytesMax = 64 << 10
	// outKeepBytes is the largest output buffer that is kept for later.
	outKeepBytes = 16 << 10
	// lingerTime and lingerBytes bound what is read from a client after the last answer.
	lingerTime  = time.Second
	lingerBytes = 1 << 20
	// extendPart is the part of a session timeout that goes by before the read deadline is moved.
	extendPart = 16
)

// link connects a conn with its socket. One goroutine reads frames, executes them and, when no
// more have arrived, sends the answers; another one sends answers that become ready while the first
// waits for the client. Whoever comes first sends for both, so what gathers meanwhile leaves
// with one write.
//
// Deadlines of the socket: until the session is there the client has the handshake timeout as a
// whole; then it must complete a frame within each session timeout. The deadline moves only
// with complete frames, so a client that sends single bytes does not hold on.
type link struct {
	conn   *conn
	srv    *services
	socket net.Conn
	input  input

	// number is the place of the connection among all that were admitted, and acceptedAt when it was.
	number     uint64
	acceptedAt time.Time

	// more holds a token if the writer has something to do; closed ends the writer.
	more   chan struct{}
	closed chan struct{}
	close  sync.Once
	// kicked is why the socket was closed from outside; nil if it was not.
	kicked atomic.Pointer[error]

	// Below, everything is guarded by conn.mu.

	// room is signalled when there may be room for another frame, and at the end.
	room sync.Cond
	// sending says that somebody is sending and will look again before it stops.
	sending bool
	// spare is an empty buffer for the next output.
	spare []byte
	// timeout is the session timeout; 0 while there is no session.
	timeout time.Duration
	// answering says that the connection is about a four-letter word.
	answering bool
	// deadlineNS is when reading ends unless something is heard of the client, by services.nowNS.
	deadlineNS int64
	// deadlineSetNS is when the read deadline was set, by services.nowNS.
	deadlineSetNS int64
	// deaf says that the deadline was set for the end and is not to be moved any more.
	deaf bool
}

// newLink returns the link of a socket that has just been accepted.
func newLink(srv *services, socket net.Conn) *link {
	l := &link{srv: srv, socket: socket, input: input{store: srv.inputs}, acceptedAt: srv.clock.Now(), more: make(chan struct{}, 1), closed: make(chan struct{})}
	remote, _ := netip.ParseAddrPort(socket.RemoteAddr().String()) // A pipe has no address.
	l.conn = newConn(srv, remote, l)
	l.room.L = &l.conn.mu
	return l
}

// wake implements owner.
func (l *link) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// kick implements owner. The goroutines find the socket closed.
func (l *link) kick(reason error) {
	l.kicked.CompareAndSwap(nil, &reason)
	_ = l.socket.Close()
}

// because returns why the connection ends when err is what its goroutines met with.
func (l *link) because(err error) error {
	if kicked := l.kicked.Load(); kicked != nil {
		return *kicked
	}
	return err
}

// abort ends the connection at once; what has not been sent is lost. A nil reason leaves the one
// that there is.
func (l *link) abort(reason error) {
	_ = l.socket.Close()
	l.close.Do(func() { close(l.closed) })
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.conn.finish(l.because(reason))
	l.conn.out.buf = nil
	l.room.Broadcast()
}

// drain stops reading and ends the connection when what was read is answered.
func (l *link) drain() {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	if l.conn.phase == phaseServing {
		l.conn.drain(errShutdown)
	} else if l.conn.open() {
		l.conn.finish(errShutdown)
	}
	l.deaf = true
	_ = l.socket.SetReadDeadline(time.Unix(1, 0)) // Long past: the reader wakes up.
	l.room.Broadcast()
	l.wake()
}

// runWriter sends what becomes ready while the reader waits.
func (l *link) runWriter() {
	for {
		select {
		case <-l.more:
			l.flush()
		case <-l.closed:
			return
		}
	}
}

// serveReader reads until the connection is at its end, and then what the client still sends, so
// that the system does not throw away the last answers.
func (l *link) serveReader() {
	err := l.readFrames()
	if err != nil {
		l.abort(err)
		return
	}
	if !l.awaitFinish() {
		return
	}
	if half, ok := l.socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = l.socket.SetReadDeadline(l.srv.clock.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, l.socket, lingerBytes)
	}
}

// readFrames reads and executes frames until the connection takes no more. It returns an error if
// there is no point in answering what has been read.
func (l *link) readFrames() error {
	l.setDeadline(l.srv.limits.handshake)
	if word, err := l.readFirst(); word || err != nil {
		return err
	}
	limit := maxConnectBytes
	for {
		frame, err := l.input.next(limit)
		switch {
		case err != nil:
			return l.endOfInput(err)
		case frame != nil:
			if !l.execute(frame) {
				return nil
			}
			limit = l.srv.limits.frameBytes
		default:
			l.flushBeforeFill()
			if err := l.fill(); err != nil {
				return l.endOfInput(err)
			}
		}
	}
}

// readFirst waits for the first four bytes, which may be a word instead of a length; then it is
// answered and there are no frames.
func (l *link) readFirst() (word bool, err error) {
	for l.input.peek(jute.FrameHeaderBytes) == nil {
		if err := l.fill(); err != nil {
			return false, l.endOfInput(err)
		}
	}
	first := l.input.peek(jute.FrameHeaderBytes)
	if !isWord(first) {
		return false, nil
	}
	l.answerWord(string(first))
	return true, nil
}

// fill waits for input.
func (l *link) fill() error {
	for {
		err := l.input.fill(l.socket)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !l.stillSending() {
			return errSilent
		}
	}
}

// stillSending gives a client that is silent more time while the writer is sending to it: the
// client may be busy taking what it gets, and the write has a deadline of its own.
func (l *link) stillSending() bool {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	if !l.sending || l.deaf || l.timeout == 0 {
		return false
	}
	l.setDeadlineLocked(l.srv.nowNS(), l.timeout)
	return true
}

// endOfInput judges an end of the input: while the connection drains it is to be expected, and
// what was read is still answered.
func (l *link) endOfInput(err error) error {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	if !l.conn.open() {
		return nil
	}
	return fmt.Errorf("read: %w", err)
}

// execute gives a frame to the connection when there is room for it. It reports false if the
// connection takes no more frames.
func (l *link) execute(frame []byte) bool {
	if l.srv.budget.usedUp() {
		l.flush() // What uses it up may be reads of this connection.
		if !l.srv.budget.wait() {
			return false
		}
	}
	c := l.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.hasRoom() && c.open() {
		l.flushLocked()
		if !c.hasRoom() && c.open() {
			l.room.Wait()
		}
	}
	if !c.open() {
		return false
	}
	now := l.srv.nowNS()
	c.receive(frame, now)
	l.extendDeadlineLocked(now)
	return c.open()
}

// awaitFinish waits until everything is answered and sent; false if the connection was aborted.
func (l *link) awaitFinish() bool {
	c := l.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		l.flushLocked()
		select {
		case <-l.closed:
			return false
		default:
		}
		if c.phase == phaseFinished && !l.sending {
			return true
		}
		l.room.Wait()
	}
}

// flush answers what can be answered and sends it, unless somebody else is at it.
func (l *link) flush() {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.flushLocked()
}

// flushBeforeFill is flush for the reader. The client had no chance to be heard while the server
// was sending, so that time does not count.
func (l *link) flushBeforeFill() {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	before := l.srv.nowNS()
	l.flushLocked()
	if now := l.srv.nowNS(); now-before > int64(l.timeout/extendPart) {
		l.extendDeadlineLocked(now)
	}
}

// flushLocked is flush for those who hold conn.mu; it lets go of it while it sends.
func (l *link) flushLocked() {
	if l.sending {
		return // The one who sends looks again before it stops.
	}
	c := l.conn
	l.sending = true
	for {
		now := l.srv.nowNS()
		c.advance(now)
		l.adoptTimeoutLocked(now)
		if len(c.out.buf) == 0 {
			break
		}
		out := c.out.take(l.spare)
		l.spare = nil
		timeout := max(l.timeout, l.srv.limits.handshake)
		c.mu.Unlock()
		err := l.send(out, timeout)
		c.mu.Lock()
		if cap(out) <= outKeepBytes {
			l.spare = out[:0]
		}
		if err != nil {
			c.finish(l.because(err))
			c.out.buf = nil
			_ = l.socket.Close() // The reader may be waiting for the client.
		}
		l.room.Broadcast()
	}
	l.sending = false
	l.room.Broadcast()
	if c.phase == phaseFinished && !l.deaf {
		l.deaf = true
		_ = l.socket.SetReadDeadline(time.Unix(1, 0)) // The reader goes on to the end.
	}
}

// send writes b to the socket.
func (l *link) send(b []byte, timeout time.Duration) error {
	for len(b) > 0 {
		n := min(len(b), writeBytesMax)
		if err := l.socket.SetWriteDeadline(l.srv.clock.Now().Add(timeout)); err != nil {
			return fmt.Errorf("set write deadline: %w", err)
		}
		if _, err := l.socket.Write(b[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// setDeadline sets the first deadline of the socket.
func (l *link) setDeadline(timeout time.Duration) {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.setDeadlineLocked(l.srv.nowNS(), timeout)
}

// adoptTimeoutLocked replaces the deadline of the handshake by that of the session as soon as
// there is a session.
func (l *link) adoptTimeoutLocked(nowNS int64) {
	if timeout := time.Duration(l.conn.timeoutMS) * time.Millisecond; l.timeout != timeout {
		l.timeout = timeout
		l.setDeadlineLocked(nowNS, timeout+timeout/extendPart)
	}
}

// extendDeadlineLocked gives the client another session timeout after a complete frame. Setting a
// deadline costs as much as decoding a request, so it is done only when a part of the timeout
// has gone by; that part is added to the timeout.
func (l *link) extendDeadlineLocked(nowNS int64) {
	part := l.timeout / extendPart
	if l.timeout != 0 && nowNS-l.deadlineSetNS > int64(part) {
		l.setDeadlineLocked(nowNS, l.timeout+part)
	}
}

func (l *link) setDeadlineLocked(nowNS int64, timeout time.Duration) {
	if l.deaf {
		return
	}
	l.deadlineSetNS, l.deadlineNS = nowNS, nowNS+int64(timeout)
	// An error means that the socket is closed, which the next read tells.
	_ = l.socket.SetReadDeadline(l.srv.epoch.Add(time.Duration(nowNS) + timeout))
}
