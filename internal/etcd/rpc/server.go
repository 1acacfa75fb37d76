package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/invariant"
)

// Options say how a Server works. All must be set but the interceptors.
type Options struct {
	// Credentials see each connection first, and say who its client is.
	Credentials credentials.TransportCredentials
	// Codec encodes and decodes the messages of all calls, whatever content type they name.
	Codec encoding.CodecV2
	// Unary and Stream are called around the handlers; nil stands for the handler alone.
	Unary  grpc.UnaryServerInterceptor
	Stream grpc.StreamServerInterceptor

	// MessageBytesMax bounds a message that is received, packed and unpacked.
	MessageBytesMax int
	// HeaderBytesMax bounds the header list of a call, as HTTP/2 counts it, and its encoded form.
	HeaderBytesMax uint32
	// StreamsMax bounds the streams of a connection, and the calls that it has under way: a call may outlive its
	// stream. Clients are told; streams beyond it are refused.
	StreamsMax uint32
	// HandshakeTimeout bounds how long a connection may take until its first frame.
	HandshakeTimeout time.Duration
	// PingMin is the shortest time between two pings of a client; one that pings more often is sent away.
	PingMin time.Duration
	// KeepaliveInterval is how long nothing must have come from a client for it to be pinged, and KeepaliveTimeout how
	// long it has to answer.
	KeepaliveInterval, KeepaliveTimeout time.Duration
	// Workers is how many goroutines that have run calls wait for more.
	Workers int

	// Clock tells the time for pings and keep-alives.
	Clock clock.Clock
	// Logger is told why connections end, for debugging.
	Logger *slog.Logger
}

// Server is a gRPC server. Its methods are safe for concurrent use, but for RegisterService, which comes before all.
type Server struct {
	opts     Options
	methods  map[string]*method // by path
	services map[string]grpc.ServiceInfo

	// work hands a call to a worker that waits; see runCall.
	work    chan *stream
	idle    atomic.Int32 // workers that wait
	workers sync.WaitGroup
	// buffers holds memory for what is to be written: a connection that is idle has none.
	buffers     sync.Pool
	stopWorkers sync.Once
	// closed is closed when no connection is accepted any more.
	closed  chan struct{}
	serving sync.WaitGroup // connections, and what looks after them

	mu       sync.Mutex
	conns    map[*conn]struct{}
	listener net.Listener
	draining bool
}

// method is what a path leads to.
type method struct {
	path    string
	service any
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc
	// info is what interceptors are told: one of the two.
	unaryInfo  *grpc.UnaryServerInfo
	streamInfo *grpc.StreamServerInfo
	// many says that the client may send any number of messages. Else there is one, and the call begins when it is
	// complete.
	many bool
}

// NewServer makes a server without services.
func NewServer(o Options) *Server {
	invariant.Assert(o.Credentials != nil && o.Codec != nil && o.Clock != nil && o.Logger != nil, "a server is given all that it needs")
	return &Server{
		opts: o, methods: make(map[string]*method), services: make(map[string]grpc.ServiceInfo),
		work: make(chan *stream), closed: make(chan struct{}), conns: make(map[*conn]struct{}),
	}
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(d *grpc.ServiceDesc, impl any) {
	info := grpc.ServiceInfo{Metadata: d.Metadata}
	for i := range d.Methods {
		m := &d.Methods[i]
		path := "/" + d.ServiceName + "/" + m.MethodName
		s.methods[path] = &method{
			path: path, service: impl, unary: m, unaryInfo: &grpc.UnaryServerInfo{Server: impl, FullMethod: path},
		}
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for i := range d.Streams {
		m := &d.Streams[i]
		path := "/" + d.ServiceName + "/" + m.StreamName
		s.methods[path] = &method{
			path: path, service: impl, stream: m, many: m.ClientStreams,
			streamInfo: &grpc.StreamServerInfo{FullMethod: path, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams},
		}
		info.Methods = append(info.Methods, grpc.MethodInfo{
			Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams,
		})
	}
	s.services[d.ServiceName] = info
}

// GetServiceInfo returns what is registered, by the name of the service.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.services }

// Serve accepts connections from l until Stop or GracefulStop is called, and returns grpc.ErrServerStopped then. It is
// called once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close() // a listener that nobody listens to; there is nobody to tell
		return grpc.ErrServerStopped
	}
	s.listener = l
	s.serving.Go(s.runKeepalive)
	s.mu.Unlock()
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return grpc.ErrServerStopped
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		s.serveRaw(raw)
	}
}

// serveRaw starts the goroutine of a connection, unless the server has stopped.
func (s *Server) serveRaw(raw net.Conn) {
	c := newConn(s, raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		raw.Close() // nothing was said on it
		return
	}
	s.conns[c] = struct{}{}
	s.serving.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// GracefulStop accepts no more connections and calls, and returns when those under way have ended and all goroutines
// of the server with them.
func (s *Server) GracefulStop() {
	s.end((*conn).drain)
	s.serving.Wait()
	s.stopWorkers.Do(func() { close(s.work) }) // nobody is left who would hand them a call
	s.workers.Wait()
}

// Stop accepts no more connections, closes those there are and cancels their calls. It does not wait for them:
// GracefulStop does.
func (s *Server) Stop() { s.end(func(c *conn) { c.socket.Close() }) }

// end stops accepting, and ends all connections in one way.
func (s *Server) end(how func(*conn)) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns { // in any order
		conns = append(conns, c)
	}
	if !s.draining {
		s.draining = true
		close(s.closed)
		if s.listener != nil {
			s.listener.Close() // it says so in Accept
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		how(c)
	}
}

// runCall hands a call to a worker that waits, or to a new one. Workers are used again because their stacks have grown: a
// new goroutine begins with a small one, and copies it several times on its way down to the store.
func (s *Server) runCall(st *stream) {
	select {
	case s.work <- st:
	default:
		s.workers.Go(func() { s.runWorker(st) })
	}
}

// runWorker runs a call, and others after it.
func (s *Server) runWorker(st *stream) {
	for ok := true; ok; st, ok = s.await() {
		st.run()
	}
}

// await waits for the next call of a worker; false if there are enough who wait, or there is no more to come.
func (s *Server) await() (st *stream, ok bool) {
	defer s.idle.Add(-1)
	if s.idle.Add(1) > int32(s.opts.Workers) {
		return nil, false
	}
	st, ok = <-s.work
	return st, ok
}

// runKeepalive has the connections looked at now and then.
func (s *Server) runKeepalive() {
	every := min(s.opts.KeepaliveInterval, s.opts.KeepaliveTimeout) / 2
	timer := s.opts.Clock.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-timer.C():
		}
		s.mu.Lock()
		for c := range s.conns { // in any order
			c.checkAlive()
		}
		s.mu.Unlock()
		timer.Reset(every)
	}
}
