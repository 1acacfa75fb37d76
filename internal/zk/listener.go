package zk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/watch"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Options say how a Server serves. Where nothing else is said, 0 stands for the default.
type Options struct {
	// Listeners are where clients come in, at least one; the server closes them.
	Listeners []net.Listener
	// Replica is the member behind the server.
	Replica Replica
	// Publisher tells what is applied there.
	Publisher Publisher
	// MemberNumber is the high byte of the ids of new sessions. Members of one cluster have
	// different ones. 255 is reserved: ZooKeeper marks TTL nodes with it.
	MemberNumber byte
	// Clock tells the time for ids and latencies. Deadlines of sockets are the system's.
	Clock clock.Clock
	// Random is where session passwords come from, in production crypto/rand.Reader.
	Random io.Reader
	// Logger takes what an operator may act on, and at debug the end of each connection.
	Logger *slog.Logger
	// Version and Built stand in the answer to srvr, as "3.9.4-abc" and a time.
	Version string
	Built   time.Time

	// FourLetterWords are the words that are answered; those of DefaultWords by default. AllWords stands for all.
	FourLetterWords []string
	// Host tells four-letter words of the process and its machine. Without one that is left out.
	Host Host
	// LogSyncs is how long it takes to make a batch of commands durable; nil if nobody measures that.
	LogSyncs *telemetry.Summary
	// SuperDigest is user:base64(sha1(user:password)) of who passes every check
	// (zookeeper.DigestAuthenticationProvider.superDigest); empty for nobody.
	SuperDigest string

	// TickTimeMS is the unit of the session timeouts, in milliseconds; 2000 by default.
	TickTimeMS int32
	// SessionTimeoutMinMS and SessionTimeoutMaxMS clamp what clients ask for, in milliseconds; 2 and
	// 20 ticks by default.
	SessionTimeoutMinMS, SessionTimeoutMaxMS int32
	// MaxFrameBytes is the largest request (jute.maxbuffer); 1048575 by default. A larger one
	// ends the connection.
	MaxFrameBytes int
	// MaxConnections bounds the connections of the server, 65536 by default, MaxConnectionsPerIP those
	// from one address (maxClientCnxns), 60 by default and negative for no bound. What is above is
	// closed when accepted.
	MaxConnections, MaxConnectionsPerIP int
	// MaxRequests bounds the unanswered requests of one connection, 1000 by default, MaxRequestBytes
	// their size, 4 MiB by default. MaxReplyBytes is how many bytes of replies may wait to be
	// sent, 1 MiB by default; one reply may go beyond. When a bound is reached the server stops
	// reading the socket.
	MaxRequests, MaxRequestBytes, MaxReplyBytes int
	// MaxEventBytes is how many bytes of events may wait for one connection, 16 MiB by default; what its client
	// lets wait beyond ends the connection.
	MaxEventBytes int
	// MaxWatchesPerConnection bounds the watches of one connection, 1048576 by default, MaxWatches those of all connections,
	// 4194304 by default; one with a long path counts for more, see watch.Limits. A request that would leave one more is
	// refused, and a client that sets its watches again is sent away.
	MaxWatchesPerConnection, MaxWatches int
	// MaxSessions bounds the sessions of the cluster, 1048576 by default: while there are as many, nobody who asks for a new
	// one is let in.
	MaxSessions int
	// MaxServerBytes bounds the size of the unanswered requests of all connections; 256 MiB by default.
	MaxServerBytes int64
	// MaxInputBytes bounds the memory that all connections take together for requests of more than 64 KiB that have not come to
	// their end; 128 MiB by default. The one that would go beyond is closed: if it waited instead, a few hundred clients that
	// never send the end of a request could hold up everybody.
	MaxInputBytes int64
	// HandshakeTimeout is how long a client has for its connect request; 10 s by default.
	HandshakeTimeout time.Duration
	// DrainTimeout is how long Run waits, when it is told to stop, for requests under way to be
	// answered; 5 s by default.
	DrainTimeout time.Duration
}

// Defaults of Options that operators may set.
const (
	DefaultTickTimeMS          = 2000
	DefaultMaxConnections      = 65536
	DefaultMaxConnectionsPerIP = 60
	DefaultMaxFrameBytes       = jute.DefaultMaxFrameBytes

	DefaultMaxWatchesPerConnection = 1 << 20
	DefaultMaxWatches              = 4 << 20
	DefaultMaxSessions             = 1 << 20
)

