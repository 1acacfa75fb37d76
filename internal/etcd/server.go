package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/etcd/rpc"
	"github.com/okapi-kv/okapi/internal/invariant"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// Options are what a Server is made of. Zero values of the limits mean the defaults named with
// them.
type Options struct {
	// Listeners are the client ports, in clear text. The server owns them: Run closes them. At
	// least one.
	Listeners []net.Listener
	// Replica is the member behind the door.
	Replica Replica
	// Upkeep is the same member as the calls of Maintenance want it.
	Upkeep Upkeep
	// Admin serves HTTP requests under /okapi/; nil serves none.
	Admin http.Handler
	// Metrics is where the door counts, and what /metrics shows. Without it, it counts for itself alone.
	Metrics *telemetry.Metrics

	// Leases keeps leases alive.
	Leases Leases

	// MaxRequestBytes bounds what a request adds to the log, in bytes of etcd's encoding; also the
	// size that chunks of a RangeStream aim at. 1.5 MiB, etcd's max-request-bytes.
	MaxRequestBytes int
	// MaxTxnOps bounds the longest list of a txn. 128, etcd's max-txn-ops.
	MaxTxnOps int
	// MaxConnections bounds the connections of clients; what is above is closed when accepted, and counted. 65536.
	MaxConnections int
	// MaxConcurrentStreams bounds the calls under way on one connection, watches and keep-alives among them; further ones wait
	// at the client. No bound, as etcd's max-concurrent-streams.
	MaxConcurrentStreams uint32
	// MaxLeases bounds the leases of the cluster: each takes some 300 bytes of memory on every member. 1048576.
	MaxLeases int
	// MinLeaseTTL is what shorter TTLs of leases are raised to, in seconds. 2: etcd's one and a half election
	// timeouts.
	MinLeaseTTL int64
	// RequestTimeout bounds how long a request waits for consensus. 7 s: etcd's five seconds and
	// two of its election timeouts.
	RequestTimeout time.Duration
	// WatchProgressInterval is the time after which a watch that asked for it and was told nothing is told how
	// far it is. 10 min, etcd's watch-progress-notify-interval.
	WatchProgressInterval time.Duration
	// MaxWatchesPerStream bounds the watches of one stream, which a client mostly has one of; one whose keys
	// are long counts for more, see docs/compat/etcd.md. 100,000.
	MaxWatchesPerStream int
	// ElectionTimeout is how long the members wait for a heartbeat before one stands for election; after three of
	// them without leader, streams that want one are cut. 1 s.
	ElectionTimeout time.Duration
	// HandshakeTimeout bounds each step in which a new connection says what it speaks. 5 s.
	HandshakeTimeout time.Duration
	// MaxHalfOpen bounds the connections that have not yet said what they speak; while it is
	// reached no more are accepted. 1024.
	MaxHalfOpen int
	// DrainTimeout bounds how long Run waits, once told to stop, for calls that are under way. 5 s.
	DrainTimeout time.Duration
	// Workers is the number of goroutines kept ready for calls, whose grown stacks are used again. 1024.
	Workers int

	// Clock tells the time for the limits of handshakes. The clock of the operating system.
	Clock clock.Clock
	// Random is where the ids of leases come from. crypto/rand.
	Random io.Reader
	// Logger receives what an operator may act on. Nothing is logged without one.
	Logger *slog.Logger
}

