package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestCallsOfOneMessage makes calls of all sizes at once, with windows that grow and with windows that do not.
func TestCallsOfOneMessage(t *testing.T) {
	f := start(t)
	for name, options := range map[string][]grpc.DialOption{
		"windows as they come": nil, "small windows": {grpc.WithStaticStreamWindowSize(1 << 16), grpc.WithStaticConnWindowSize(1 << 16)},
		"packed": {grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name))},
	} {
		t.Run(name, func(t *testing.T) {
			c, ctx := f.dial(t, options...), soon(t)
			var wg sync.WaitGroup
			for i, size := range []int{0, 1, 5, 1000, 16<<10 - 10, 16 << 10, 64<<10 - 8, 64 << 10, 300_000, 2<<20 - 10} {
				for j := range 8 {
					wg.Go(func() {
						in, out := bytesOf(bytes.Repeat([]byte{byte(i + j)}, size)), new(wrapperspb.BytesValue)
						if err := c.Invoke(ctx, "/Echo/Same", in, out); err != nil || !bytes.Equal(in.Value, out.Value) {
							t.Errorf("%d bytes: %d came back (%v)", size, len(out.Value), err)
						}
					})
				}
			}
			wg.Wait()
		})
	}
}

// TestStreams streams down, up and both ways, more than any window holds.
func TestStreams(t *testing.T) {
	f := start(t)
	c, ctx := f.dial(t, grpc.WithStaticStreamWindowSize(1<<16)), soon(t)
	const n = 2000
	open := func(method string, up, down bool) grpc.ClientStream {
		s, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: up, ServerStreams: down}, method)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		s := open("/Echo/Down", false, true)
		_ = errors.Join(s.SendMsg(bytesOf(fmt.Append(nil, n))), s.CloseSend()) // what is wrong shows below
		got := 0
		var m wrapperspb.BytesValue
		err := s.RecvMsg(&m)
		for ; err == nil; err = s.RecvMsg(&m) {
			if len(m.Value) != 1000 || m.Value[999] != byte(got) {
				t.Errorf("message %d is another", got)
			}
			got++
		}
		if got != n || !errors.Is(err, io.EOF) {
			t.Errorf("down: %d messages, want %d (%v)", got, n, err)
		}
	})
	wg.Go(func() {
		s := open("/Echo/Up", true, false)
		for range n {
			_ = s.SendMsg(bytesOf(make([]byte, 1000)))
		}
		_ = s.CloseSend()
		var m wrapperspb.BytesValue
		if err := s.RecvMsg(&m); err != nil || string(m.Value) != fmt.Sprint(n*1000) {
			t.Errorf("up: %q arrived (%v)", m.Value, err)
		}
	})
	s := open("/Echo/Both", true, true)
	for i := range n {
		in, out := bytesOf(bytes.Repeat([]byte{byte(i)}, i)), new(wrapperspb.BytesValue)
		if err := errors.Join(s.SendMsg(in), s.RecvMsg(out)); err != nil || !bytes.Equal(in.Value, out.Value) {
			t.Fatalf("both, %d bytes: %d came back (%v)", i, len(out.Value), err)
		}
	}
	if err := errors.Join(s.CloseSend(), s.RecvMsg(new(wrapperspb.BytesValue))); !errors.Is(err, io.EOF) {
		t.Errorf("both ended with %v", err)
	}
}

