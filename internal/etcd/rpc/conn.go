package rpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/peer"
)

// Bounds of a connection.
const (
	// windowBytes is what a client may send on a stream before it is given more: HTTP/2's own value.
	windowBytes = 1<<16 - 1
	// connWindowBytes is the same for all streams of a connection together. What comes is taken at once, so it bounds
	// nothing but how often the client must be told.
	connWindowBytes = 1 << 20
	// frameBytesMax is the largest frame that is received, and that is sent: HTTP/2's own value.
	frameBytesMax = 1 << 14
	// readBytes is how much is read from the socket at a time, frames that are larger excepted.
	readBytes = 8 << 10
	// outBytes is how much may be ready for the socket before messages wait in their streams, and outBytesMax how
	// much before the reader waits, because even small answers and acknowledgements need room.
	outBytes    = 64 << 10
	outBytesMax = 256 << 10
	// lingerTime is how long a client that is sent away has to read why.
	lingerTime = time.Second
)

// conn is the connection of one client.
type conn struct {
	server *Server
	// socket is what was accepted, raw what the credentials have made of it; that is the reader's and the writer's.
	socket, raw net.Conn
	// calls counts the calls whose handlers run.
	calls sync.WaitGroup

	// What the reader alone uses.
	framer *http2.Framer
	heads  headReader
	pings  pingGuard

	// heard is when something was read last, in nanoseconds since the Unix epoch.
	heard atomic.Int64
	// wake tells the writer that there is something to do, room the reader that there is less. Each holds a token.
	wake, room chan struct{}

	mu      sync.Mutex
	streams map[uint32]*stream
	lastID  uint32 // of the streams that the client has opened
	running int    // handlers
	// out is what the writer sends next. Of the streams that have more to send, ready are those for which there was no
	// room in it, and stalled those that wait for the window of the connection; others wait for their own.
	out            []byte
	ready, stalled []*stream
	replies        headWriter
	// window is what may be sent on all streams together, streamWindow where a new stream begins.
	window, streamWindow int64
	received             uint32 // bytes that the client is to be given again
	spoken               bool   // a header or message was sent since the client's last ping
	state                connState
	pinged               time.Time // when a keep-alive that is unanswered was sent
}

// connState is how far a connection is on its way to its end.
type connState int

const (
	connOpen     connState = iota
	connWarned             // the client was told that the end comes, and may not know it yet
	connDraining           // no stream is taken any more
	connEnding             // what is ready is sent, and then it ends
	connSaid               // all was sent; the client is to close
	connEnded              // nothing goes in or out any more
)

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{
		server: s, socket: raw, raw: raw, wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		streams: make(map[uint32]*stream), window: windowBytes, streamWindow: windowBytes,
	}
	c.heard.Store(s.opts.Clock.Now().UnixNano())
	return c
}

// serve serves the connection until it ends, its calls included.
func (c *conn) serve() {
	defer func() { c.raw.Close() }()
	err := c.open()
	if err == nil {
		var writing sync.WaitGroup
		writing.Go(c.runWriter)
		err = c.read()
		c.end(err)
		writing.Wait()
	}
	c.server.opts.Logger.Debug("a connection has ended", "remote", c.raw.RemoteAddr().String(), "reason", err)
	c.calls.Wait()
}

// open does what comes before the first call.
func (c *conn) open() error {
	o := &c.server.opts
	if err := c.raw.SetDeadline(time.Now().Add(o.HandshakeTimeout)); err != nil {
		return err
	}
	raw, info, err := o.Credentials.ServerHandshake(c.raw)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.raw = raw
	c.heads = newHeadReader(c.server, peer.NewContext(context.Background(), &peer.Peer{
		Addr: raw.RemoteAddr(), LocalAddr: raw.LocalAddr(), AuthInfo: info,
	}))
	c.replies = newHeadWriter()
	in := bufio.NewReaderSize(hearing{c}, readBytes)
	c.framer = http2.NewFramer(io.Discard, in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(frameBytesMax)
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(in, preface[:]); err != nil {
		return fmt.Errorf("read the preface: %w", err)
	}
	if string(preface[:]) != http2.ClientPreface {
		return errors.New("the client does not speak HTTP/2")
	}
	c.mu.Lock()
	said := c.out // that it ends, if the server stops
	c.out = appendSettings(nil, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: o.StreamsMax},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: o.HeaderBytesMax})
	c.out = append(appendWindowUpdate(c.out, 0, connWindowBytes-windowBytes), said...)
	c.mu.Unlock()
	signal(c.wake)
	return nil
}

// hearing reads from the socket and notes when something came.
type hearing struct{ *conn }

// Read implements io.Reader.
func (h hearing) Read(b []byte) (int, error) {
	n, err := h.raw.Read(b)
	if n > 0 {
		h.heard.Store(h.server.opts.Clock.Now().UnixNano())
	}
	return n, err
}

// read takes frames until the connection ends, and says why it does.
func (c *conn) read() error {
	first, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := first.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	for frame := first; err == nil; {
		if err = c.tolerate(c.take(frame)); err == nil {
			err = c.awaitRoom()
		}
		if err == nil {
			frame, err = c.framer.ReadFrame() // nil with an error
			err = c.tolerate(err)
		}
	}
	return err
}

// tolerate ends the stream that an error is about; what is left concerns the connection.
func (c *conn) tolerate(err error) error {
	if err == nil {
		return nil // which is nearly always so, and costs nothing
	}
	var broken http2.StreamError
	if errors.As(err, &broken) {
		c.reset(broken.StreamID, broken.Code)
		return nil
	}
	return err
}

