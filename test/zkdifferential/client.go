package zkdifferential

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// answerTimeout bounds how long a server may take for an answer.
const answerTimeout = 20 * time.Second

// messageKind says what came from a server.
type messageKind int

const (
	// messageReply answers a request.
	messageReply messageKind = iota
	// messageEvent is a notification.
	messageEvent
	// messageConnect answers a connect request.
	messageConnect
	// messageEnd is the end of the connection.
	messageEnd
)

// message is one thing that came from a server.
type message struct {
	kind messageKind
	// request is what a messageReply answers, as far as the order of replies tells.
	request *request
	frame   []byte
}

// authFailed is what a client is told before its connection ends.
const authFailed = -115

// errSilence says that a server did not answer in time. It is no end of the connection.
var errSilence = errors.New("no answer in time")

// client is one session at one server, and its connection if there is one.
type client struct {
	address string
	// socket is nil if there is no connection.
	socket net.Conn
	in     *bufio.Reader
	// session and password are those of the last connect response that gave any; seen and opened are zxids.
	session      int64
	password     []byte
	seen, opened int64
	// closed says that the session was closed by its client, or expired.
	closed bool
	// sent numbers the requests of the connection.
	sent int32
	// got gathers what came.
	got []message
}

func (c *client) live() bool { return c.socket != nil }

// at resolves a moment.
func (c *client) at(m moment) int64 {
	switch m {
	case momentSeen:
		return c.seen
	case momentOpened:
		return c.opened
	case momentAhead:
		return 1 << 60
	}
	return 0
}

// connect makes a connection and opens (session 0) or attaches a session.
func (c *client) connect(session int64, password []byte, st *step) error {
	socket, err := net.Dial("tcp", c.address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.socket, c.in, c.sent = socket, bufio.NewReader(socket), 0
	b := putLong(putInt(nil, 0), c.at(st.since))
	b = putBytes(putLong(putInt(b, st.timeout), session), password)
	if !st.plain {
		b = putBool(b, false)
	}
	c.send(frameOf(b))
	frame, err := c.read()
	if err != nil {
		return c.ended(err)
	}
	c.got = append(c.got, message{kind: messageConnect, frame: frame})
	r := scanner{rest: frame}
	r.int()
	timeout, id, password := r.int(), r.long(), r.bytes()
	if timeout <= 0 {
		frame, err := c.read()
		if err == nil {
			c.got = append(c.got, message{kind: messageEvent, frame: frame}) // Nothing may come.
		}
		return c.ended(err)
	}
	if session == 0 {
		c.opened, c.closed = 0, false
	}
	c.session, c.password = id, password
	return nil
}

func frameOf(body []byte) []byte { return append(putInt(nil, int32(len(body))), body...) }

// encode gives the frames of a batch.
func (c *client) encode(batch []request) []byte {
	var out []byte
	for i := range batch {
		c.sent++
		out = append(out, frameOf(batch[i].frame(c.sent, c.at))...)
	}
	return out
}

// send sends; what goes wrong is found when the answer is read.
func (c *client) send(b []byte) {
	_ = c.socket.SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _ = c.socket.Write(b)
}

// collect reads the answers to a batch, and what comes between.
func (c *client) collect(batch []request) error {
	for i := range batch {
		if err := c.collectOne(&batch[i]); err != nil || !c.live() {
			return err
		}
	}
	if n := len(batch); n > 0 && (batch[n-1].ends() || replyCode(c.got[len(c.got)-1].frame) == authFailed) {
		c.closed = c.closed || batch[n-1].op == opClose
		_, err := c.read()
		return c.ended(err)
	}
	return nil
}

// collectOne reads up to the answer to one request or the end.
func (c *client) collectOne(r *request) error {
	for {
		frame, err := c.read()
		if err != nil {
			return c.ended(err)
		}
		s := scanner{rest: frame}
		if xid := s.int(); xid == xidEvent {
			c.got = append(c.got, message{kind: messageEvent, frame: frame})
			continue
		}
		if zxid := s.long(); zxid > 0 {
			c.seen = max(c.seen, zxid)
			if c.opened == 0 {
				c.opened = zxid
			}
		}
		c.got = append(c.got, message{kind: messageReply, request: r, frame: frame})
		return nil
	}
}

// read reads one frame.
func (c *client) read() ([]byte, error) {
	_ = c.socket.SetReadDeadline(time.Now().Add(answerTimeout))
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(c.in, frame)
	return frame, err
}

// ended notes the end of the connection, unless the server was merely silent.
func (c *client) ended(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = errSilence
	} else {
		c.got = append(c.got, message{kind: messageEnd})
		err = nil
	}
	c.drop()
	return err
}

// drop closes the connection.
func (c *client) drop() {
	if c.socket != nil {
		_ = c.socket.Close()
		c.socket = nil
	}
}

// take returns what came and forgets it.
func (c *client) take() []message {
	got := c.got
	c.got = nil
	return got
}
