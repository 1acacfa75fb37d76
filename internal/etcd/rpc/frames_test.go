package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/okapi-kv/okapi/internal/clock"
)

// TestBrokenRules breaks rules of the protocol, one on each connection.
func TestBrokenRules(t *testing.T) {
	f := start(t, func(o *Options) { o.StreamsMax, o.HeaderBytesMax = 2, 10_000 })
	message := packed([]byte("x"))
	large := strings.Repeat("x", 9000)
	for name, c := range map[string]struct {
		id   uint32
		do   func(r *frames) error
		want string
	}{
		"data before any call":  {1, func(r *frames) error { return r.WriteData(1, true, message) }, "goaway PROTOCOL_ERROR"},
		"window before a call":  {1, func(r *frames) error { return r.WriteWindowUpdate(1, 5) }, "goaway PROTOCOL_ERROR"},
		"a stream of ours":      {2, func(r *frames) error { r.open(2, "/Echo/Same", true); return nil }, "goaway PROTOCOL_ERROR"},
		"a push":                {1, func(r *frames) error { return r.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }, "goaway PROTOCOL_ERROR"},
		"settings of odd size":  {1, func(r *frames) error { return r.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5)) }, "goaway FRAME_SIZE_ERROR"},
		"a frame of 20,000":     {1, func(r *frames) error { return r.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 20_000)) }, "goaway FRAME_SIZE_ERROR"},
		"a window beyond all":   {1, func(r *frames) error { return r.WriteWindowUpdate(0, 1<<31-1) }, "goaway FLOW_CONTROL_ERROR"},
		"headers of no sense":   {1, func(r *frames) error { return r.WriteRawFrame(http2.FrameHeaders, 4, 1, []byte{0xff, 0xff, 0xff}) }, "goaway COMPRESSION_ERROR"},
		"capitals in a name":    {1, func(r *frames) error { r.open(1, "/Echo/Same", true, "Name", "x"); return nil }, "PROTOCOL_ERROR"},
		"a header of HTTP/1":    {1, func(r *frames) error { r.open(1, "/Echo/Same", true, "connection", "close"); return nil }, "PROTOCOL_ERROR"},
		"two paths":             {1, func(r *frames) error { r.open(1, "/Echo/Same", true, ":path", "/x"); return nil }, "PROTOCOL_ERROR"},
		"headers that are long": {1, func(r *frames) error { r.open(1, "/Echo/Same", true, "a", large, "b", large); return nil }, "FRAME_SIZE_ERROR"},
		"headers without end":   {1, endlessHeaders, "goaway ENHANCE_YOUR_CALM"},
		"no message":            {1, func(r *frames) error { r.open(1, "/Echo/Same", true); return nil }, "13"},
		"half a message": {1, func(r *frames) error {
			r.open(1, "/Echo/Same", false)
			return r.WriteData(1, true, message[:6])
		}, "13"},
		"two messages": {1, func(r *frames) error {
			r.open(1, "/Echo/Same", false)
			return r.WriteData(1, true, append(packed(nil), message...))
		}, "13"},
		"a message that is packed in no way": {1, func(r *frames) error {
			r.open(1, "/Echo/Same", false)
			return r.WriteData(1, true, append([]byte{1}, message[1:]...))
		}, "13"},
		"more than the window": {1, func(r *frames) error {
			r.open(1, "/Echo/Up", false)
			return overflow(r)
		}, "FLOW_CONTROL_ERROR"},
		"data after the end": {1, func(r *frames) error {
			r.open(1, "/Echo/Wait", false)
			return errors.Join(r.WriteData(1, true, message), r.WriteData(1, true, message))
		}, "STREAM_CLOSED"},
		"a call too many": {5, func(r *frames) error {
			r.open(1, "/Echo/Up", false)
			r.open(3, "/Echo/Up", false)
			r.open(5, "/Echo/Up", false)
			return nil
		}, "REFUSED_STREAM"},
		"a timeout that is none":     {1, func(r *frames) error { r.open(1, "/Echo/Same", true, "grpc-timeout", "1x"); return nil }, "13"},
		"a message that never comes": {1, func(r *frames) error { r.open(1, "/Echo/Same", false, "grpc-timeout", "10m"); return nil }, "4"},
		"4 GiB": {1, func(r *frames) error {
			r.open(1, "/Echo/Same", false)
			return r.WriteData(1, false, []byte{0, 255, 255, 255, 255})
		}, "8"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.raw(t)
			r.must(c.do(r))
			if got := r.status(c.id); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func endlessHeaders(r *frames) error {
	err := r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x83}})
	for range 11 {
		err = errors.Join(err, r.WriteContinuation(1, false, bytes.Repeat([]byte{0x83}, 1000)))
	}
	return err
}

