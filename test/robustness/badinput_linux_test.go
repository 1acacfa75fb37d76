package robustness

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestBadInput sends a member what no client should, and more than a client should. After each kind of it the member must live,
// its memory must have stayed within a bound, and a client that behaves well must not have been hurt.
func TestBadInput(t *testing.T) {
	for _, attack := range []struct {
		name string
		mib  int64 // by which the resident memory may grow meanwhile
		run  func(*assault, *testing.T)
	}{
		{"oversized", 128, (*assault).oversized},
		{"malformed", 128, (*assault).malformed},
		{"streams", 512, (*assault).streams},
		{"a reader that never reads", 512, (*assault).neverRead},
		{"abandoned", 256, (*assault).abandon},
	} {
		// Each has a member of its own: what one leaves behind, the collector's headroom too, would hide what the next one costs.
		t.Run(attack.name, func(t *testing.T) {
			cluster := harness.NewCluster(t, tools, 1, "--log-level", "info")
			cluster.Start()
			a := &assault{server: cluster.Members[0], bystander: newBystander(t, cluster.Members[0], "bystander")}
			a.measure(t, attack.mib, attack.run)
			cluster.Terminate()
		})
	}
}

// assault is what one server has to endure.
type assault struct {
	server    *harness.Member
	bystander *bystander
}

// measure runs one attack and checks what it did to the server and to others.
func (a *assault) measure(t *testing.T, mib int64, attack func(*assault, *testing.T)) {
	a.bystander.check(t)
	a.bystander.report()
	a.server.ForgetPeak()
	_, before := a.server.Memory()
	start := time.Now()
	attack(a, t)
	took := time.Since(start)
	a.bystander.check(t)
	peak, after := a.server.Memory()
	if grown := peak - before; grown > mib<<20 {
		t.Errorf("the server grew by %d MiB, may grow by %d", grown>>20, mib)
	}
	puts, worst := a.bystander.report()
	t.Logf("etcd-5: %s: %.1f s; resident %d MiB before, %d MiB at most, %d MiB after; the bystander's worst put of %d took %v",
		t.Name(), took.Seconds(), before>>20, peak>>20, after>>20, puts, worst.Round(time.Millisecond))
}

// dial makes a gRPC connection of its own that sends whatever it is given.
func (a *assault) dial(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+a.server.Client, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30), grpc.MaxCallRecvMsgSize(1<<30)),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// each runs n of something, a few at a time.
func each(n int, run func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				run(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// The limits of the server as it is shipped.
const (
	maxRequestBytes = 3 << 19
	maxMessageBytes = maxRequestBytes + 512<<10
)

// oversized sends what is larger than it may be.
func (a *assault) oversized(t *testing.T) {
	a.oversizedRequests(t)
	a.oversizedFrames(t)
	a.oversizedHTTP(t)
}

func (a *assault) oversizedRequests(t *testing.T) {
	zipped := grpc.UseCompressor(gzip.Name)
	kv := pb.NewKVClient(a.dial(t))
	put := func(bytes int, options ...grpc.CallOption) error {
		_, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("large"), Value: make([]byte, bytes)}, options...)
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		code codes.Code
		text string
	}{
		{"a request above the limit", put(maxRequestBytes), codes.InvalidArgument, "etcdserver: request is too large"},
		{"a message above the limit", put(maxMessageBytes), codes.ResourceExhausted,
			fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", maxMessageBytes+12, maxMessageBytes)},
		{"one far above it", put(64 << 20), codes.ResourceExhausted,
			fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", 64<<20+12, maxMessageBytes)},
		{"a message that is a gigabyte when unpacked", put(256<<20, zipped), codes.Unimplemented,
			`grpc: Decompressor is not installed for grpc-encoding "gzip"`},
	} {
		if got := status.Convert(c.err); got.Code() != c.code || got.Message() != c.text {
			t.Errorf("%s: %v %q, want %v %q", c.what, got.Code(), got.Message(), c.code, c.text)
		}
	}
	if err := put(maxRequestBytes - 100); err != nil {
		t.Errorf("a request below the limit: %v", err)
	}
}

func (a *assault) oversizedFrames(t *testing.T) {
	r := dialRaw(t, a.server.Client)
	r.greet()
	id, err := r.open("/etcdserverpb.KV/Put")
	if err == nil {
		err = r.WriteData(id, false, binary.BigEndian.AppendUint32([]byte{0}, 1<<32-1))
	}
	if got := r.status(id); err != nil || !strings.HasPrefix(got, "grpc 8: grpc: received message larger than max") {
		t.Errorf("a message that is announced with 4 GiB: %s (%v)", got, err)
	}

	r = dialRaw(t, a.server.Client)
	r.greet()
	_ = r.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20)) // the server may hang up in the middle
	r.awaitEnd("a frame of 1 MiB")

	large := strings.Repeat("x", 2<<20)
	r = dialRaw(t, a.server.Client)
	r.greet()
	if got := r.endless(t, r.block("/etcdserverpb.KV/Put", "application/grpc", "large", large), 0); !refused(got) {
		t.Errorf("2 MiB of headers: %s", got)
	}
	r = dialRaw(t, a.server.Client)
	r.greet()
	if got := r.endless(t, r.block("/etcdserverpb.KV/Put", "application/grpc", "large", large), 256<<20); !refused(got) {
		t.Errorf("headers without end: %s", got)
	}
}