// TestMetadataAndStatus sends metadata both ways and errors back, again and again: what the tables of header compression
// hold must not matter.
func TestMetadataAndStatus(t *testing.T) {
	f := start(t)
	c := f.dial(t)
	for i := range 20 {
		text := fmt.Sprint("wie geht's? ü% ", i)
		ctx := metadata.AppendToOutgoingContext(soon(t), "give", fmt.Sprint(i), "give-bin", "\x00\xff"+fmt.Sprint(i))
		var header, trailer metadata.MD
		var out wrapperspb.BytesValue
		if err := c.Invoke(ctx, "/Echo/Same", bytesOf([]byte("x")), &out, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		for what, md := range map[string]metadata.MD{"header": header, "trailer": trailer} {
			if !slices.Equal(md.Get("given"), []string{fmt.Sprint(i)}) || !slices.Equal(md.Get("given-bin"), []string{"\x00\xff" + fmt.Sprint(i)}) {
				t.Errorf("call %d: the %s is %q", i, what, md)
			}
		}
		err := c.Invoke(metadata.AppendToOutgoingContext(soon(t), "fail-bin", text), "/Echo/Same", bytesOf(nil), &out)
		why := status.Convert(err)
		if why.Code() != codes.Aborted || why.Message() != text || len(why.Details()) != 1 {
			t.Errorf("call %d: %v, want Aborted, %q and a detail", i, err, text)
		}
		if err := c.Invoke(soon(t), "/Echo/Same", bytesOf(nil), &out); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

// TestRefusals calls what is not served.
func TestRefusals(t *testing.T) {
	f := start(t)
	c := f.dial(t)
	large := grpc.MaxCallSendMsgSize(1 << 30)
	for _, r := range []struct {
		method string
		bytes  int
		code   codes.Code
		text   string
	}{
		{"/Echo/Nothing", 1, codes.Unimplemented, "unknown method Nothing for service Echo"},
		{"/None/Same", 1, codes.Unimplemented, "unknown service None"},
		{"/None", 1, codes.Unimplemented, `malformed method name: "/None"`},
		{"/Echo/Same", 3 << 20, codes.ResourceExhausted, "grpc: received message larger than max (3145733 vs. 2097152)"},
		{"/Echo/Up", 3 << 20, codes.ResourceExhausted, "grpc: received message larger than max (3145733 vs. 2097152)"},
	} {
		err := c.Invoke(soon(t), r.method, bytesOf(make([]byte, r.bytes)), new(wrapperspb.BytesValue), large)
		if why := status.Convert(err); why.Code() != r.code || why.Message() != r.text {
			t.Errorf("%s: %v, want %v %q", r.method, err, r.code, r.text)
		}
	}
	err := c.Invoke(soon(t), "/Echo/Same", bytesOf(bytes.Repeat([]byte("x"), 2<<20+1)), new(wrapperspb.BytesValue), grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "after decompression") {
		t.Errorf("a message that is too large when unpacked: %v", err)
	}
}

// TestContextsEnd ends calls in every way; the handler's context must end with them.
func TestContextsEnd(t *testing.T) {
	f := start(t)
	for name, end := range map[string]func(*grpc.ClientConn, context.CancelFunc){
		"the client takes it back":   func(_ *grpc.ClientConn, cancel context.CancelFunc) { cancel() },
		"the client leaves":          func(c *grpc.ClientConn, _ context.CancelFunc) { c.Close() },
		"the client's patience ends": nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := f.dial(t)
			ctx, cancel := context.WithCancel(soon(t))
			want := context.Canceled
			if end == nil {
				ctx, cancel = context.WithTimeout(soon(t), 200_000_000)
				want = context.DeadlineExceeded
			}
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- c.Invoke(ctx, "/Echo/Wait", bytesOf(nil), new(wrapperspb.BytesValue)) }()
			<-f.echo.began
			if end != nil {
				end(c, cancel)
			}
			// A client whose patience ends says so too, and may be faster than our clock.
			if err := <-f.echo.over; !errors.Is(err, want) && (end != nil || !errors.Is(err, context.Canceled)) {
				t.Errorf("the handler's context ended with %v, want %v", err, want)
			}
			if err := <-ended; err == nil {
				t.Error("the call has succeeded")
			}
		})
	}
	if err := f.dial(t).Invoke(soon(t), "/Echo/Leave", bytesOf(nil), new(wrapperspb.BytesValue)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-(<-f.echo.left).Done():
	case <-soon(t).Done():
		t.Error("the context of a call that was answered goes on")
	}
}

// TestGracefulStop stops a server with calls under way: they are answered, and no others are taken.
func TestGracefulStop(t *testing.T) {
	f := start(t)
	c := f.dial(t)
	s, err := c.NewStream(soon(t), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/Echo/Both")
	if err != nil {
		t.Fatal(err)
	}
	say := func() error {
		return errors.Join(s.SendMsg(bytesOf([]byte("x"))), s.RecvMsg(new(wrapperspb.BytesValue)))
	}
	if err := say(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { f.GracefulStop(); close(stopped) }()
	for c.Invoke(soon(t), "/Echo/Same", bytesOf(nil), new(wrapperspb.BytesValue)) == nil { // until the client has heard of it
	}
	if err := say(); err != nil {
		t.Errorf("the stream that was open: %v", err)
	}
	select {
	case <-stopped:
		t.Error("the server has stopped with a stream under way")
	default:
	}
	if err := errors.Join(s.CloseSend(), s.RecvMsg(new(wrapperspb.BytesValue))); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	<-stopped
}

// TestGracefulStopOfTheIdle stops a server whose client has no call under way: when it has heard of the end, it is left.
func TestGracefulStopOfTheIdle(t *testing.T) {
	f := start(t)
	r := f.raw(t)
	r.open(1, "/Echo/Leave", true)
	r.status(1)
	stopped := make(chan struct{})
	go func() { f.GracefulStop(); close(stopped) }()
	var last []uint32
	for len(last) < 2 {
		r.until(func(frame http2.Frame, _ map[string]string) bool {
			switch frame := frame.(type) {
			case *http2.PingFrame:
				r.must(r.WritePing(true, frame.Data))
			case *http2.GoAwayFrame:
				last = append(last, frame.LastStreamID)
				return true
			}
			return false
		})
	}
	if !slices.Equal(last, []uint32{windowMax, 1}) {
		t.Errorf("the last streams are %d", last)
	}
	if frame, err := r.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end comes %v (%v)", frame, err)
	}
	<-stopped
}