// withDefaults fills what was left zero.
func (o Options) withDefaults() Options {
	invariant.Assert(len(o.Listeners) > 0, "the etcd door has a port")
	invariant.Assert(o.Replica != nil && o.Leases != nil && o.Upkeep != nil, "the etcd door has a replica behind it")
	setDefault(&o.MaxRequestBytes, 3<<19)
	setDefault(&o.MaxTxnOps, 128)
	setDefault(&o.MaxConnections, 1<<16)
	setDefault(&o.MaxConcurrentStreams, math.MaxUint32)
	setDefault(&o.MaxLeases, 1<<20)
	setDefault(&o.MinLeaseTTL, 2)
	setDefault(&o.RequestTimeout, 7*time.Second)
	setDefault(&o.WatchProgressInterval, 10*time.Minute)
	setDefault(&o.MaxWatchesPerStream, 100_000)
	setDefault(&o.ElectionTimeout, time.Second)
	setDefault(&o.HandshakeTimeout, 5*time.Second)
	setDefault(&o.MaxHalfOpen, 1024)
	setDefault(&o.DrainTimeout, 5*time.Second)
	setDefault(&o.Workers, 1024)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.NewMetrics(telemetry.About{})
	}
	return o
}

// setDefault gives a field its default if it was left zero.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server is the etcd door of one member.
type Server struct {
	options Options
	front   *front
	grpc    *rpc.Server
	health  *grpchealth.Server
	http    *http.Server
	// draining is closed when streams that have no end of their own are to end.
	draining chan struct{}
	watch    *watchServer
	leader   *leaderWatch
}

// New makes a server. It owns the listeners of o from here on; nothing is accepted before Run.
func New(o Options) *Server {
	o = o.withDefaults()
	kv := &kvServer{
		replica:         o.Replica,
		maxRequestBytes: o.MaxRequestBytes,
		maxTxnOps:       o.MaxTxnOps,
		requestTimeout:  o.RequestTimeout,
		metrics:         o.Metrics,
	}
	leader := newLeaderWatch(o)
	counted := &calls{guard: &gate{replica: o.Replica, leader: leader}}
	addr, draining := o.Listeners[0].Addr(), make(chan struct{})
	s := &Server{
		options: o,
		front: &front{
			grpc:      newHandoff(addr),
			http:      newHandoff(addr),
			admission: &admission{max: o.MaxConnections, refusals: o.Metrics.ConnectionsRefused, clock: o.Clock, log: o.Logger},
			halfOpen:  make(chan struct{}, o.MaxHalfOpen),
			handshake: o.HandshakeTimeout,
			clock:     o.Clock,
			log:       o.Logger,
		},
		grpc:   newGRPC(o, counted),
		health: grpchealth.NewServer(), // the service "" is SERVING
		http:   newHTTP(o, &probes{kv: kv, admin: o.Admin, metrics: o.Metrics, log: o.Logger}),

		watch:    newWatchServer(o, draining),
		leader:   leader,
		draining: draining,
	}
	s.register(kv)
	counted.resolve(s.grpc.GetServiceInfo(), o.Metrics)
	return s
}

// register gives the gRPC server its services. Those that are not here answer Unimplemented.
func (s *Server) register(kv *kvServer) {
	o := &s.options
	pb.RegisterKVServer(s.grpc, kv)
	pb.RegisterClusterServer(s.grpc, &clusterServer{kv: kv})
	pb.RegisterMaintenanceServer(s.grpc, &maintenanceServer{
		kv: kv, upkeep: o.Upkeep, metrics: o.Metrics, clock: o.Clock, hashing: make(chan struct{}, 1),
	})
	pb.RegisterWatchServer(s.grpc, s.watch)
	pb.RegisterLeaseServer(s.grpc, &leaseServer{
		kv: kv, leases: o.Leases, minTTL: o.MinLeaseTTL, max: o.MaxLeases, random: o.Random, draining: s.draining,
	})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
}

// The limits of etcd's gRPC server (server/embed/config.go, server/config/config.go).
const (
	// receiveOverheadBytes is what a message may be larger than the limit of a request, so that one
	// slightly too large gets etcd's error and not gRPC's.
	receiveOverheadBytes = 512 << 10
	keepaliveMinTime     = 5 * time.Second
	keepaliveInterval    = 2 * time.Hour
	keepaliveTimeout     = 20 * time.Second
)

// headerListBytesMax bounds the metadata of a call. gRPC would take 16 MiB; it is net/http's default.
const headerListBytesMax = 1 << 20