// refused says whether the server has ended a call or its connection without serving it.
func refused(got string) bool {
	for _, prefix := range []string{"reset: ", "goaway: ", "connection: ", "http 431"} {
		if strings.HasPrefix(got, prefix) {
			return true
		}
	}
	return false
}

// endless sends headers in as many frames as it takes, and goes on until it has sent so many bytes, or the server has
// enough.
func (r *raw) endless(t *testing.T, block []byte, total int) string {
	const step = 16 << 10
	head := http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:step]}
	err := r.WriteHeaders(head)
	rest := block[step:]
	for ; err == nil && len(rest) > step; rest = rest[step:] {
		err = r.WriteContinuation(1, false, rest[:step])
	}
	filler := r.block("/", "application/grpc", "filler", strings.Repeat("y", 8<<10))
	for sent := 0; err == nil && sent < total; sent += len(filler) {
		err = r.WriteContinuation(1, false, filler)
	}
	if err != nil {
		return "connection: " + err.Error()
	}
	if total == 0 {
		if err := r.WriteContinuation(1, true, rest); err != nil {
			return "connection: " + err.Error()
		}
	}
	return r.status(1)
}

func (a *assault) oversizedHTTP(t *testing.T) {
	for what, c := range map[string]struct{ request, status string }{
		"headers of 1 MiB": {"GET /health HTTP/1.1\r\nHost: okapi\r\nLarge: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		"a large body":     {"POST /health HTTP/1.1\r\nHost: okapi\r\nContent-Length: 99999999999\r\n\r\n" + strings.Repeat("x", 1<<20), "405"},
	} {
		r := dialRaw(t, a.server.Client)
		_ = r.say([]byte(c.request)) // the server may hang up in the middle, and the answer may then be lost
		if got := r.awaitEnd(what); len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 "+c.status) {
			t.Errorf("%s: %.80q, want %s", what, got, c.status)
		}
	}
}

// malformed sends what is no request.
func (a *assault) malformed(t *testing.T) {
	var slow sync.WaitGroup
	slow.Go(func() { a.silent(t) })
	slow.Go(func() { a.endlessHTTP(t) })
	a.noProtocol(t)
	a.noFrames(t)
	a.noMessages(t)
	a.noMethods(t)
	slow.Wait()
}

// seed makes the random bytes the same in every run.
const seed = 5

func random(r *rand.Rand, bytes int) []byte {
	out := make([]byte, bytes)
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

func (a *assault) noProtocol(t *testing.T) {
	each(200, func(i int) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		c := dialRaw(t, a.server.Client)
		_ = c.say(random(r, 1+r.IntN(4<<10))) // the server may hang up in the middle
		c.awaitEnd("random bytes")
		c.Close()
	})
	conn, err := tls.Dial("tcp", a.server.Client, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
		t.Error("a TLS handshake succeeded on a port in clear text")
	}
}

// noFrames sends bytes that are no frames, and frames that end too early, behind a proper beginning.
func (a *assault) noFrames(t *testing.T) {
	each(400, func(i int) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		c := dialRaw(t, a.server.Client)
		defer c.Close()
		if i%4 == 0 {
			_ = c.say([]byte(http2.ClientPreface))
		} else {
			c.greet()
		}
		if i%2 == 0 {
			_ = c.say(random(r, 16+r.IntN(32<<10))) // the server may hang up in the middle
		} else {
			var whole bytes.Buffer
			_ = http2.NewFramer(&whole, nil).WriteData(1, false, random(r, 4<<10)) // into memory
			_ = c.say(whole.Bytes()[:1+r.IntN(whole.Len()-1)])
		}
		if err := c.CloseWrite(); err != nil {
			return // the server has hung up
		}
		c.awaitEnd("random frames")
	})
}

