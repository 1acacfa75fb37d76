// Package transport carries opaque frames and snapshot streams between the members of one
// cluster, over TCP, in clear or under mutual TLS.
//
// # Idea
//
// Every member dials every other one and sends on the connection that it dialed; what it
// receives comes on connections that it accepted. So each direction has one owner, and a
// member that can send but not hear shows as exactly that. A snapshot has a connection of
// its own, so that heartbeats never stand behind it.
//
// # What holds
//
//   - Send never blocks. A frame waits in its peer's bounded queue or is dropped, and a drop
//     is reported. A slow or absent peer delays nobody else.
//   - Nothing is sent twice. What was under way when a link broke may or may not have
//     arrived; the layers above know how to ask again.
//   - Frames of one process arrive in the order in which it sent them, possibly with gaps,
//     one at a time: a new link from a peer delivers only after the old one has ended.
//   - A connection is judged (protocol, cluster, target, sender, certificate) before anything
//     else that it carries is decoded. Every length is checked before memory is taken for it.
//   - A link on which nothing moves is found by pings and ended.
//
// # Why not simpler
//
// One connection for both directions would halve the sockets, but both sides dial at the same
// time, and the rule that picks a winner costs more than the socket. HTTP would bring
// multiplexing that stands in the way of the third promise.
package transport