// overflow sends more on stream 1 than its window allows: the beginning of a message, and then nothing but padding.
func overflow(r *frames) error {
	err := r.WriteData(1, false, []byte{0, 0, 0, 0, 200})
	for range 1000 {
		err = errors.Join(err, r.WriteDataPadded(1, false, nil, make([]byte, 255)))
	}
	return err
}

// TestWindowsOfTheClient has a client with windows of a few bytes: it is sent no more than it wants.
func TestWindowsOfTheClient(t *testing.T) {
	f := start(t)
	r := f.raw(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	r.open(1, "/Echo/Same", false)
	whole := packed(bytes.Repeat([]byte("abc"), 100))
	r.must(r.WriteData(1, true, whole))
	var got []byte
	take := func(n int) {
		t.Helper()
		for n > 0 {
			r.until(func(f http2.Frame, _ map[string]string) bool {
				d, ok := f.(*http2.DataFrame)
				if ok {
					got = append(got, d.Data()...)
					n -= len(d.Data())
				}
				return ok
			})
		}
		if n < 0 {
			t.Fatalf("%d bytes more than the window", -n)
		}
		r.must(r.WritePing(false, [8]byte{1}))
		r.until(func(f http2.Frame, _ map[string]string) bool {
			if _, ok := f.(*http2.DataFrame); ok {
				t.Fatal("more than the window")
			}
			p, ok := f.(*http2.PingFrame)
			return ok && p.IsAck()
		})
	}
	take(10)
	r.must(r.WriteWindowUpdate(1, 7))
	take(7)
	r.must(r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 30})) // 20 more for open streams
	take(20)
	r.must(r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})) // 30 below nothing
	take(0)
	r.must(r.WriteWindowUpdate(1, 31))
	take(1)
	r.must(r.WriteWindowUpdate(1, 1000))
	take(len(whole) - len(got))
	if !bytes.Equal(got, whole) {
		t.Errorf("%d bytes came, and they are not those that were sent", len(got))
	}
}

// TestWindowOfTheConnection has many answers wait for the one window of their connection.
func TestWindowOfTheConnection(t *testing.T) {
	f := start(t)
	r := f.raw(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	const calls, size = 20, 10_000
	for i := range uint32(calls) {
		r.open(2*i+1, "/Echo/Same", false)
		r.must(r.WriteData(2*i+1, true, packed(make([]byte, size))))
	}
	got, ended, pinged := 0, 0, false
	for ended < calls {
		r.until(func(f http2.Frame, _ map[string]string) bool {
			switch f := f.(type) {
			case *http2.DataFrame:
				got += len(f.Data())
				if got == windowBytes { // that is all it may send, until it is let send more
					r.must(r.WritePing(false, [8]byte{1}))
				} else if got > windowBytes && !pinged {
					t.Fatalf("%d bytes have come, more than the window", got)
				}
			case *http2.PingFrame:
				pinged = true
				r.must(r.WriteWindowUpdate(0, 1<<20))
			case *http2.HeadersFrame:
				if f.StreamEnded() {
					ended++
				}
				return f.StreamEnded()
			}
			return false
		})
	}
	if want := calls * len(packed(make([]byte, size))); got != want || !pinged {
		t.Errorf("%d bytes have come, want %d", got, want)
	}
}

// TestTablesOfTheClient has clients with header tables of all sizes, which change.
func TestTablesOfTheClient(t *testing.T) {
	f := start(t)
	for _, size := range []uint32{0, 50, 70, 4096, 1 << 16} {
		r := f.raw(t, http2.Setting{ID: http2.SettingHeaderTableSize, Val: size})
		r.decoder.SetAllowedMaxDynamicTableSize(1 << 16)
		for i := range uint32(30) {
			id, want := 2*i+1, "0"
			method := "/Echo/Same"
			if i%3 == 1 {
				method, want = "/Echo/None", "12"
			}
			if i == 20 {
				r.must(r.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 4096 - size%4096}))
			}
			r.open(id, method, false)
			r.must(r.WriteData(id, true, packed([]byte("x"))))
			if got := r.status(id); got != want {
				t.Errorf("table of %d, call %d: %s, want %s", size, i, got, want)
			}
		}
	}
}

// TestKnownHeaders sends the same block again when the client's table has changed: it means something else then.
func TestKnownHeaders(t *testing.T) {
	r := start(t).raw(t)
	id := uint32(1)
	call := func(block []byte, want string) {
		t.Helper()
		r.must(r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}))
		if got := r.status(id); got != want {
			t.Errorf("call %d: %s, want %s", id, got, want)
		}
		id += 2
	}
	const served, unknown = "13", "12" // the former for want of a message
	for _, c := range []struct{ path, want string }{{"/Echo/Same", served}, {"/Echo/None", unknown}, {"/Echo/Wait", served}} {
		literal := []byte{0x83, 0x86} // POST and http
		for _, field := range []struct {
			name  byte // its number in the table that everybody has; the value enters the other one
			value string
		}{{4, c.path}, {1, "x"}, {31, contentType}} {
			literal = append(append(literal, 0x40|field.name, byte(len(field.value))), field.value...)
		}
		call(literal, c.want)
		for range 3 {
			call([]byte{0x83, 0x86, 0x80 | 64, 0x80 | 63, 0x80 | 62}, c.want)
		}
	}
}

