package zk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/okapi-kv/okapi/internal/clock"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

func TestUnknownOperations(t *testing.T) {
	for _, code := range []jute.OpCode{
		jute.OpNotification, 10, jute.OpCheck, jute.OpDeleteContainer, jute.OpCreateSession, jute.OpError, jute.OpReconfig,
		500, 1 << 30,
	} {
		inside(t, Options{}, func(d *door) {
			c := d.login()
			d.replica.set(func() { d.replica.held = true })
			c.send(jute.OpCreate, create("/n", ""))
			c.send(code, get("/"))
			c.wantNothing()
			d.replica.set(func() { d.replica.held = false })
			c.recv()
			if r := c.recv(); r.ReplyHeader != (jute.ReplyHeader{Xid: 2, Zxid: -1, Err: jute.CodeUnimplemented}) || len(r.body) != 0 {
				t.Errorf("opcode %d answers %+v", code, r)
			}
			c.wantClosed()
		})
	}
}

// A body that cannot be decoded is a marshalling error; the connection lives on.
func TestGarbledBodies(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		for _, code := range []jute.OpCode{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 19, 21, 22, 101, 104, 105} {
			for _, garbage := range []raw{nil, {0, 0, 0, 9, 'x'}, {0x80, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}} {
				if code == 101 && len(garbage) > 4 {
					continue
				}
				if code == 9 && len(garbage) > 0 && garbage[0] == 0xff {
					continue // The path of a sync may be null.
				}
				c.want(jute.CodeMarshallingError, code, garbage)
			}
		}
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/n", ""))
		c.send(jute.OpDelete, raw{1})
		c.wantNothing() // It keeps its place in the order.
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		if r := c.recv(); r.Err != jute.CodeMarshallingError || r.Zxid <= 0 {
			t.Errorf("answer %+v", r)
		}
	})
}

func TestBadFrames(t *testing.T) {
	head := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	cases := map[string][]byte{
		"negative length":     head(0xffffffff),
		"smallest length":     head(0x80000000),
		"largest length":      head(0x7fffffff),
		"one above the limit": head(jute.DefaultMaxFrameBytes + 1),
		"header cut":          {0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0},
		"empty frame":         head(0),
		"auth cut":            {0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 100, 0},
		"HTTP":                []byte("GET / HTTP/1.1\r\n\r\n"),
	}
	for name, bytes := range cases {
		for _, loggedIn := range []bool{true, false} {
			inside(t, Options{}, func(d *door) {
				c := d.dial()
				if loggedIn {
					c.login(&jute.ConnectRequest{TimeoutMS: 10_000})
				}
				go func() { _, _ = c.socket.Write(bytes) }()
				c.wantClosed()
				if t.Failed() {
					t.Logf("%s, logged in: %v", name, loggedIn)
				}
			})
		}
	}
}

// The largest frame is taken; before the session is there, only a small one is.
func TestFrameLimits(t *testing.T) {
	inside(t, Options{MaxFrameBytes: 100_000}, func(d *door) {
		c := d.login()
		m := create("/big", "")
		overhead := len(m.Append(nil)) + 8
		m.Data = make([]byte, 100_000-overhead)
		c.want(0, jute.OpCreate, m)
		stranger, start := d.dial(), time.Now()
		go func() { _, _ = stranger.socket.Write([]byte{0, 0, 0x10, 1, 0}) }()
		stranger.wantClosed()
		if took := time.Since(start); took != 0 {
			t.Errorf("a large connect request is waited for until %v", took)
		}
		go func() { _, _ = c.socket.Write([]byte{0, 1, 0x86, 0xa1, 0}) }()
		c.wantClosed()
	})
}