// take does what a frame wants.
func (c *conn) take(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		return c.takeHeaders(f)
	case *http2.ContinuationFrame:
		return c.takeContinuation(f)
	case *http2.DataFrame:
		return c.takeData(f)
	case *http2.WindowUpdateFrame:
		return c.takeWindow(f)
	case *http2.SettingsFrame:
		return c.takeSettings(f)
	case *http2.PingFrame:
		return c.takePing(f)
	case *http2.RSTStreamFrame:
		c.takeReset(f)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // PRIORITY and what is not known is ignored; after a GOAWAY the client just opens no streams
}

// takeData takes a piece of a message.
func (c *conn) takeData(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += f.Length
	if c.received >= connWindowBytes/4 {
		c.out = appendWindowUpdate(c.out, 0, c.received)
		c.received = 0
		signal(c.wake)
	}
	st := c.streams[f.StreamID]
	if st == nil || st.closedByClient {
		if f.StreamID > c.lastID {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		if st != nil {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
		}
		return nil // it was on its way when the call ended
	}
	return st.takeLocked(f)
}

// takeWindow lets more be sent.
func (c *conn) takeWindow(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > windowMax {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.ready = append(c.ready, c.stalled...)
		c.stalled = nil
		signal(c.wake)
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		if f.StreamID > c.lastID {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	if st.window += int64(f.Increment); st.window > windowMax {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	st.sendLocked()
	return nil
}

// windowMax is the largest a window may become.
const windowMax = 1<<31 - 1

// takeSettings takes what the client wants, and acknowledges it.
func (c *conn) takeSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.HasDuplicates() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingHeaderTableSize:
			c.replies.limitTable(s.Val)
		case http2.SettingInitialWindowSize:
			return c.moveWindowsLocked(int64(s.Val))
		}
		return nil // frames are never larger than the least that a client must take
	})
	if err != nil {
		return err
	}
	c.out = appendFrame(c.out, http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	signal(c.wake)
	return nil
}

// moveWindowsLocked changes where the windows of streams begin, those of open streams too; they may become negative.
func (c *conn) moveWindowsLocked(to int64) error {
	by := to - c.streamWindow
	c.streamWindow = to
	for _, st := range c.streams { // in any order
		if st.window += by; st.window > windowMax {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		st.sendLocked()
	}
	return nil
}

// takeReset ends a call that the client wants no more.
func (c *conn) takeReset(f *http2.RSTStreamFrame) {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	if st != nil {
		st.closeLocked()
	}
	c.mu.Unlock()
	if st != nil {
		st.cancel()
	}
}

// reset ends a stream with an error of HTTP/2. One that is not there may have been refused, or be broken from its
// first frame on.
func (c *conn) reset(id uint32, code http2.ErrCode) {
	c.mu.Lock()
	st := c.streams[id]
	if st != nil {
		st.closeLocked()
	}
	c.lastID = max(c.lastID, id)
	c.out = appendReset(c.out, id, code)
	c.mu.Unlock()
	signal(c.wake)
	if st != nil {
		st.cancel()
	}
}

// awaitRoom waits until the socket has taken most of what is ready for it. The streams' windows have no part in this.
func (c *conn) awaitRoom() error {
	for {
		c.mu.Lock()
		full, ended := len(c.out) > outBytesMax, c.state >= connSaid
		c.mu.Unlock()
		if ended {
			return net.ErrClosed
		}
		if !full {
			return nil
		}
		<-c.room
	}
}

// drain tells the client to open no more streams. The first word of that has no stream in it, so that calls that
// are on their way are served; when the client has answered a ping behind it there can be none any more.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != connOpen {
		return
	}
	c.state = connWarned
	c.out = appendGoAway(c.out, windowMax, http2.ErrCodeNo, "")
	c.out = appendPing(c.out, 0, drainPing)
	signal(c.wake)
}

// drainedLocked ends a connection that drains when its last stream has ended.
func (c *conn) drainedLocked() {
	if c.state == connDraining && len(c.streams) == 0 {
		c.state = connEnding
		signal(c.wake)
	}
}

// end ends all calls. If the fault is the client's, or the end was agreed on, it is told.
func (c *conn) end(why error) {
	c.mu.Lock()
	var code http2.ConnectionError
	switch {
	case errors.As(why, &code):
		c.out = appendGoAway(c.out, c.lastID, http2.ErrCode(code), "")
		c.state = max(c.state, connEnding)
	case errors.Is(why, http2.ErrFrameTooLarge):
		c.out = appendGoAway(c.out, c.lastID, http2.ErrCodeFrameSize, "")
		c.state = max(c.state, connEnding)
	case errors.As(why, new(*sentAway)):
		c.out = appendGoAway(c.out, c.lastID, http2.ErrCodeEnhanceYourCalm, why.Error())
		c.state = max(c.state, connEnding)
	case c.state < connEnding:
		c.state = connEnded
	}
	told := c.state == connEnding || c.state == connSaid
	var open []*stream
	for _, st := range c.streams { // in any order
		st.closeLocked()
		open = append(open, st)
	}
	c.mu.Unlock()
	for _, st := range open {
		st.cancel()
	}
	if !told {
		c.raw.Close()
		signal(c.wake)
		return
	}
	// To close a socket with unread bytes in it sends a reset, which overtakes what was written before.
	if c.raw.SetDeadline(time.Now().Add(lingerTime)) == nil {
		signal(c.wake)
		_, _ = io.Copy(io.Discard, c.raw)
	}
	c.raw.Close()
	signal(c.wake)
}

// sentAway is why a client is told to be calm.
type sentAway struct{ text string }

// Error implements error.
func (s *sentAway) Error() string { return s.text }

// signal puts a token into a channel of capacity one, unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
