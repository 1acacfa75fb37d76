package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// acceptor is the receiving side: who may come in, and what of whom is open.
type acceptor struct {
	t          *Transport
	server     *tls.Config
	handshakes *handshakes

	mu      sync.Mutex
	inbound map[inboundKey]*inbound
}

// serveListener accepts until ctx is done (nil) or the listener was closed by somebody else.
func (a *acceptor) serveListener(ctx context.Context) error {
	pause := backoff{max: a.t.options.BackoffMax}
	for {
		raw, err := a.t.options.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return wrap("accept peers", err)
		}
		if err != nil {
			// Most likely no file descriptor is free. That passes.
			if a.t.lines.allow("accept") {
				a.t.log.Warn("peer listener cannot accept, trying on", slog.Any("reason", err))
			}
			pause.wait(ctx, nil)
			continue
		}
		pause = backoff{max: a.t.options.BackoffMax}
		if tcp, ok := raw.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(keepAlive())
		}
		a.handshakes.begin(raw)
		a.t.runGo(ctx, "transport.link", func(ctx context.Context) { a.serveConn(ctx, raw) })
	}
}

// handshakes bounds the connections that have not said who they are, by closing the oldest.
type handshakes struct {
	limit int

	mu      sync.Mutex
	pending []net.Conn // oldest first
}

func newHandshakes(limit int) *handshakes {
	return &handshakes{limit: limit}
}

func (h *handshakes) begin(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) >= h.limit {
		_ = h.pending[0].Close()
		h.pending = slices.Delete(h.pending, 0, 1)
	}
	h.pending = append(h.pending, conn)
}

func (h *handshakes) end(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.pending, conn); i >= 0 {
		h.pending = slices.Delete(h.pending, i, i+1)
	}
}

// inboundKey names a place that one accepted connection at a time may hold.
type inboundKey struct {
	from uint64
	kind linkKind
}

// inbound is an accepted connection that holds its place.
type inbound struct {
	incarnation, attempt uint64
	end                  context.CancelFunc
	// ended is closed when nothing more of this connection will reach the handler.
	ended chan struct{}
}

// claim gives the place to in. It returns the holder that must end first, or false if the
// holder is the newer connection of the same process.
func (a *acceptor) claim(key inboundKey, in *inbound) (before *inbound, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.inbound[key]
	if before != nil && before.incarnation == in.incarnation && before.attempt > in.attempt {
		return nil, false
	}
	a.inbound[key] = in
	return before, true
}

func (a *acceptor) release(key inboundKey, in *inbound) {
	a.mu.Lock()
	if a.inbound[key] == in {
		delete(a.inbound, key)
	}
	a.mu.Unlock()
	close(in.ended)
}

// endPeer ends what a removed member has open.
func (a *acceptor) endPeer(from uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, kind := range []linkKind{linkFrames, linkSnapshot} {
		if in := a.inbound[inboundKey{from, kind}]; in != nil {
			in.end()
		}
	}
}

// receiving says whether a link for frames from this member is open.
func (a *acceptor) receiving(from uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inbound[inboundKey{from, linkFrames}] != nil
}

// supersede ends before and waits until nothing more of it reaches the handler.
func (a *acceptor) supersede(before, in *inbound, from uint64) {
	member := strconv.FormatUint(from, 16)
	if before.incarnation != in.incarnation && a.t.lines.allow("incarnation "+member) {
		a.t.log.Info("peer has restarted, or two processes use its identity", slog.String("member", member))
	}
	before.end()
	<-before.ended
}

// serveConn carries out the handshake and then serves what the connection is for.
func (a *acceptor) serveConn(ctx context.Context, raw net.Conn) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer guard(ctx, raw)()
	defer a.handshakes.end(raw)
	conn, h, err := a.receiveHello(ctx, raw)
	if err != nil {
		a.logRefused(raw, h, err)
		return
	}
	if h.kind == linkJoin {
		a.serveJoin(conn, &h)
		return
	}
	key := inboundKey{h.from, h.kind}
	in := &inbound{incarnation: h.incarnation, attempt: h.attempt, end: end, ended: make(chan struct{})}
	before, ok := a.claim(key, in)
	if !ok {
		_ = a.answer(conn, refusedStale)
		return
	}
	defer a.release(key, in)
	if before != nil {
		a.supersede(before, in, h.from)
	}
	if err := a.welcome(&h); err != nil {
		// The member was removed between the judgement and the claim.
		_ = a.answer(conn, verdictOf(err))
		return
	}
	// The answer comes last: once the caller has it, its frames have the way free.
	if err := a.answer(conn, accepted); err != nil {
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	a.handshakes.end(raw)
	if p := a.t.peer(h.from); p != nil {
		p.feature.Store(h.feature)
		signal(p.redial) // it is alive, so our own dialing may succeed
	}
	if h.kind == linkSnapshot {
		a.serveSnapshot(conn, h.from)
		return
	}
	a.serveFrames(ctx, conn, h.from)
}

// errRefused marks a caller that was answered with a refusal; the refusal is in the text.
var errRefused = errors.New("caller refused")