// A frame may come in single bytes, and many frames in one piece.
func TestFramesInPieces(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.dial()
		var stream []byte
		add := func(message []byte) {
			start := len(stream)
			stream = jute.EndFrame(append(jute.BeginFrame(stream), message...), start)
		}
		add((&jute.ConnectRequest{TimeoutMS: 10_000}).Append(nil))
		for i := range 50 {
			add(get("/").Append((&jute.RequestHeader{Xid: int32(i), Op: jute.OpExists}).Append(nil)))
		}
		half := len(stream) / 2
		for i := range half {
			if _, err := c.socket.Write(stream[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.socket.Write(stream[half:]); err != nil {
			t.Fatal(err)
		}
		c.login2()
		for i := range 50 {
			if r := c.recv(); r.Xid != int32(i) || r.Err != 0 {
				t.Fatalf("reply %d is %+v", i, r)
			}
		}
	})
}

// The buffer grows with what has come in, not with what was promised, and shrinks again.
func TestInputMemory(t *testing.T) {
	var in input
	promise := binary.BigEndian.AppendUint32(nil, 1<<20)
	if err := in.fill(bytes.NewReader(promise)); err != nil {
		t.Fatal(err)
	}
	if frame, err := in.next(1 << 20); frame != nil || err != nil || len(in.buf) > inputBytesMin {
		t.Errorf("a promise of 1 MiB made a buffer of %d bytes (frame %v, error %v)", len(in.buf), frame != nil, err)
	}
	stream := io.LimitReader(neverEnding{}, 1<<20)
	var frame []byte
	for frame == nil {
		if err := in.fill(stream); err != nil {
			t.Fatal(err)
		}
		frame, _ = in.next(1 << 20)
	}
	if len(frame) != 1<<20 || len(in.buf) > 4<<20 {
		t.Errorf("frame of %d bytes in a buffer of %d", len(frame), len(in.buf))
	}
	for range 2*inputLull + 2 {
		if err := in.fill(bytes.NewReader([]byte{0, 0, 0, 0})); err != nil {
			t.Fatal(err)
		}
		if frame, err := in.next(10); frame == nil || err != nil {
			t.Fatalf("empty frame: %v, %v", frame, err)
		}
	}
	if len(in.buf) != inputBytesMin {
		t.Errorf("an idle connection keeps a buffer of %d bytes", len(in.buf))
	}
}

// Large frames that have not come to their end are bounded together; small ones never wait for them.
func TestInputsShareAStore(t *testing.T) {
	const frame = 1 << 20
	shared := newStore(2 * frame)
	all := make([]input, 3)
	begin := func(in *input, n uint32) error { // all of a frame but its last byte
		in.store = shared
		stream := io.LimitReader(io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, n)), neverEnding{}), int64(n)+3)
		for {
			if err := in.fill(stream); err != nil {
				return err
			}
			if whole, err := in.next(frame); whole != nil || err != nil {
				t.Fatalf("frame %v, error %v", whole != nil, err)
			}
		}
	}
	for i, want := range []error{io.EOF, io.EOF, errInputFull} {
		if err := begin(&all[i], frame); err != want {
			t.Errorf("input %d ends with %v, want %v", i, err, want)
		}
		if n := len(all[i].buf); n > frame+4 {
			t.Errorf("input %d has a buffer of %d bytes", i, n)
		}
	}
	var small input
	if err := begin(&small, inputBytesMax-4); err != io.EOF {
		t.Errorf("a small frame ends with %v", err)
	}
	// Who finishes a frame, or leaves, makes room.
	if err := all[0].fill(neverEnding{}); err != nil {
		t.Fatal(err)
	}
	if whole, err := all[0].next(frame); len(whole) != frame || err != nil {
		t.Fatalf("a frame of %d bytes, error %v", len(whole), err)
	}
	if err := all[0].fill(neverEnding{}); err != nil {
		t.Fatal(err)
	}
	all[1].close()
	all[2].close()
	if left := shared.left.Load(); left != 2*frame {
		t.Errorf("%d bytes are left in the store, want %d", left, 2*frame)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// Run answers what was read before it was told to stop, and nothing more.
func TestShutdownDrains(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		busy, idle, strange := d.login(), d.login(), d.dial()
		d.replica.set(func() { d.replica.held = true })
		busy.send(jute.OpCreate, create("/n", ""))
		busy.send(jute.OpExists, get("/n"))
		synctest.Wait()
		d.stop()
		idle.wantClosed()
		strange.wantClosed()
		busy.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		for i := range 2 {
			if r := busy.recv(); r.Xid != int32(i+1) || r.Err != 0 {
				t.Errorf("reply %d is %+v", i, r)
			}
		}
		busy.wantClosed()
	})
}

// Run does not wait for ever.
func TestShutdownEnds(t *testing.T) {
	inside(t, Options{DrainTimeout: 3 * time.Second, MaxRequests: 2}, func(d *door) {
		stuck, syncing, mute := d.login(), d.login(), d.dialMute()
		d.replica.set(func() { d.replica.held, d.replica.syncs = true, make(chan struct{}) })
		go func() { // More than there is room for.
			for range 5 {
				frame := jute.EndFrame(create("/n", "").Append((&jute.RequestHeader{Op: 1}).Append(jute.BeginFrame(nil))), 0)
				if _, err := stuck.socket.Write(frame); err != nil {
					return
				}
			}
		}()
		syncing.send(jute.OpSync, &jute.PathRequest{Path: "/"})
		mute.sendFrame((&jute.ConnectRequest{}).Append(nil))
		synctest.Wait()
		start := time.Now()
		d.stop()
		if err := <-d.stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
		d.stopped <- nil
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("stopped after %v, want 3 s", took)
		}
	})
}

// A listener that fails ends Run with its error.
func TestFailedListener(t *testing.T) {
	bad := errors.New("bad")
	s := New(Options{
		Listeners: []net.Listener{failing{newPipes(), bad}, newPipes()}, Replica: newReplica(), Publisher: newReplica(), Clock: clock.Real{},
		Random: bytes.NewReader(nil), Logger: slog.New(slog.DiscardHandler),
	})
	if err := s.Run(context.Background()); !errors.Is(err, bad) {
		t.Errorf("Run returns %v", err)
	}
}

type failing struct {
	net.Listener
	err error
}

func (f failing) Accept() (net.Conn, error) { return nil, f.err }

func TestConnectionLimit(t *testing.T) {
	inside(t, Options{MaxConnections: 2}, func(d *door) {
		a, _ := d.login(), d.login()
		start := time.Now()
		d.dial().wantClosed()
		if took := time.Since(start); took != 0 {
			t.Errorf("one more than the limit is closed after %v", took)
		}
		_ = a.socket.Close()
		synctest.Wait()
		d.login()
	})
}
