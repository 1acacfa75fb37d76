package zk

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// listen runs a server on a real socket and gives a function that connects to it.
func listen(tb testing.TB, options Options) (dial func() *net.TCPConn) {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := newReplica()
	options.Listeners, options.Replica, options.Publisher, options.Clock = []net.Listener{listener}, r, r, clock.Real{}
	options.Random, options.Logger = bytes.NewReader(make([]byte, 16<<10)), slog.New(slog.DiscardHandler)
	server := New(options)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Run(ctx) }()
	go r.run()
	tb.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			tb.Errorf("Run: %v", err)
		}
		r.set(func() { r.stopped = true })
	})
	return func() *net.TCPConn {
		socket, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = socket.Close() })
		return socket.(*net.TCPConn)
	}
}

// The last answer arrives although the client has sent more than the server wanted to read: a
// socket that is closed with unread input takes its output with it.
func TestLastAnswerArrives(t *testing.T) {
	dial := listen(t, Options{})
	for name, send := range map[string][]byte{
		"word": append([]byte("ruok"), bytes.Repeat([]byte("\n"), 100_000)...),
		"unknown opcode": bytes.Join([][]byte{
			jute.EndFrame((&jute.ConnectRequest{}).Append(jute.BeginFrame(nil)), 0),
			jute.EndFrame((&jute.RequestHeader{Xid: 1, Op: 10}).Append(jute.BeginFrame(nil)), 0),
			make([]byte, 100_000),
		}, nil),
	} {
		socket := dial()
		if _, err := socket.Write(send); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(socket)
		if err != nil || len(answer) < 4 {
			t.Errorf("%s: answer of %d bytes, error %v", name, len(answer), err)
		}
	}
}

func TestLimitPerAddress(t *testing.T) {
	dial := listen(t, Options{MaxConnectionsPerIP: 3})
	alive := func(socket *net.TCPConn) bool {
		if _, err := socket.Write(jute.EndFrame((&jute.ConnectRequest{}).Append(jute.BeginFrame(nil)), 0)); err != nil {
			return false
		}
		_, err := readFrame(socket)
		return err == nil
	}
	for i := range 3 {
		if !alive(dial()) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if alive(dial()) {
		t.Error("one more than the limit is served")
	}
}

// The address of a client is its first identity.
func TestAddressIsAnIdentity(t *testing.T) {
	dial := listen(t, Options{})
	socket := dial()
	c := &client{t: t, socket: socket, frames: make(chan []byte, 10)}
	next := func() {
		frame, err := readFrame(socket)
		if err != nil {
			t.Fatal(err)
		}
		c.frames <- frame
	}
	c.sendFrame((&jute.ConnectRequest{}).Append(nil))
	next()
	c.login2()
	c.send(jute.OpWhoAmI, nil)
	next()
	r := c.recv()
	var reader jute.Reader
	reader.Reset(r.body)
	var who jute.ClientInfo
	if n := reader.Count(8); n != 1 {
		t.Fatalf("%d identities", n)
	}
	if who.Decode(&reader); who != (jute.ClientInfo{Scheme: "ip", User: "127.0.0.1"}) {
		t.Errorf("identity %+v", who)
	}
}