import (
	"context"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// Identity says who this member is. Neither number is zero.
type Identity struct {
	ClusterID, MemberID uint64
}

// Handler takes what the links bring. Its methods are called from the goroutines of the
// links; all but ReceiveSnapshot must return soon and must not wait for a Transport method
// that the same goroutine would have to serve.
type Handler interface {
	// Receive takes one frame, and owns it from then on. Frames of one peer come one at a
	// time and in order; those of different peers come at once.
	Receive(from uint64, frame []byte)
	// Unreachable says that one or more frames to this peer were dropped, or may have been
	// lost with a link. One call may stand for many frames.
	Unreachable(to uint64)
	// Ended says that a peer's machine answers and nobody listens there: the peer's process has ended.
	Ended(peer uint64)
	// SnapshotSent ends every SendSnapshot exactly once; ok says that the peer stored it.
	SnapshotSent(to uint64, ok bool)
	// ReceiveSnapshot takes a snapshot stream and may take as long as it needs. It returns nil
	// only after it has read body to io.EOF, which comes only when all bytes arrived intact,
	// and has stored it; an error refuses the snapshot and its text is shown to the sender.
	// A second call for the same peer comes only after the first has returned.
	ReceiveSnapshot(from uint64, header []byte, body io.Reader) error
}

// Caller is a member that wants a link.
type Caller struct {
	ID uint64
	// Known says that it is among the peers.
	Known bool
	// URLs are its own peer URLs, as it says.
	URLs []string
	// Directory, Starts and Feature are those of its Options.
	Directory, Starts, Feature uint64
}

// Options says how a Transport works. Identity, Listener, Handler and Logger must be set;
// a zero in the other fields takes the default that its comment names.
type Options struct {
	Identity Identity
	// Listener accepts the peers' connections; Run closes it. It is a plain one: TLS is put on
	// top here.
	Listener net.Listener
	// Peers are the other members' addresses by member id, as host:port or as http:// and
	// https:// URLs. The own id is ignored.
	Peers map[uint64][]string
	// AdvertiseURLs are the own peer URLs, told to peers that do not know this member yet. At
	// most 4 KiB in all.
	AdvertiseURLs []string
	// TLS holds certificate and roots for both directions; nil sends in clear. Client
	// certificates are always asked for, and the lowest version is TLS 1.3 unless set.
	TLS *tls.Config
	// VerifyPeer judges a peer's certificate after its chain was verified. Nil demands that the
	// certificate names the member (URI okapi://member/ID in hex) or, if it names none, that it
	// is valid for one of the hosts of the member's peer URLs.
	VerifyPeer func(member uint64, hosts []string, leaf *x509.Certificate) error
	// Directory and Starts say which data directory this member has, and how often it was started from it; Feature is the highest
	// feature level that it understands. The peers are told all three.
	Directory, Starts, Feature uint64
	// Admit decides about every caller, known or not, maybe more than once: nil admits it, an error refuses
	// it. It may call AddPeer, and may take as long as the disk does. Without Admit the peers are admitted and all others refused. A member that
	// was away while others were replaced is reached only through Admit.
	Admit func(c Caller) error
	// Join finds the id of the member that was added under these peer URLs and asks for it because it has not
	// started yet; its error is told to the one who asks. Without Join nobody is told.
	Join    func(urls []string) (member uint64, err error)
	Handler Handler
	// Expelled is told, maybe more than once, that a peer has refused this member for good: ErrRemoved, ErrDirectory or
	// ErrFeature is wrapped in the reason. It must return soon. Nil tells nobody.
	Expelled func(reason error)
	Logger   *slog.Logger
	// Metrics takes the round trips of pings; nil takes them nowhere.
	Metrics *telemetry.Metrics
	// Dial opens a connection; nil dials TCP with keep-alives.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// QueueBytes bounds the frames that wait for one peer (32 MiB). A frame larger than that
	// is still taken when nothing else waits.
	QueueBytes int
	// SnapshotBytesPerSecond bounds each snapshot stream; 0 does not. At least 64 KiB/s.
	SnapshotBytesPerSecond int
	// SnapshotsMax bounds the snapshots that are sent at once to all peers (2); others wait.
	SnapshotsMax int
	// HandshakesMax bounds the accepted connections whose handshake is under way (64). When
	// more come, the oldest is closed: a peer needs milliseconds, who stalls must give way.
	HandshakesMax int

	DialTimeout      time.Duration // for the TCP connection (2 s)
	HandshakeTimeout time.Duration // for TLS, hello and answer together (5 s)
	PingInterval     time.Duration // between pings on a link (1 s)
	LinkTimeout      time.Duration // without any progress, after which a link is dead (5 s)
	BackoffMax       time.Duration // between two attempts to dial (1 s)
	SnapshotTimeout  time.Duration // without any progress in a snapshot stream (30 s)
	VerdictTimeout   time.Duration // for the receiver to store a snapshot that it has whole (10 min)
}

func (o *Options) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.DialTimeout, 2 * time.Second},
		{&o.HandshakeTimeout, 5 * time.Second},
		{&o.PingInterval, time.Second},
		{&o.LinkTimeout, 5 * time.Second},
		{&o.BackoffMax, time.Second},
		{&o.SnapshotTimeout, 30 * time.Second},
		{&o.VerdictTimeout, 10 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, n := range []struct {
		field *int
		value int
	}{
		{&o.QueueBytes, 32 << 20},
		{&o.SnapshotsMax, 2},
		{&o.HandshakesMax, 64},
	} {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if o.SnapshotBytesPerSecond > 0 {
		o.SnapshotBytesPerSecond = max(o.SnapshotBytesPerSecond, chunkBytes)
	}
	if o.Dial == nil {
		// The keep-alives matter only while a sender waits for the verdict on a snapshot, when
		// no byte moves; frame links have pings.
		dialer := &net.Dialer{KeepAliveConfig: keepAlive()}
		o.Dial = dialer.DialContext
	}
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// Transport is this member's end of all links. Its methods are safe for concurrent use.
type Transport struct {
	options     Options
	urls        string // AdvertiseURLs as a hello carries them
	client      *tls.Config
	acceptor    acceptor
	incarnation uint64
	attempts    atomic.Uint64
	log         *slog.Logger
	lines       *lineLimit
	reports     *reports
	// sendSlots holds one token for each snapshot that is being sent.
	sendSlots chan struct{}
	// changed wakes Run when a peer was added.
	changed chan struct{}
	running sync.WaitGroup

	// mu guards what follows. Lock order: Transport.mu, then peer.mu or acceptor.mu.
	mu      sync.RWMutex
	peers   map[uint64]*peer
	stopped bool
}

// New makes a Transport; nothing happens before Run, but frames are dropped and snapshots
// wait from now on.
func New(options Options) *Transport {
	invariant.Assert(options.Identity.ClusterID != 0 && options.Identity.MemberID != 0, "a member has an identity")
	if options.Metrics == nil {
		options.Metrics = telemetry.NewMetrics(telemetry.About{MemberID: options.Identity.MemberID})
	}
	invariant.Assert(options.Listener != nil && options.Handler != nil && options.Logger != nil, "a transport has a listener, a handler and a logger")
	options.setDefaults()
	t := &Transport{
		options:     options,
		urls:        joinURLs(options.AdvertiseURLs),
		incarnation: drawIncarnation(),
		log:         options.Logger,
		lines:       newLineLimit(),
		reports:     newReports(),
		sendSlots:   make(chan struct{}, options.SnapshotsMax),
		changed:     make(chan struct{}, 1),
		peers:       make(map[uint64]*peer),
	}
	t.acceptor = acceptor{t: t, handshakes: newHandshakes(options.HandshakesMax), inbound: make(map[inboundKey]*inbound)}
	if options.TLS != nil {
		t.acceptor.server, t.client = mutualTLS(options.TLS)
	}
	for id, addresses := range options.Peers {
		t.AddPeer(id, addresses)
	}
	return t
}

func drawIncarnation() uint64 {
	var b [8]byte
	// crypto/rand.Read never returns an error.
	_, _ = cryptorand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// Run accepts and dials until ctx is done, then ends every link and returns nil once all
// goroutines have ended and every report was delivered. It returns an error if the listener
// fails for good. It is called once.
func (t *Transport) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	release := guard(ctx, t.options.Listener)
	var listenErr error
	t.runGo(ctx, "transport.accept", func(ctx context.Context) {
		listenErr = t.acceptor.serveListener(ctx)
		cancel()
	})
	t.runGo(ctx, "transport.reports", t.runReports)
	t.runPeers(ctx)
	t.stopPeers()
	t.running.Wait()
	release()
	t.reports.deliver(t.options.Handler)
	return listenErr
}

// runGo starts a goroutine that Run waits for. It is called only by goroutines that Run
// waits for, too.
func (t *Transport) runGo(ctx context.Context, name string, f func(ctx context.Context)) {
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		pprof.Do(ctx, pprof.Labels("goroutine", name), f)
	}()
}

// runPeers starts the goroutines of each peer that was added, until ctx is done.
func (t *Transport) runPeers(ctx context.Context) {
	for ctx.Err() == nil {
		t.mu.Lock()
		for _, p := range t.peers { // the order does not matter: peers are independent
			if p.stop != nil {
				continue
			}
			var peerCtx context.Context
			peerCtx, p.stop = context.WithCancel(ctx)
			t.runGo(peerCtx, "transport.peer", func(ctx context.Context) { t.runPeer(ctx, p) })
			t.runGo(peerCtx, "transport.snapshot", func(ctx context.Context) { t.runSnapshots(ctx, p) })
		}
		t.mu.Unlock()
		select {
		case <-t.changed:
		case <-ctx.Done():
		}
	}
}

// stopPeers closes all peers for good.
func (t *Transport) stopPeers() {
	t.mu.Lock()
	t.stopped = true
	left := t.peers
	t.peers = make(map[uint64]*peer)
	t.mu.Unlock()
	for _, p := range left { // the order does not matter: peers are independent
		t.endPeer(p)
	}
}

// endPeer ends a peer that is no longer in the table, where runPeers could have started it. A
// snapshot that had not begun ends here.
func (t *Transport) endPeer(p *peer) {
	if p.stop != nil {
		p.stop()
	}
	if job := p.close(); job != nil {
		_ = job.body.Close()
		t.reports.snapshotFailed(p.id)
	}
}

// AddPeer begins to dial a member and to accept its links. A peer that is known gets the
// addresses as by UpdatePeer; the own id is ignored. The addresses are not kept.
func (t *Transport) AddPeer(id uint64, addresses []string) {
	if id == t.options.Identity.MemberID {
		return
	}
	t.mu.Lock()
	p, known := t.peers[id]
	if !known && !t.stopped {
		p = newPeer(id, addresses)
		p.roundTrips = t.options.Metrics.RoundTrip(id)
		t.peers[id] = p
	}
	t.mu.Unlock()
	if known {
		p.update(addresses)
		return
	}
	signal(t.changed)
}

// RemovePeer ends the links from and to a member and refuses new ones, unless Admit lets it
// in again. It does not wait: a frame that is being received may still be delivered.
func (t *Transport) RemovePeer(id uint64) {
	t.mu.Lock()
	p, known := t.peers[id]
	delete(t.peers, id)
	t.mu.Unlock()
	if known {
		t.endPeer(p)
	}
	// A link that is accepted only now meets the table without the peer.
	t.acceptor.endPeer(id)
}

// SetPeers makes these members the peers, as by AddPeer, UpdatePeer and RemovePeer.
func (t *Transport) SetPeers(peers map[uint64][]string) {
	t.mu.RLock()
	var gone []uint64
	for id := range t.peers { // each by itself
		if _, stays := peers[id]; !stays {
			gone = append(gone, id)
		}
	}
	t.mu.RUnlock()
	for _, id := range gone {
		t.RemovePeer(id)
	}
	for id, addresses := range peers { // each by itself
		if p := t.peer(id); p == nil || !p.has(addresses) {
			t.AddPeer(id, addresses)
		}
	}
}

// UpdatePeer replaces the addresses of a known member; of an unknown one nothing happens. A
// link to an address that is no longer listed is ended and dialed anew.
func (t *Transport) UpdatePeer(id uint64, addresses []string) {
	if p := t.peer(id); p != nil {
		p.update(addresses)
	}
}

func (t *Transport) peer(id uint64) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.peers[id]
}