// The other defaults.
const (
	defaultMaxRequests      = 1000
	defaultMaxRequestBytes  = 4 << 20
	defaultMaxReplyBytes    = 1 << 20
	defaultMaxEventBytes    = 16 << 20
	defaultMaxServerBytes   = 256 << 20
	defaultMaxInputBytes    = 128 << 20
	defaultHandshakeTimeout = 10 * time.Second
	defaultDrainTimeout     = 5 * time.Second
	defaultVersion          = "3.9.4-okapi"
)

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	setDefault(&o.TickTimeMS, DefaultTickTimeMS)
	setDefault(&o.SessionTimeoutMinMS, 2*o.TickTimeMS)
	setDefault(&o.SessionTimeoutMaxMS, 20*o.TickTimeMS)
	setDefault(&o.MaxFrameBytes, DefaultMaxFrameBytes)
	setDefault(&o.MaxConnections, DefaultMaxConnections)
	setDefault(&o.MaxConnectionsPerIP, DefaultMaxConnectionsPerIP)
	setDefault(&o.MaxRequests, defaultMaxRequests)
	setDefault(&o.MaxRequestBytes, defaultMaxRequestBytes)
	setDefault(&o.MaxReplyBytes, defaultMaxReplyBytes)
	setDefault(&o.MaxEventBytes, defaultMaxEventBytes)
	setDefault(&o.MaxWatchesPerConnection, DefaultMaxWatchesPerConnection)
	setDefault(&o.MaxWatches, DefaultMaxWatches)
	setDefault(&o.MaxSessions, DefaultMaxSessions)
	setDefault(&o.MaxServerBytes, defaultMaxServerBytes)
	setDefault(&o.MaxInputBytes, defaultMaxInputBytes)
	setDefault(&o.HandshakeTimeout, defaultHandshakeTimeout)
	setDefault(&o.DrainTimeout, defaultDrainTimeout)
	setDefault(&o.Version, defaultVersion)
	setDefault(&o.Host, Host(noHost{}))
	if o.FourLetterWords == nil {
		o.FourLetterWords = DefaultWords()
	}
	return o
}

// setDefault sets v unless it is set.
func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// services is what the connections of a server share. It is not changed after New, apart from
// what guards itself.
type services struct {
	replica  Replica
	ids      *sessionIDs
	random   io.Reader
	clock    clock.Clock
	limits   limits
	budget   *budget
	inputs   *store
	syncs    *syncs
	notifier *notifier
	sessions sessions
	stats    stats
	// links returns the open connections.
	links func() []*link
	// words are those of the whitelist; turns has room for those who make large answers.
	words    map[string]bool
	turns    chan struct{}
	host     Host
	logSyncs *telemetry.Summary
	settings settings
	// superDigest is the digest of who passes every check; empty for nobody.
	superDigest string
	// version is the first line of srvr without its label.
	version string
	// epoch is when the server was made.
	epoch time.Time
}

// nowNS returns the nanoseconds since the server was made; steps of the wall clock do not show.
func (s *services) nowNS() int64 { return int64(s.clock.Now().Sub(s.epoch)) }

// limits are the bounds of one connection.
type limits struct {
	frameBytes                         int
	requests, requestBytes, replyBytes int
	eventBytes                         int
	sessions                           int
	timeoutMinMS, timeoutMaxMS         int32
	handshake                          time.Duration
}

// Server serves the ZooKeeper protocol.
type Server struct {
	options Options
	srv     services
	logger  *slog.Logger

	mu sync.Mutex
	// links are the open connections, perIP their number by address. draining is set when the
	// server stops: no more are admitted.
	links    map[*link]struct{}
	perIP    map[netip.Addr]int
	admitted uint64
	draining bool
	// empty is closed when the server drains and no connection is left.
	empty chan struct{}
	// serving counts the goroutines that serve connections.
	serving sync.WaitGroup
}

// New returns a server, which does nothing before Run.
func New(o Options) *Server {
	o = o.withDefaults()
	invariant.Assert(len(o.Listeners) > 0 && o.Replica != nil && o.Publisher != nil, "a server has listeners and a member behind it")
	invariant.Assert(o.Clock != nil && o.Random != nil && o.Logger != nil, "a server has a clock, a source of passwords and a logger")
	now := o.Clock.Now()
	s := &Server{
		options: o, logger: o.Logger,
		links: map[*link]struct{}{}, perIP: map[netip.Addr]int{}, empty: make(chan struct{}),
		srv: services{
			replica: o.Replica, ids: newSessionIDs(o.MemberNumber, now),
			random: o.Random, clock: o.Clock, epoch: now,
			limits: limits{
				frameBytes: o.MaxFrameBytes,
				requests:   o.MaxRequests, requestBytes: o.MaxRequestBytes, replyBytes: o.MaxReplyBytes, eventBytes: o.MaxEventBytes,
				sessions:     o.MaxSessions,
				timeoutMinMS: o.SessionTimeoutMinMS, timeoutMaxMS: o.SessionTimeoutMaxMS,
				handshake: o.HandshakeTimeout,
			},
			budget: newBudget(o.MaxServerBytes), inputs: newStore(o.MaxInputBytes), syncs: newSyncs(o.Replica),
			notifier: newNotifier(o.Replica, watch.Limits{PerConnection: o.MaxWatchesPerConnection, All: o.MaxWatches}),
			sessions: sessions{conns: map[int64]*conn{}},
			// The form of the date is the one that go-zookeeper and older tools parse.
			version: fmt.Sprintf("%s, built on %s", o.Version, o.Built.UTC().Format("01/02/2006 15:04 MST")),
			words:   whitelist(o.FourLetterWords), turns: make(chan struct{}, largeAnswers),
			host: o.Host, logSyncs: o.LogSyncs, superDigest: o.SuperDigest,
			settings: settings{
				port: portOf(o.Listeners[0]), connectionsPerIP: o.MaxConnectionsPerIP,
				tickTimeMS: o.TickTimeMS, memberNumber: o.MemberNumber,
			},
		},
	}
	s.srv.links = s.open
	return s
}

