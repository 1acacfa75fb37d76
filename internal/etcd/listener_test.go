package etcd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// No test may leave a goroutine behind: every Run waits for its own.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSniff(t *testing.T) {
	for _, c := range []struct {
		name, in string
		http2    bool
		fails    bool
	}{
		{"gRPC", preface + "\x00\x00\x00\x04", true, false},
		{"only the preface", preface, true, false},
		{"GET", "GET /health HTTP/1.1\r\n\r\n", false, false},
		{"one that begins like the preface", "PROPFIND / HTTP/1.1\r\n\r\n", false, false},
		{"HTTP/2.1", strings.Replace(preface, "2.0", "2.1", 1), false, false},
		{"TLS", "\x16\x03\x01\x02\x00", false, false},
		{"nothing", "", false, true},
		{"half a preface", preface[:10], false, true},
	} {
		for how, r := range map[string]io.Reader{
			"whole":         strings.NewReader(c.in),
			"byte by byte":  iotest.OneByteReader(strings.NewReader(c.in)),
			"data with EOF": iotest.DataErrReader(strings.NewReader(c.in)),
		} {
			head, http2, err := sniff(r)
			if c.fails {
				if err == nil {
					t.Errorf("%s, %s: no error", c.name, how)
				}
				continue
			}
			if err != nil || http2 != c.http2 {
				t.Errorf("%s, %s: got %v, %v, want %v", c.name, how, http2, err, c.http2)
			}
			rest, _ := io.ReadAll(r)
			if whole := string(head) + string(rest); whole != c.in {
				t.Errorf("%s, %s: %q is left of %q", c.name, how, whole, c.in)
			}
			conn := &sniffed{Conn: restConn{r: strings.NewReader(string(rest))}, head: head}
			if again, err := io.ReadAll(iotest.OneByteReader(conn)); err != nil || string(again) != c.in {
				t.Errorf("%s, %s: the server reads %q, %v", c.name, how, again, err)
			}
		}
	}
}

// restConn is a connection that can only be read.
type restConn struct {
	net.Conn
	r io.Reader
}