// Send queues one frame of 1 to FrameBytesMax bytes, which must not be changed afterwards. It
// never blocks. The frame is dropped, and Unreachable called later from another goroutine, if
// the member is unknown, not linked, or its queue is full.
func (t *Transport) Send(to uint64, frame []byte) {
	invariant.Assert(len(frame) > 0 && len(frame) <= FrameBytesMax, "a frame has 1 to FrameBytesMax bytes")
	p := t.peer(to)
	if p == nil || !p.enqueue(frame, t.options.QueueBytes) {
		t.reports.dropped(to)
	}
}

// PeerStatus is what is known about the links with one member at one moment.
type PeerStatus struct {
	ID        uint64
	Addresses []string
	// Linked says that frames can be sent, Since since when this is or is not so.
	Linked bool
	Since  time.Time
	// Feature is the highest feature level that it understands, by its own word at the last handshake; 0 before that.
	Feature uint64
	// Receiving says that a link for frames from this member is open.
	Receiving bool
	// RoundTrip is that of the newest ping answered, queueing included; 0 if none was.
	RoundTrip time.Duration
	// QueuedBytes wait to be written.
	QueuedBytes int64
	// The counters go on over links; dropped frames include those lost in the queue of a
	// broken link.
	FramesSent, BytesSent, FramesDropped uint64
	// BytesReceived are those of frames. LinksLost counts links to the member that ended, LinksBroken those from it,
	// unless we ended them to stop or to put a newer one in their place.
	BytesReceived, LinksLost, LinksBroken uint64
}

// Status describes all peers, by id.
func (t *Transport) Status() []PeerStatus {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]PeerStatus, 0, len(t.peers))
	for id, p := range t.peers { // sorted below
		s := p.status()
		s.Receiving = t.acceptor.receiving(id)
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b PeerStatus) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// guard closes c when ctx is done. The function that it returns ends the guard, closes c and
// leaves no goroutine behind.
func guard(ctx context.Context, c io.Closer) (release func()) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		close(ended)
	})
	return func() {
		if !stop() {
			<-ended
		}
		_ = c.Close()
	}
}

// signal puts a token into a channel of capacity one, unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// errNoAddress says that a peer has no address to dial.
var errNoAddress = errors.New("member has no peer URL")

// wrap adds the place to an error.
func wrap(doing string, err error) error {
	return fmt.Errorf("%s: %w", doing, err)
}