// noMessages sends gRPC messages that are no protocol buffers, to every method.
func (a *assault) noMessages(t *testing.T) {
	conn := a.dial(t)
	var methods []string
	for _, file := range []string{"KV", "Watch", "Lease", "Cluster", "Maintenance"} {
		methods = append(methods, methodsOf(file)...)
	}
	if len(methods) < 20 {
		t.Fatalf("only %d methods are known", len(methods))
	}
	each(50*len(methods), func(i int) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		method := methods[i%len(methods)]
		if strings.HasSuffix(method, "/MoveLeader") || strings.HasSuffix(method, "/Defragment") {
			return // a few random bytes are proper requests of these
		}
		ctx, cancel := context.WithTimeout(t.Context(), endPatience)
		defer cancel()
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodec(bytesCodec{}))
		if err == nil {
			err = stream.SendMsg(random(r, 1+r.IntN(64)))
		}
		if strings.HasSuffix(method, "/Watch") && err == nil { // what is ignored has no answer
			err = stream.SendMsg(message(createWatch("k", "", 0))[messageHeadBytes:])
		}
		var answer []byte
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.Join(stream.CloseSend(), stream.RecvMsg(&answer))
		}
		if status.Code(err) == codes.DeadlineExceeded {
			t.Errorf("%s: random bytes were not answered", method)
		}
	})
}

// bytesCodec sends bytes as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string                    { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }

// methodsOf returns the paths of the methods of one of etcd's services.
func methodsOf(service string) []string {
	name := "etcdserverpb." + service
	s := pb.File_rpc_proto.Services().ByName(protoreflect.Name(service))
	var out []string
	for i := range s.Methods().Len() {
		out = append(out, "/"+name+"/"+string(s.Methods().Get(i).Name()))
	}
	return out
}

// noMethods calls what is not there, and in ways that are none.
func (a *assault) noMethods(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("k")}
	for _, c := range []struct{ method, contentType, want string }{
		{"/etcdserverpb.KV/Nothing", "application/grpc", "grpc 12: unknown method Nothing for service etcdserverpb.KV"},
		{"/nobody.Service/Put", "application/grpc", "grpc 12: unknown service nobody.Service"},
		{"/Put", "application/grpc", "grpc 12: malformed method name: \"/Put\""},
		{"Put", "application/grpc", "grpc 12: malformed method name: \"Put\""},
		{"/etcdserverpb.KV/Put", "text/plain", "grpc 3: invalid gRPC request content-type \"text/plain\""},
		{"/etcdserverpb.KV/Put", "application/json", "grpc 3: invalid gRPC request content-type \"application/json\""},
		{"/etcdserverpb.KV/Put", "", "grpc 3: invalid gRPC request content-type \"\""},
	} {
		r := dialRaw(t, a.server.Client)
		r.greet()
		err := r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.block(c.method, c.contentType), EndHeaders: true})
		if err == nil {
			err = r.WriteData(1, true, message(put))
		}
		if got := r.status(1); err != nil || got != c.want {
			t.Errorf("%s as %q: %s, want %s (%v)", c.method, c.contentType, got, c.want, err)
		}
		r.Close()
	}
}

// silentConnections are more than may be half open at one time.
const silentConnections = 1200

// silent opens connections that say one byte or nothing; each must be closed, and a newcomer be served meanwhile.
func (a *assault) silent(t *testing.T) {
	var conns []*raw
	for i := range silentConnections {
		c := dialRaw(t, a.server.Client)
		_ = c.say([]byte("P")[:i%2])
		conns = append(conns, c)
	}
	newBystander(t, a.server, "newcomer").check(t)
	for _, c := range conns {
		c.awaitEnd("a connection that says a byte at most")
		c.Close()
	}
}

// endlessHTTP sends requests, a byte at a time, that never end; an honest one is served beside them.
func (a *assault) endlessHTTP(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.unreadHTTP(t) })
	for what, head := range map[string]string{
		"a header that never ends": "GET /health HTTP/1.1\r\nHost: okapi\r\nSlow: ",
		"a body that never ends":   "POST /health HTTP/1.1\r\nHost: okapi\r\nContent-Length: 1000\r\n\r\n",
	} {
		wg.Go(func() { a.drip(t, what, head) })
	}
	if response, err := http.Get("http://" + a.server.Client + "/version"); err != nil {
		t.Errorf("an honest request beside them: %v", err)
	} else {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

// drip sends a head, and then a byte at a time until the server has enough.
func (a *assault) drip(t *testing.T, what, head string) {
	c := dialRaw(t, a.server.Client)
	defer c.Close()
	if err := c.say([]byte(head)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for deadline := time.Now().Add(endPatience); c.say([]byte("x")) == nil; time.Sleep(dripPause) {
		if time.Now().After(deadline) {
			t.Errorf("%s: the server still listens after %v", what, endPatience)
			return
		}
	}
}

const dripPause = 100 * time.Millisecond

// unreadHTTP asks for answers without reading them.
func (a *assault) unreadHTTP(t *testing.T) {
	c := dialRaw(t, a.server.Client)
	defer c.Close()
	c.neverRead()
	if err := c.SetWriteDeadline(time.Now().Add(endPatience)); err != nil {
		t.Fatal(err)
	}
	request := []byte(strings.Repeat("GET /metrics HTTP/1.1\r\nHost: okapi\r\n\r\n", 64))
	for {
		err := c.say(request)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("answers that nobody reads: the server still has the connection after %v", endPatience)
		}
		if err != nil {
			return
		}
	}
}
