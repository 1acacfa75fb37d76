package transport

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// frameOverheadBytes is what a queued frame costs beside its bytes, so that the bound on
	// bytes bounds the number of frames, too.
	frameOverheadBytes = 64
	// backoffMin is the first pause after a failed attempt to dial.
	backoffMin = 50 * time.Millisecond
)

// peer is the sending side towards one member.
//
// The queue is two slices that change places: callers of enqueue fill one while the
// goroutine of the peer writes the other. queuedBytes counts both, so that a slow write
// shows as a full queue and not as memory.
type peer struct {
	id uint64
	// wake says that frames were queued, redial that dialing may succeed now, jobs that a
	// snapshot waits. Each has room for one token.
	wake, redial, jobs chan struct{}
	// stop ends the peer's goroutines; nil until they are started. Written under Transport.mu
	// while the peer is in the table, read by who took it out.
	stop context.CancelFunc

	queuedBytes   atomic.Int64
	roundTripNS   atomic.Int64
	framesSent    atomic.Uint64
	bytesSent     atomic.Uint64
	framesDropped atomic.Uint64
	bytesReceived atomic.Uint64
	linksLost     atomic.Uint64
	linksBroken   atomic.Uint64
	feature       atomic.Uint64
	// roundTrips takes the seconds of each ping; set before the peer is started.
	roundTrips observer

	mu        sync.Mutex
	addresses []string
	// next counts dial attempts, so that each takes the next address.
	next int
	// current is the address that was dialed last with success.
	current string
	frames  [][]byte
	linked  bool
	since   time.Time
	// endLink ends the current link with a reason; nil without one.
	endLink context.CancelCauseFunc
	// job is the snapshot that waits; busy says that one waits or is being sent.
	job    *snapshotJob
	busy   bool
	closed bool
}

// observer takes measurements.
type observer interface{ Observe(seconds float64) }

func newPeer(id uint64, addresses []string) *peer {
	return &peer{
		id:        id,
		wake:      make(chan struct{}, 1),
		redial:    make(chan struct{}, 1),
		jobs:      make(chan struct{}, 1),
		addresses: slices.Clone(addresses),
		since:     time.Now(),
	}
}

// enqueue takes a frame if there is a link and room.
func (p *peer) enqueue(frame []byte, queueBytes int) bool {
	cost := int64(len(frame) + frameOverheadBytes)
	p.mu.Lock()
	waiting := p.queuedBytes.Load()
	ok := p.linked && (waiting == 0 || waiting+cost <= int64(queueBytes))
	if ok {
		p.queuedBytes.Add(cost)
		p.frames = append(p.frames, frame)
	}
	p.mu.Unlock()
	if !ok {
		p.framesDropped.Add(1)
		return false
	}
	signal(p.wake)
	return true
}

// take gives all queued frames and leaves spare as the empty queue.
func (p *peer) take(spare [][]byte) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := p.frames
	p.frames = spare[:0]
	return batch
}

// written gives back the room of one frame that is in the socket, or lost with it.
func (p *peer) written(frame []byte) {
	p.queuedBytes.Add(-int64(len(frame) + frameOverheadBytes))
}

// up opens the queue. end ends the link that begins.
func (p *peer) up(end context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linked, p.since, p.endLink = true, time.Now(), end
	// An earlier wish to redial is fulfilled.
	select {
	case <-p.redial:
	default:
	}
}

// down closes the queue and drops what is in it. It returns how long the link lived.
func (p *peer) down() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	lived := now.Sub(p.since)
	for _, frame := range p.frames {
		p.written(frame)
	}
	p.framesDropped.Add(uint64(len(p.frames)))
	p.frames, p.linked, p.since, p.endLink = nil, false, now, nil
	return lived
}

func (p *peer) nextAddress() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.addresses) == 0 {
		return ""
	}
	p.next++
	return p.addresses[(p.next-1)%len(p.addresses)]
}

// dialed notes an address that worked: the next attempt begins there.
func (p *peer) dialed(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = address
	p.next = max(slices.Index(p.addresses, address), 0)
}

func (p *peer) update(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addresses = slices.Clone(addresses)
	p.next = 0
	if p.endLink != nil && !slices.Contains(addresses, p.current) {
		p.endLink(errAddressGone)
	}
	signal(p.redial)
}

// has tells whether these are the addresses already.
func (p *peer) has(addresses []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Equal(p.addresses, addresses)
}

// refusedSuffix makes refusals a subject of their own in the log: the reason must not be
// hidden by an earlier line about a lost link.
const refusedSuffix = " refused"

// subject names p to the line limit.
func (p *peer) subject() string { return "peer " + strconv.FormatUint(p.id, 16) }

func (p *peer) hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return hostsOf(p.addresses)
}

func (p *peer) status() PeerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PeerStatus{
		ID:            p.id,
		Addresses:     slices.Clone(p.addresses),
		Linked:        p.linked,
		Since:         p.since,
		RoundTrip:     time.Duration(p.roundTripNS.Load()),
		QueuedBytes:   p.queuedBytes.Load(),
		FramesSent:    p.framesSent.Load(),
		BytesSent:     p.bytesSent.Load(),
		FramesDropped: p.framesDropped.Load(),
		BytesReceived: p.bytesReceived.Load(),
		LinksLost:     p.linksLost.Load(),
		LinksBroken:   p.linksBroken.Load(),
		Feature:       p.feature.Load(),
	}
}

// errAddressGone says why a healthy link was ended.
var errAddressGone = errors.New("the address is no longer among the peer URLs")