// receiveHello is the accepting side of the handshake up to the answer, which it gives only
// when it refuses.
func (a *acceptor) receiveHello(ctx context.Context, raw net.Conn) (net.Conn, hello, error) {
	if err := raw.SetDeadline(time.Now().Add(a.t.options.HandshakeTimeout)); err != nil {
		return nil, hello{}, err
	}
	conn := raw
	if a.server != nil {
		secure := tls.Server(raw, a.server)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, hello{}, err
		}
		conn = secure
	}
	h, verdict, err := readHello(conn)
	if err != nil {
		return nil, h, err
	}
	detail := ""
	if verdict == accepted {
		verdict, detail, err = a.judge(conn, &h)
		if err != nil {
			return nil, h, err
		}
	}
	if verdict == accepted {
		return conn, h, nil
	}
	if a.answer(conn, verdict) == nil {
		linger(conn)
	}
	if detail != "" {
		return nil, h, fmt.Errorf("%w: %v: %s", errRefused, verdict, detail)
	}
	return nil, h, fmt.Errorf("%w: %v", errRefused, verdict)
}

// judge decides about a well-formed hello. detail adds to the refusal for our own log.
func (a *acceptor) judge(conn net.Conn, h *hello) (verdict refusal, detail string, err error) {
	own := a.t.options.Identity
	if h.kind == linkJoin {
		return accepted, "", h.readURLs(conn)
	}
	switch {
	case h.cluster != own.ClusterID:
		return refusedCluster, "", nil
	case h.to != own.MemberID:
		return refusedTarget, "", nil
	case h.from == own.MemberID:
		return refusedSelf, "", nil
	}
	if err := h.readURLs(conn); err != nil {
		return accepted, "", err
	}
	p := a.t.peer(h.from)
	hosts := hostsOf(h.urls)
	if p != nil {
		// A known member's addresses come from the membership, not from its own word.
		hosts = p.hosts()
	}
	if err := a.t.verifyPeer(conn, h.from, hosts); err != nil {
		return refusedCertificate, err.Error(), nil
	}
	if err := a.welcome(h); err != nil {
		return verdictOf(err), err.Error(), nil
	}
	return accepted, "", nil
}

var errNotPeer = errors.New("not in the membership that this member knows")

// welcome says whether the caller may have a link: whom Admit lets in, or without it the peers.
func (a *acceptor) welcome(h *hello) error {
	known := a.t.peer(h.from) != nil
	switch {
	case a.t.options.Admit != nil:
		return a.t.options.Admit(Caller{
			ID: h.from, Known: known, URLs: h.urls, Directory: h.directory, Starts: h.starts, Feature: h.feature,
		})
	case !known:
		return errNotPeer
	}
	return nil
}

func (a *acceptor) answer(conn net.Conn, verdict refusal) error {
	said := answer{
		verdict:     verdict,
		version:     versionNewest,
		cluster:     a.t.options.Identity.ClusterID,
		member:      a.t.options.Identity.MemberID,
		incarnation: a.t.incarnation,
		feature:     a.t.options.Feature,
	}
	_, err := conn.Write(said.encode())
	return err
}

// lingerBytesMax and lingerTime bound what is read from a caller that was refused.
const (
	lingerBytesMax = 1 << 20
	lingerTime     = time.Second
)

// linger lets a refusal reach its reader. Closing a connection with unread bytes in it sends a
// reset, which overtakes what was written before.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, conn, lingerBytesMax)
	}
}

// logRefused writes the line about a handshake that failed on this side.
func (a *acceptor) logRefused(raw net.Conn, h hello, err error) {
	address := raw.RemoteAddr().String()
	host, _, splitErr := net.SplitHostPort(address)
	if splitErr != nil {
		host = address
	}
	if !a.t.lines.allow("caller " + host + " " + strconv.FormatUint(h.from, 16)) {
		return
	}
	a.t.log.Warn("peer connection refused",
		slog.String("address", address),
		slog.String("claims_member", strconv.FormatUint(h.from, 16)),
		slog.String("claims_cluster", strconv.FormatUint(h.cluster, 16)),
		slog.String("wants_member", strconv.FormatUint(h.to, 16)),
		slog.Any("reason", err))
}

// serveFrames delivers frames and answers pings until the link ends.
func (a *acceptor) serveFrames(ctx context.Context, conn net.Conn, from uint64) {
	timed := &timedConn{Conn: conn, idle: a.t.options.LinkTimeout}
	in := bufio.NewReaderSize(timed, chunkBytes)
	member := slog.String("member", strconv.FormatUint(from, 16))
	a.t.log.Debug("link from peer is up", member)
	p := a.t.peer(from)
	for {
		frame, err := readFrame(in, FrameBytesMax)
		if err == nil && frame == nil {
			err = writeFrameNow(timed, nil)
		}
		if err != nil {
			if p != nil && ctx.Err() == nil {
				p.linksBroken.Add(1)
			}
			a.logLinkEnd(member, err)
			return
		}
		if frame != nil {
			if p != nil {
				p.bytesReceived.Add(uint64(len(frame) + frameHeaderBytes))
			}
			a.t.options.Handler.Receive(from, frame)
		}
	}
}

// logLinkEnd tells damage, which somebody must look at, from the usual ends of a link.
func (a *acceptor) logLinkEnd(member slog.Attr, err error) {
	damaged := errors.Is(err, errFrameSize) || errors.Is(err, errFrameChecksum)
	if damaged && a.t.lines.allow("damage "+member.Value.String()) {
		a.t.log.Error("link from peer ended: damaged in transit", member, slog.Any("reason", err))
		return
	}
	a.t.log.Debug("link from peer ended", member, slog.Any("reason", err))
}