// newGRPC makes the gRPC server, with etcd's limits.
func newGRPC(o Options, counted *calls) *rpc.Server {
	return rpc.NewServer(rpc.Options{
		Credentials:       &outboxes{TransportCredentials: insecure.NewCredentials()},
		Codec:             newCountedCodec(o.Metrics),
		Unary:             counted.unary,
		Stream:            counted.stream,
		MessageBytesMax:   o.MaxRequestBytes + receiveOverheadBytes,
		HeaderBytesMax:    headerListBytesMax,
		StreamsMax:        o.MaxConcurrentStreams,
		HandshakeTimeout:  o.HandshakeTimeout,
		PingMin:           keepaliveMinTime,
		KeepaliveInterval: keepaliveInterval,
		KeepaliveTimeout:  keepaliveTimeout,
		Workers:           o.Workers,
		Clock:             clock.Real{}, // sockets know no other
		Logger:            o.Logger,
	})
}

// The limits of the HTTP server. Its requests have no bodies worth the name.
const (
	httpIdleTimeout    = 2 * time.Minute
	httpHeaderBytesMax = 64 << 10
)

// newHTTP makes the HTTP server.
func newHTTP(o Options, p *probes) *http.Server {
	// Handlers wait for consensus, and the connection is watched for its end meanwhile: no limit may end before that.
	exchange := o.RequestTimeout + o.HandshakeTimeout
	return &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: o.HandshakeTimeout,
		ReadTimeout:       exchange,
		WriteTimeout:      exchange,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
}

// Run serves until ctx is done, then accepts nothing more, ends watches, lets the other calls under way finish within
// the drain timeout, cancels the rest, and returns nil when all its goroutines have ended. It
// returns an error if a port can no longer be served. Run is called once.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	run := func(part func() error) {
		parts.Go(func() {
			if err := part(); err != nil {
				stop(&partError{err})
			}
		})
	}
	run(s.runGRPC)
	run(s.runHTTP)
	run(func() error { return s.watch.hub.runHub(ctx) })
	run(func() error { return s.leader.runLooks(ctx) })
	for _, l := range s.options.Listeners {
		run(func() error { return s.front.runAccept(ctx, l) })
	}
	<-ctx.Done()
	s.runDrain(ctx)
	s.watch.readers.Wait()
	parts.Wait()
	var failed *partError
	if errors.As(context.Cause(ctx), &failed) {
		return failed.error
	}
	return nil
}

// partError marks the error that ended Run, so that it is told from the cause with which the
// caller cancelled.
type partError struct{ error }

// runGRPC serves the connections that speak HTTP/2 until the server is stopped.
func (s *Server) runGRPC() error {
	if err := s.grpc.Serve(s.front.grpc); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve grpc: %w", err)
	}
	return nil
}

// runHTTP serves the connections that speak HTTP/1 until the server is stopped.
func (s *Server) runHTTP() error {
	if err := s.http.Serve(s.front.http); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

// runDrain closes the ports and both servers. It is called once ctx is done, whose values it
// keeps.
func (s *Server) runDrain(ctx context.Context) {
	s.health.Shutdown() // who watches it goes elsewhere
	for _, l := range s.options.Listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.options.Logger.Warn("closing a client port", "address", l.Addr().String(), "error", err)
		}
	}
	close(s.draining)
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.DrainTimeout)
	defer cancel()
	var web sync.WaitGroup
	web.Go(func() {
		if s.http.Shutdown(limited) != nil {
			s.http.Close() // the drain timeout is over
		}
	})
	// A call that outlives the drain is cancelled by Stop; GracefulStop goes on to wait until it has
	// returned, so that nothing uses the replica once Run has ended.
	cut := context.AfterFunc(limited, s.grpc.Stop)
	s.grpc.GracefulStop()
	cut()
	web.Wait()
	s.front.grpc.Close()
	s.front.http.Close()
}
