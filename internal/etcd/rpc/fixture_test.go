package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/okapi-kv/okapi/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// echo is a service of all kinds of calls. Its messages are bytes.
type echo struct {
	// began tells of each call of Wait, over of the end of each context there.
	began, over chan error
	// left has the contexts of calls of Leave.
	left chan context.Context
}

func bytesOf(b []byte) *wrapperspb.BytesValue { return &wrapperspb.BytesValue{Value: b} }

// same answers with what it was sent, and with what metadata asks for.
func (e *echo) same(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if give := md.Get("give"); len(give) > 0 {
		back := metadata.Pairs("given", give[0], "given-bin", md.Get("give-bin")[0])
		if err := errors.Join(grpc.SetHeader(ctx, back), grpc.SetTrailer(ctx, back)); err != nil {
			return nil, err
		}
	}
	if fail := md.Get("fail-bin"); len(fail) > 0 {
		why, err := status.New(codes.Aborted, fail[0]).WithDetails(bytesOf([]byte("detail")))
		if err != nil {
			return nil, err
		}
		return nil, why.Err()
	}
	return in, nil
}

// wait waits for the end of its context.
func (e *echo) wait(ctx context.Context, _ *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	e.began <- nil
	<-ctx.Done()
	e.over <- ctx.Err()
	return nil, ctx.Err()
}

// leave answers, and leaves its context behind.
func (e *echo) leave(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	e.left <- ctx
	return in, nil
}

// down sends as many messages of 1000 bytes as it is told.
func (e *echo) down(s grpc.ServerStream) error {
	var in wrapperspb.BytesValue
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	n, err := strconv.Atoi(string(in.Value))
	if err != nil {
		return err
	}
	for i := range n {
		if err := s.SendMsg(bytesOf(bytes.Repeat([]byte{byte(i)}, 1000))); err != nil {
			return err
		}
	}
	return nil
}

// up answers with the size of all that it was sent.
func (e *echo) up(s grpc.ServerStream) error {
	for size := 0; ; {
		var in wrapperspb.BytesValue
		err := s.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			return s.SendMsg(bytesOf([]byte(strconv.Itoa(size))))
		}
		if err != nil {
			return err
		}
		size += len(in.Value)
	}
}

// both answers each message with itself.
func (e *echo) both(s grpc.ServerStream) error {
	for {
		var in wrapperspb.BytesValue
		err := s.RecvMsg(&in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = s.SendMsg(&in)
		}
		if err != nil {
			return err
		}
	}
}

// unary makes a method as generated code does.
func unary(name string, call func(*echo, context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		return call(srv.(*echo), ctx, in)
	}}
}

func streaming(name string, up, down bool, call func(*echo, grpc.ServerStream) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ClientStreams: up, ServerStreams: down, Handler: func(srv any, s grpc.ServerStream) error {
		return call(srv.(*echo), s)
	}}
}

var echoService = grpc.ServiceDesc{
	ServiceName: "Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{unary("Same", (*echo).same), unary("Wait", (*echo).wait), unary("Leave", (*echo).leave)},
	Streams: []grpc.StreamDesc{
		streaming("Down", false, true, (*echo).down), streaming("Up", true, false, (*echo).up), streaming("Both", true, true, (*echo).both),
	},
}

// fixture is a server that runs, and its service.
type fixture struct {
	*Server
	echo    *echo
	address string
}

// start starts a server. It is stopped when the test ends, and must leave nothing behind.
func start(t testing.TB, change ...func(*Options)) *fixture {
	o := Options{
		Credentials: insecure.NewCredentials(), Codec: encoding.GetCodecV2(proto.Name),
		MessageBytesMax: 2 << 20, HeaderBytesMax: 1 << 20, StreamsMax: 100, HandshakeTimeout: patience,
		PingMin: 5 * time.Second, KeepaliveInterval: time.Hour, KeepaliveTimeout: time.Minute, Workers: 8,
		Clock: clock.Real{}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&o)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{NewServer(o), &echo{make(chan error, 100), make(chan error, 100), make(chan context.Context, 100)}, l.Addr().String()}
	f.RegisterService(&echoService, f.echo)
	served := make(chan error)
	go func() { served <- f.Serve(l) }()
	t.Cleanup(func() {
		f.Stop()
		f.GracefulStop()
		if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	return f
}

func (f *fixture) dial(t testing.TB, options ...grpc.DialOption) *grpc.ClientConn {
	c, err := grpc.NewClient("passthrough:///"+f.address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30), grpc.MaxCallSendMsgSize(1<<30)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// soon is a context for what must not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// frames is a client that says what it likes.
type frames struct {
	t testing.TB
	net.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
}

// raw connects such a client and says hello.
func (f *fixture) raw(t testing.TB, settings ...http2.Setting) *frames {
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &frames{t: t, Conn: conn, Framer: http2.NewFramer(conn, conn)}
	r.AllowIllegalWrites = true
	r.encoder, r.decoder = hpack.NewEncoder(&r.block), hpack.NewDecoder(4096, nil)
	r.must(conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	r.must(err)
	r.must(r.WriteSettings(settings...))
	return r
}

func (r *frames) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// open sends the headers of a call.
func (r *frames) open(id uint32, method string, end bool, more ...string) {
	r.t.Helper()
	r.block.Reset()
	all := append([]string{":method", "POST", ":scheme", "http", ":path", method, ":authority", "x", "content-type", "application/grpc"}, more...)
	for i := 0; i < len(all); i += 2 {
		r.must(r.encoder.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}))
	}
	r.must(r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.block.Bytes(), EndHeaders: true, EndStream: end}))
}

// packed is a message in the form of the wire.
func packed(body []byte) []byte {
	b, err := encoding.GetCodecV2(proto.Name).Marshal(bytesOf(body))
	if err != nil {
		panic(err)
	}
	return append([]byte{0, 0, byte(b.Len() >> 16), byte(b.Len() >> 8), byte(b.Len())}, b.Materialize()...)
}

// until reads frames until one of them, and that one is what is wanted. Header blocks on the way are decoded.
func (r *frames) until(want func(f http2.Frame, fields map[string]string) bool) {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		r.must(err)
		fields := map[string]string{}
		if h, ok := f.(*http2.HeadersFrame); ok {
			all, err := r.decoder.DecodeFull(h.HeaderBlockFragment())
			r.must(err)
			for _, field := range all {
				fields[field.Name] = field.Value
			}
			if len(fields) != len(all) || fields[":status"] != "" && fields["content-type"] != "application/grpc" {
				r.t.Errorf("the headers are %v", all)
			}
		}
		if want(f, fields) {
			return
		}
	}
}

// status reads until the end of a call.
func (r *frames) status(id uint32) (got string) {
	r.t.Helper()
	r.until(func(f http2.Frame, fields map[string]string) bool {
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				got = fields["grpc-status"]
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				got = f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			got = "goaway " + f.ErrCode.String()
		}
		return got != ""
	})
	return got
}