// Run serves until ctx ends. Then it stops accepting and reading, waits for requests under way to
// be answered, for at most the DrainTimeout, closes everything and returns nil; the sessions of
// its clients go on living elsewhere. It returns an error if a listener fails. No goroutine of the
// server is left when it returns. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	defer s.srv.notifier.start(s.options.Publisher, &s.srv.sessions)()
	failed := make(chan error, len(s.options.Listeners))
	var accepting, syncing sync.WaitGroup
	for _, l := range s.options.Listeners {
		accepting.Go(func() { failed <- s.serveListener(ctx, l) })
	}
	syncCtx, stopSyncs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSyncs()
	syncing.Go(func() { s.srv.syncs.run(syncCtx) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, l := range s.options.Listeners {
		_ = l.Close() // It is closed or about to be; nobody can act on it.
	}
	accepting.Wait()
	s.drain(stopSyncs)
	stopSyncs()
	syncing.Wait()
	return err
}

// drain lets all connections answer what they have, and after the DrainTimeout closes the rest.
func (s *Server) drain(stopSyncs context.CancelFunc) {
	defer s.serving.Wait()
	for _, l := range s.stopAdmitting() {
		l.drain()
	}
	timer := s.srv.clock.NewTimer(s.options.DrainTimeout)
	defer timer.Stop()
	select {
	case <-s.empty:
		return
	case <-timer.C():
	}
	stopSyncs()
	s.srv.budget.close()
	for _, l := range s.open() {
		l.abort(errShutdown)
	}
}

// stopAdmitting keeps new connections out and returns those there are.
func (s *Server) stopAdmitting() []*link {
	s.mu.Lock()
	s.draining = true
	if len(s.links) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	return s.open()
}

// open returns the open connections.
func (s *Server) open() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := make([]*link, 0, len(s.links))
	for l := range s.links {
		links = append(links, l)
	}
	return links
}

// Pauses after an accept that failed for lack of something.
const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// serveListener accepts connections until the listener is closed.
func (s *Server) serveListener(ctx context.Context, l net.Listener) error {
	pause := acceptPauseMin
	for {
		socket, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case isShortage(err):
			s.logger.Warn("cannot accept ZooKeeper connections for a while", "error", err, "pause", pause)
			s.pause(ctx, pause)
			pause = min(2*pause, acceptPauseMax)
			continue
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		pause = acceptPauseMin
		link := newLink(&s.srv, socket)
		if !s.admit(link) {
			_ = socket.Close()
			continue
		}
		s.serving.Go(func() { s.serveLink(link) })
	}
}

// isShortage reports whether accepting failed because of the one connection, or for lack of
// something that may be there again later.
func isShortage(err error) bool {
	for _, shortage := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, shortage) {
			return true
		}
	}
	return false
}

// pause waits for d or the end of ctx.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	timer := s.srv.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// admit counts a new connection, unless there are too many.
func (s *Server) admit(l *link) bool {
	ip := l.conn.remote.Addr()
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.options.MaxConnectionsPerIP
	full := len(s.links) >= s.options.MaxConnections || (limit > 0 && ip.IsValid() && s.perIP[ip] >= limit)
	if s.draining || full {
		s.srv.stats.rejected.Add(1)
		s.logger.Debug("ZooKeeper connection refused", "remote", l.conn.remote, "connections", len(s.links))
		return false
	}
	s.admitted++
	l.number = s.admitted
	s.links[l] = struct{}{}
	s.perIP[ip]++
	s.srv.stats.connections.Add(1)
	return true
}

// leave takes back what admit did.
func (s *Server) leave(l *link) {
	ip := l.conn.remote.Addr()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
	s.srv.stats.connections.Add(-1)
	if s.draining && len(s.links) == 0 {
		close(s.empty)
	}
}

// serveLink serves one connection to its end: this goroutine reads, a second one sends the answers
// that come later.
func (s *Server) serveLink(l *link) {
	defer s.leave(l)
	var writing sync.WaitGroup
	writing.Go(l.runWriter)
	l.serveReader()
	l.input.close()
	l.abort(nil)
	writing.Wait()
	s.srv.sessions.remove(l.conn)
	s.srv.notifier.leave(l.conn)
	s.logger.Debug("ZooKeeper connection ended", "remote", l.conn.remote,
		"session", fmt.Sprintf("%#x", uint64(l.conn.caller.Session)), "reason", l.conn.reason)
}
