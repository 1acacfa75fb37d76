package zk

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// BenchmarkRead is a getData from frame to reply, without the socket.
func BenchmarkRead(b *testing.B) {
	c, step := plainConn(b)
	c.receive(create("/node-000001", string(make([]byte, 100))).Append((&jute.RequestHeader{Xid: 1, Op: jute.OpCreate}).Append(nil)), 0)
	step()
	frame := get("/node-000001").Append((&jute.RequestHeader{Xid: 2, Op: jute.OpGetData}).Append(nil))
	b.ReportAllocs()
	for b.Loop() {
		c.out.buf = c.out.buf[:0]
		c.receive(frame, 0)
		c.advance(0)
		if len(c.out.buf) < 100 {
			b.Fatalf("reply of %d bytes", len(c.out.buf))
		}
	}
}

// BenchmarkWrite is a setData from frame to reply with the machine's apply, without log and socket.
func BenchmarkWrite(b *testing.B) {
	c, step := plainConn(b)
	c.receive(create("/node-000001", "").Append((&jute.RequestHeader{Xid: 1, Op: jute.OpCreate}).Append(nil)), 0)
	step()
	frame := set("/node-000001", string(make([]byte, 100))).Append((&jute.RequestHeader{Xid: 2, Op: jute.OpSetData}).Append(nil))
	b.ReportAllocs()
	for b.Loop() {
		c.out.buf = c.out.buf[:0]
		c.receive(frame, 0)
		step()
		if len(c.out.buf) < 68 {
			b.Fatalf("reply of %d bytes", len(c.out.buf))
		}
	}
}

// BenchmarkLoopback is a getData through a real socket, with 10 requests under way.
func BenchmarkLoopback(b *testing.B) {
	socket := listen(b, Options{})()
	write := func(frame []byte) {
		if _, err := socket.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	write(jute.EndFrame((&jute.ConnectRequest{TimeoutMS: 30_000}).Append(jute.BeginFrame(nil)), 0))
	if _, err := readFrame(socket); err != nil {
		b.Fatal(err)
	}
	one := jute.EndFrame(get("/").Append((&jute.RequestHeader{Xid: 1, Op: jute.OpGetData}).Append(jute.BeginFrame(nil))), 0)
	frames := bytes.Repeat(one, 10)
	buf := make([]byte, 10*(4+16+4+68))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		write(frames)
		if _, err := io.ReadFull(socket, buf); err != nil {
			b.Fatal(fmt.Errorf("round %d: %w", i, err))
		}
	}
}