// runPeer keeps a link to p up until ctx is done.
func (t *Transport) runPeer(ctx context.Context, p *peer) {
	pause := backoff{max: t.options.BackoffMax}
	subject := p.subject()
	for ctx.Err() == nil {
		lived, err := t.runLink(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			t.reports.hasEnded(p.id)
		}
		if lived >= t.options.BackoffMax {
			pause = backoff{max: t.options.BackoffMax}
		}
		line := subject
		var refused *RefusedError
		if errors.As(err, &refused) {
			pause.longest()
			line += refusedSuffix
			if t.options.Expelled != nil && refused.cluster == t.options.Identity.ClusterID && refused.Unwrap() != nil {
				t.options.Expelled(err)
			}
		}
		if t.lines.allow(line) {
			t.log.Warn("no link to peer", slog.String("member", strconv.FormatUint(p.id, 16)), slog.Any("reason", err))
		}
		pause.wait(ctx, p.redial)
	}
}

// backoff is the pause between attempts to dial: it doubles up to max, and chance halves it at
// most, so that members that lost each other at once do not come back at once.
type backoff struct {
	max  time.Duration
	next time.Duration
}

func (b *backoff) longest() { b.next = b.max }

// wait pauses. A token in hurry shortens the pause to the first step, which remains even so:
// two sides whose links keep failing would wake each other without end.
func (b *backoff) wait(ctx context.Context, hurry <-chan struct{}) {
	b.next = min(max(b.next, backoffMin), b.max)
	first := time.NewTimer(jitter(min(backoffMin, b.max)))
	defer first.Stop()
	whole := time.NewTimer(jitter(b.next))
	defer whole.Stop()
	b.next *= 2
	select {
	case <-first.C:
	case <-ctx.Done():
		return
	}
	select {
	case <-whole.C:
	case <-hurry:
	case <-ctx.Done():
	}
}

// jitter gives between half and the whole of d.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// runLink dials p and writes frames until the link fails or ctx is done. lived is 0 if there
// was no link at all.
func (t *Transport) runLink(ctx context.Context, p *peer) (lived time.Duration, err error) {
	linkCtx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, release, err := t.dial(linkCtx, p, linkFrames)
	if err != nil {
		return 0, err
	}
	timed := &timedConn{Conn: conn, idle: t.options.LinkTimeout, writesProveLife: true}
	p.up(end)
	t.lines.reset(p.subject())
	t.lines.reset(p.subject() + refusedSuffix)
	t.log.Info("link to peer is up", slog.String("member", strconv.FormatUint(p.id, 16)), slog.String("address", conn.RemoteAddr().String()))
	pongs := &pongReader{conn: timed, peer: p, ended: make(chan struct{})}
	t.runGo(linkCtx, "transport.pongs", func(context.Context) {
		end(pongs.run())
	})
	err = (&linkWriter{conn: timed, peer: p, pongs: pongs, pingInterval: t.options.PingInterval}).run(linkCtx)
	lived = p.down()
	if ctx.Err() == nil {
		p.linksLost.Add(1)
	}
	if cause := context.Cause(linkCtx); cause != nil {
		err = cause // a write that fails then only follows from it
	}
	release()
	<-pongs.ended
	// Whatever was in the socket may be lost.
	t.reports.dropped(p.id)
	return lived, wrap("use link", err)
}

// pongReader reads the answers to pings, the only traffic in this direction.
type pongReader struct {
	conn net.Conn
	peer *peer
	// pingedNS is when the oldest unanswered ping was written, in Unix nanoseconds; 0 if none is
	// unanswered.
	pingedNS atomic.Int64
	ended    chan struct{}
}

// run reads until the link fails, and says why.
func (r *pongReader) run() error {
	defer close(r.ended)
	in := bufio.NewReaderSize(r.conn, 512)
	for {
		if _, err := readFrame(in, 0); err != nil {
			return err
		}
		if at := r.pingedNS.Swap(0); at != 0 {
			trip := max(time.Now().UnixNano()-at, 1)
			r.peer.roundTripNS.Store(trip)
			r.peer.roundTrips.Observe(time.Duration(trip).Seconds())
		}
	}
}

// linkWriter writes the queue of a peer to one link. Many frames that gathered leave in one
// write.
type linkWriter struct {
	conn         net.Conn
	peer         *peer
	pongs        *pongReader
	pingInterval time.Duration
}

// run writes until an error or until ctx is done, which gives nil.
func (w *linkWriter) run(ctx context.Context) error {
	out := bufio.NewWriterSize(w.conn, chunkBytes)
	ping := time.NewTicker(w.pingInterval)
	defer ping.Stop()
	var spare [][]byte
	for {
		batch := w.peer.take(spare)
		if err := w.writeBatch(out, batch); err != nil {
			return err
		}
		spare = batch
		select {
		case <-ping.C:
			if err := w.ping(out); err != nil {
				return err
			}
		default:
		}
		if len(batch) > 0 {
			continue // more may have gathered; the buffer goes out when it is full
		}
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case <-w.peer.wake:
		case <-ping.C:
			if err := w.ping(out); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// writeBatch writes all frames of batch and lets go of them. After an error those not
// written are counted as dropped.
func (w *linkWriter) writeBatch(out *bufio.Writer, batch [][]byte) error {
	var failed error
	for i, frame := range batch {
		if failed == nil {
			failed = writeFrame(out, frame)
		}
		if failed == nil {
			w.peer.framesSent.Add(1)
			w.peer.bytesSent.Add(uint64(len(frame) + frameHeaderBytes))
		} else {
			w.peer.framesDropped.Add(1)
		}
		w.peer.written(frame)
		batch[i] = nil
	}
	return failed
}

func (w *linkWriter) ping(out *bufio.Writer) error {
	w.pongs.pingedNS.CompareAndSwap(0, time.Now().UnixNano())
	return writeFrame(out, nil)
}
