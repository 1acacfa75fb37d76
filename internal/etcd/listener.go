package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
)

// preface is what every HTTP/2 connection begins with (RFC 9113, 3.4), and so every gRPC
// connection. No HTTP/1 request begins so: "PRI" is reserved.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// front accepts the connections of the client ports and shares them out by the protocol that they
// speak: etcd answers gRPC and HTTP/1 on one port.
//
// A connection is half open from its accept until a server has taken it over. It may stay so for
// the handshake timeout, and their number is bounded: while it is reached nothing is accepted and
// newcomers wait in the kernel's backlog. An honest client speaks at once, so it passes in the
// time of a round trip; silent ones can slow the door down but neither fill memory nor stay.
type front struct {
	grpc, http *handoff
	admission  *admission

	// halfOpen holds a token for each half-open connection; its capacity is their bound.
	halfOpen  chan struct{}
	handshake time.Duration
	clock     clock.Clock
	log       *slog.Logger
}

// runAccept accepts the connections of one port until ctx is done and the listener closed. An
// error means that the port can no longer be served.
func (f *front) runAccept(ctx context.Context, l net.Listener) error {
	var opening sync.WaitGroup
	defer opening.Wait()
	pause := acceptPauseMin
	for f.enter(ctx) {
		conn, err := l.Accept()
		if err == nil {
			pause = acceptPauseMin
			if admitted := f.admission.admit(conn); admitted != nil {
				opening.Go(func() { f.serveHandshake(ctx, admitted) })
			} else {
				f.leave()
			}
			continue
		}
		f.leave()
		if ctx.Err() != nil {
			return nil
		}
		if !transient(err) {
			return fmt.Errorf("accept clients on %s: %w", l.Addr(), err)
		}
		f.log.Warn("accepting a client connection was put off", "address", l.Addr().String(), "error", err)
		f.wait(ctx, pause)
		pause = min(2*pause, acceptPauseMax)
	}
	return nil
}

// The pauses after an accept that found no file descriptor or memory left.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// transient reports whether an accept may well succeed later: it was the other side, or this
// machine had no room at the moment.
func transient(err error) bool {
	for _, errno := range [...]syscall.Errno{
		syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// serveHandshake takes one connection from half open to the server it is for, or closes it.
func (f *front) serveHandshake(ctx context.Context, conn net.Conn) {
	defer f.leave()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	target, ready, err := f.recognise(conn)
	if err != nil {
		f.log.Debug("a connection ended before it spoke", "remote", conn.RemoteAddr().String(), "error", err)
		conn.Close()
		return
	}
	if !stop() || !target.give(ready) {
		conn.Close()
	}
}

// recognise reads as much of a connection as it takes to tell its protocol. It returns the server
// that it is for and the connection with those bytes still to be read.
func (f *front) recognise(conn net.Conn) (*handoff, net.Conn, error) {
	if err := conn.SetReadDeadline(f.clock.Now().Add(f.handshake)); err != nil {
		return nil, nil, fmt.Errorf("limit the handshake: %w", err)
	}
	head, http2, err := sniff(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("read the first bytes: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("lift the limit of the handshake: %w", err)
	}
	if http2 {
		return f.grpc, &sniffed{Conn: conn, head: head}, nil
	}
	return f.http, &sniffed{Conn: conn, head: head}, nil
}

// sniff reads from the start of a connection until it is the preface of HTTP/2 or cannot be. It
// returns what it read, at most the length of the preface.
func sniff(r io.Reader) (head []byte, http2 bool, err error) {
	buffer := make([]byte, len(preface))
	have := 0
	for have < len(buffer) {
		n, err := r.Read(buffer[have:])
		have += n
		if !bytes.HasPrefix([]byte(preface), buffer[:have]) {
			return buffer[:have], false, nil
		}
		if err != nil && have < len(buffer) {
			return nil, false, err
		}
	}
	return buffer, true, nil
}

// enter takes the token of a half-open connection; false if ctx was done before there was one.
func (f *front) enter(ctx context.Context) bool {
	select {
	case f.halfOpen <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave gives a token back.
func (f *front) leave() { <-f.halfOpen }

// wait lets d pass, or less if ctx is done before.
func (f *front) wait(ctx context.Context, d time.Duration) {
	timer := f.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// sniffed is a connection of which some bytes were read already. Reads are those of one goroutine
// at a time, as with any connection.
type sniffed struct {
	net.Conn
	head []byte
}

// Read reads what was sniffed first.
func (s *sniffed) Read(b []byte) (int, error) {
	if len(s.head) == 0 {
		return s.Conn.Read(b)
	}
	n := copy(b, s.head)
	s.head = s.head[n:]
	return n, nil
}

// handoff is the listener of a server behind the front. It holds no connections: give waits until
// the server takes one.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// newHandoff makes a handoff that names addr as its address.
func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give hands a connection to the server; false if it takes none any more.
func (h *handoff) give(conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.closed:
		return false
	}
}

// Accept implements net.Listener.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handoff) Addr() net.Addr { return h.addr }