func (c restConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// fetch asks the server over HTTP.
func (r *running) fetch(t *testing.T, method, path string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://okapi"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.web().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestHTTPBesideGRPC(t *testing.T) {
	s := serve(t, nil)
	if _, err := s.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, path string
		script             func()
		status             int
		contentType, body  string
	}{
		{"health", "GET", "/health", nil, 200, "text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"health, local", "GET", "/health?serializable=true", nil, 200, "text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"no leader", "GET", "/health", func() { s.replica.status.LeaderID = 0 }, 503, "text/plain; charset=utf-8",
			`{"health":"false","reason":"RAFT NO LEADER"}` + "\n"},
		{"no leader, local", "GET", "/health?serializable=true", func() { s.replica.status.LeaderID = 0 }, 200,
			"text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"no quorum", "GET", "/health", func() { s.replica.readErr = outcome(OutcomeTimeout) }, 503,
			"text/plain; charset=utf-8", `{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}` + "\n"},
		{"no space", "GET", "/health", func() { s.replica.raise(9, command.AlarmNoSpace) }, 503, "text/plain; charset=utf-8",
			`{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{"no space, overlooked", "GET", "/health?exclude=NOSPACE", func() { s.replica.raise(9, command.AlarmNoSpace) }, 200,
			"text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"full disks", "GET", "/health", func() { s.replica.status.DiskFull = true }, 503, "text/plain; charset=utf-8",
			`{"health":"false","reason":"DISK FULL"}` + "\n"},
		{"full disks, overlooked", "GET", "/health?exclude=NOSPACE", func() { s.replica.status.DiskFull = true }, 200,
			"text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"corrupt, the other overlooked", "GET", "/health?exclude=NOSPACE&exclude=", func() {
			s.replica.raise(9, command.AlarmNoSpace)
			s.replica.raise(9, command.AlarmCorrupt)
		}, 503, "text/plain; charset=utf-8", `{"health":"false","reason":"ALARM CORRUPT"}` + "\n"},
		{"both overlooked", "GET", "/health?exclude=NOSPACE&exclude=CORRUPT", func() {
			s.replica.raise(9, command.AlarmNoSpace)
			s.replica.raise(9, command.AlarmCorrupt)
		}, 200, "text/plain; charset=utf-8", `{"health":"true","reason":""}`},
		{"an alarm comes before the leader", "GET", "/health", func() {
			s.replica.status.LeaderID = 0
			s.replica.raise(9, command.AlarmNoSpace)
		}, 503, "text/plain; charset=utf-8", `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{"health by POST", "POST", "/health", nil, 405, "text/plain; charset=utf-8", "Method Not Allowed\n"},
		{"version", "GET", "/version", nil, 200, "application/json",
			`{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{"version by PUT", "PUT", "/version", nil, 405, "text/plain; charset=utf-8", "Method Not Allowed\n"},
		{"elsewhere", "GET", "/v2/keys", nil, 404, "text/plain; charset=utf-8", "404 page not found\n"},
	} {
		s.replica.set(func() {
			s.replica.status.LeaderID, s.replica.readErr = 3, nil
			s.replica.clear()
			if c.script != nil {
				c.script()
			}
		})
		status, header, body := s.fetch(t, c.method, c.path)
		if status != c.status || body != c.body || header.Get("Content-Type") != c.contentType {
			t.Errorf("%s: got %d %q %q, want %d %q %q", c.name,
				status, header.Get("Content-Type"), body, c.status, c.contentType, c.body)
		}
		if allow := header.Get("Allow"); (allow == "GET") != (c.status == 405) {
			t.Errorf("%s: Allow is %q", c.name, allow)
		}
	}
	if _, err := s.kv.Range(context.Background(), &pb.RangeRequest{Key: []byte("k")}); err != nil {
		t.Errorf("gRPC after HTTP: %v", err)
	}
}

// scripted is a listener that accepts what it is given.
type scripted struct {
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
}

func newScripted() *scripted {
	return &scripted{conns: make(chan net.Conn), errs: make(chan error, 8), closed: make(chan struct{})}
}

func (l *scripted) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
	}
	select {
	case conn := <-l.conns:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *scripted) Close() error   { close(l.closed); return nil }
func (l *scripted) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2379} }

// bubble runs a front in the fake time of synctest.
func bubble(t *testing.T, halfOpen int, body func(t *testing.T, f *front, l *scripted)) {
	synctest.Test(t, func(t *testing.T) {
		l := newScripted()
		f := &front{
			grpc: newHandoff(l.Addr()), http: newHandoff(l.Addr()), halfOpen: make(chan struct{}, halfOpen),
			handshake: 5 * time.Second, clock: clock.Real{}, log: slog.New(slog.DiscardHandler),
			admission: newTestAdmission(100, io.Discard),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.runAccept(ctx, l) }()
		body(t, f, l)
		cancel()
		l.Close()
		if err := <-ended; err != nil {
			t.Errorf("runAccept: %v", err)
		}
	})
}

func TestSilentConnectionIsClosed(t *testing.T) {
	for name, say := range map[string]string{"nothing": "", "half the preface": preface[:12]} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 4, func(t *testing.T, _ *front, l *scripted) {
				client, server := net.Pipe()
				l.conns <- server
				start := time.Now()
				io.WriteString(client, say)
				if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("the connection ended with %v, want EOF", err)
				}
				if waited := time.Since(start); waited != 5*time.Second {
					t.Errorf("it was open for %v, want 5s", waited)
				}
			})
		})
	}
}

// One that says it speaks HTTP/2 and then nothing is gRPC's to close, and HTTP/1's one with half a
// header net/http's.
func TestHalfAHandshakeIsClosed(t *testing.T) {
	for name, say := range map[string]string{"gRPC": preface, "HTTP": "GET /health HTTP/1.1\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newScripted()
				server := New(Options{Listeners: []net.Listener{l}, Replica: newFakeReplica(), Leases: newFakeReplica(), Upkeep: newFakeReplica()})
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- server.Run(ctx) }()
				client, conn := net.Pipe()
				l.conns <- conn
				start := time.Now()
				go io.WriteString(client, say)
				io.Copy(io.Discard, client)
				if waited := time.Since(start); waited != 5*time.Second {
					t.Errorf("it was open for %v, want 5s", waited)
				}
				client.Close()
				stop()
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

func TestRecognisedConnectionHasNoDeadline(t *testing.T) {
	bubble(t, 1, func(t *testing.T, f *front, l *scripted) {
		client, server := net.Pipe()
		l.conns <- server
		go io.WriteString(client, preface)
		conn, err := f.grpc.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour) // of the bubble
			io.WriteString(client, "late")
		}()
		got := make([]byte, len(preface)+4)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != preface+"late" {
			t.Errorf("the server read %q, %v", got, err)
		}
		conn.Close()
		client.Close()
	})
}

func TestHalfOpenConnectionsAreBounded(t *testing.T) {
	bubble(t, 2, func(t *testing.T, f *front, l *scripted) {
		first, server := net.Pipe()
		l.conns <- server
		second, server := net.Pipe()
		l.conns <- server
		synctest.Wait()
		third, server := net.Pipe()
		select {
		case l.conns <- server:
			t.Error("a third half-open connection was accepted")
		default:
		}
		first.Close()
		synctest.Wait()
		select {
		case l.conns <- server:
		default:
			t.Error("no connection was accepted after one had gone")
		}
		// One that is recognised but not yet taken over is half open still.
		go io.WriteString(second, "GET / HTTP/1.1\r\n\r\n")
		synctest.Wait()
		if len(f.halfOpen) != 2 {
			t.Errorf("%d connections are half open, want 2", len(f.halfOpen))
		}
		conn, err := f.http.Accept()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(f.halfOpen) != 2 { // the third, and the token for the next accept
			t.Errorf("%d tokens are taken, want 2", len(f.halfOpen))
		}
		conn.Close()
		second.Close()
		third.Close()
	})
}

func TestHalfOpenConnectionsEndWithTheDoor(t *testing.T) {
	bubble(t, 4, func(t *testing.T, f *front, l *scripted) {
		silent, server := net.Pipe()
		l.conns <- server
		waiting, server := net.Pipe()
		l.conns <- server
		go io.WriteString(waiting, "GET / HTTP/1.1\r\n\r\n")
		synctest.Wait()
		start := time.Now()
		f.http.Close()
		if _, err := waiting.Read(make([]byte, 1)); err == nil {
			t.Error("a connection for a closed server stays open")
		}
		t.Cleanup(func() { // after the accept loop has ended
			if _, err := silent.Read(make([]byte, 1)); err == nil || time.Since(start) != 0 {
				t.Errorf("a half-open connection outlives the door: %v after %v", err, time.Since(start))
			}
		})
	})
}

func TestAcceptGoesOnAfterTransientErrors(t *testing.T) {
	bubble(t, 4, func(t *testing.T, f *front, l *scripted) {
		for range 3 {
			l.errs <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		start := time.Now()
		client, server := net.Pipe()
		l.conns <- server
		if waited := time.Since(start); waited != 35*time.Millisecond {
			t.Errorf("waited %v for descriptors, want 5 + 10 + 20 ms", waited)
		}
		client.Close()
	})
}

func TestBrokenListenerEndsRun(t *testing.T) {
	l := newScripted()
	l.errs <- errors.New("the socket is gone")
	err := New(Options{Listeners: []net.Listener{l}, Replica: newFakeReplica(), Leases: newFakeReplica(), Upkeep: newFakeReplica()}).Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "accept clients on 127.0.0.1:2379: the socket is gone") {
		t.Errorf("got %v", err)
	}
}

func TestRunOfACancelledContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := New(Options{Listeners: []net.Listener{newScripted()}, Replica: newFakeReplica(), Leases: newFakeReplica(), Upkeep: newFakeReplica()}).Run(ctx); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestTwoPorts(t *testing.T) {
	second := bufconn.Listen(1 << 16)
	s := serve(t, func(o *Options) { o.Listeners = append(o.Listeners, second) })
	if status, _, _ := s.fetch(t, "GET", "/version"); status != 200 {
		t.Errorf("first port: %d", status)
	}
	other := &running{listener: second}
	if status, _, _ := other.fetch(t, "GET", "/version"); status != 200 {
		t.Errorf("second port: %d", status)
	}
}

// Told to stop, the server lets a call that is under way finish.
func TestStopDrains(t *testing.T) {
	s := serve(t, func(o *Options) { o.DrainTimeout = time.Minute })
	hold := make(chan struct{})
	s.replica.set(func() { s.replica.hold = hold })
	answered := make(chan error, 1)
	go func() {
		_, err := s.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		answered <- err
	}()
	<-s.replica.holding
	s.stop()
	for {
		conn, err := s.listener.Dial()
		if err != nil {
			break // the port is closed, so the drain has begun
		}
		conn.Close()
	}
	close(hold)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
}

// A call that does not finish within the drain timeout is cancelled, and Run ends all the same.
func TestStopCutsOffWhatHangs(t *testing.T) {
	s := serve(t, func(o *Options) { o.DrainTimeout = time.Millisecond })
	s.replica.set(func() { s.replica.hold = make(chan struct{}) })
	answered := make(chan error, 1)
	go func() {
		_, err := s.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
		answered <- err
	}()
	<-s.replica.holding
	s.stop()
	if err := <-answered; err == nil {
		t.Error("a call that never ended was answered")
	} else if code := status.Code(err); code != codes.Unavailable && code != codes.Canceled {
		t.Errorf("got %v", err)
	}
}

// stubborn is a replica whose Propose returns some time after its context is done.
type stubborn struct {
	*fakeReplica
	release chan struct{}
}

func (s *stubborn) Propose(ctx context.Context, c command.Caller, cmd command.Command) (state.Result, error) {
	r, err := s.fakeReplica.Propose(ctx, c, cmd)
	<-s.release
	return r, err
}

// Whoever waits for Run may take the replica away: no call uses it any more.
func TestRunEndsAfterTheLastCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replica := &stubborn{fakeReplica: newFakeReplica(), release: make(chan struct{})}
		replica.holding = make(chan struct{}, 1)
		replica.hold = make(chan struct{})
		s := serve(t, func(o *Options) { o.Replica = replica })
		go s.kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
		<-replica.holding
		s.stop()
		time.Sleep(time.Minute) // of the bubble: far beyond the drain timeout
		select {
		case err := <-s.ended:
			t.Errorf("Run ended with a call under way: %v", err)
			s.ended <- nil
		default:
		}
		close(replica.release)
	})
}