// TestUnreadAnswers has a client that pings and does not read: the server stops reading.
func TestUnreadAnswers(t *testing.T) {
	f := start(t, func(o *Options) { o.PingMin = 0 })
	r := f.raw(t)
	r.must(r.Conn.(*net.TCPConn).SetReadBuffer(1 << 10))
	r.open(1, "/Echo/Up", false) // so that it may ping
	var b bytes.Buffer
	for range 1000 {
		r.must(http2.NewFramer(&b, nil).WritePing(false, [8]byte{}))
	}
	r.must(r.SetWriteDeadline(time.Now().Add(2 * time.Second)))
	const most = 64 << 20 // the buffers of both sockets, and some
	for sent := 0; ; sent += b.Len() {
		if _, err := r.Conn.Write(b.Bytes()); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the server hung up: %v", err)
			}
			return
		}
		if sent > most {
			t.Fatal("the server goes on reading")
		}
	}
}

// TestPings pings more often than is allowed, with and without a call.
func TestPings(t *testing.T) {
	f := start(t)
	for _, busy := range []bool{false, true} {
		r := f.raw(t)
		if busy {
			r.open(1, "/Echo/Up", false)
		}
		for range 5 {
			r.must(r.WritePing(false, [8]byte{}))
		}
		if got := r.status(99); got != "goaway ENHANCE_YOUR_CALM" {
			t.Errorf("busy %v: %s", busy, got)
		}
	}
	r := f.raw(t)
	for i := range uint32(20) { // one that measures its line pings after each answer
		r.open(2*i+1, "/Echo/Same", false)
		r.must(r.WriteData(2*i+1, true, packed(nil)))
		if got := r.status(2*i + 1); got != "0" {
			t.Fatalf("call %d: %s", i, got)
		}
		r.must(r.WritePing(false, [8]byte{}))
	}
}

// TestSilentClient lets hours pass: a client that answers is kept, one that does not is left.
func TestSilentClient(t *testing.T) {
	hours := clock.NewManual(time.Unix(1e9, 0))
	here, there := net.Pipe()
	defer there.Close()
	c := newConn(start(t, func(o *Options) { o.Clock = hours }).Server, here)
	asked := func(after time.Duration) bool {
		hours.Advance(after)
		c.out = nil
		c.checkAlive()
		return bytes.HasSuffix(c.out, alivePing[:])
	}
	for _, step := range []struct {
		after time.Duration
		asked bool
	}{
		{59 * time.Minute, false}, {time.Minute, true}, {59 * time.Second, false},
	} {
		if got := asked(step.after); got != step.asked {
			t.Fatalf("%v later it is asked: %v", step.after, got)
		}
	}
	c.heard.Store(hours.Now().UnixNano()) // it says something
	if asked(59*time.Minute) || !asked(time.Minute) || asked(59*time.Second) {
		t.Error("a client that has answered is asked at another time than an hour later")
	}
	asked(time.Second)
	if _, err := there.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a client that does not answer is kept: %v", err)
	}
}

// TestHandshake begins wrongly, or not at all.
func TestHandshake(t *testing.T) {
	f := start(t, func(o *Options) { o.HandshakeTimeout = 100 * time.Millisecond })
	for _, begin := range []string{"", "PRI", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", http2.ClientPreface, http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"} {
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(begin)); err != nil {
			t.Error(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection is still open", begin)
		}
		conn.Close()
	}
}

// FuzzFrames sends anything behind a proper beginning. The server must live, serve others, and end the connection when the
// client does.
func FuzzFrames(f *testing.F) {
	server := start(f)
	f.Add([]byte("\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := server.raw(t)
		r.open(1, "/Echo/Both", false)
		if _, err := r.Conn.Write(in); err != nil {
			return // it has hung up
		}
		r.must(r.Conn.(*net.TCPConn).CloseWrite())
		var b bytes.Buffer
		if _, err := b.ReadFrom(r.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection is still open")
		}
		again := server.raw(t)
		again.open(1, "/Echo/Same", false)
		again.must(again.WriteData(1, true, packed([]byte("x"))))
		if got := again.status(1); got != "0" {
			t.Error(fmt.Sprint("another client gets ", got))
		}
	})
}
