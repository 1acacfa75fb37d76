package robustness

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// The operations and xids of ZooKeeper's protocol that a session uses (org.apache.zookeeper.ZooDefs.OpCode, ClientCnxn).
const (
	opCreate     = 1
	opDelete     = 2
	opExists     = 3
	opGetData    = 4
	opSetData    = 5
	opSync       = 9
	opCheck      = 13
	opMulti      = 14
	opCreate2    = 15
	opSetWatches = 101
	opClose      = -11

	createEphemeral  = 1
	createSequential = 2
	anyVersion       = -1
	codeNone         = -1 // of the parts of a multi that was refused

	xidEvent      = -1
	xidSetWatches = -8

	eventSession     = -1
	eventDataChanged = 3
)

const (
	// frameTimeout bounds how long a server may take for one frame.
	frameTimeout = 15 * time.Second
	// sessionTimeout is what a session asks for if nothing else is said.
	sessionTimeout = 30 * time.Second
)

// request is one that a session sends.
type request struct {
	op    int32
	path  string
	data  string
	watch bool
	// version is what setData, delete and check want; flags say what kind of node is made.
	version, flags int32
	// parts are those of a multi.
	parts []request
}

// arrival is one thing that came over a connection, in the order in which it came.
type arrival struct {
	event   bool
	request request // that a reply answers
	path    string  // of an event
	kind    int32   // of an event
	zxid    int64
	code    int32
	// data, version and mzxid are what a reply shows of its node; made is the path of a node that was made.
	data    string
	version int32
	mzxid   int64
	made    string
	// floor is, for a reply to sync, the newest write that anybody had been told of when it was sent.
	floor int64
}

// session is a ZooKeeper session: a client that speaks the protocol itself, with no library that would put things in order.
type session struct {
	id       int64
	password []byte
	seen     int64 // the newest zxid of a reply
	conn     net.Conn
	in       *bufio.Reader
	// timeout is what it asks for, and then what it got.
	timeout time.Duration
	// patience bounds how long a server may take for one frame; 0 is frameTimeout.
	patience time.Duration
}

// errExpired is the answer for a session that has ended.
var errExpired = errors.New("session has expired")

func putInt(b []byte, v int32) []byte     { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func putLong(b []byte, v int64) []byte    { return binary.BigEndian.AppendUint64(b, uint64(v)) }
func putString(b []byte, v string) []byte { return append(putInt(b, int32(len(v))), v...) }

func putFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// attach connects to a member, and opens the session or goes on with it.
func (s *session) attach(address string) error {
	conn, err := net.DialTimeout("tcp", address, frameTimeout)
	if err != nil {
		return err
	}
	return s.greet(conn)
}

// greet opens the session, or goes on with it, over a connection.
func (s *session) greet(conn net.Conn) error {
	s.conn, s.in = conn, bufio.NewReaderSize(conn, 64<<10)
	if s.timeout == 0 {
		s.timeout = sessionTimeout
	}
	hello := putLong(putInt(putLong(putInt(nil, 0), s.seen), int32(s.timeout.Milliseconds())), s.id)
	if s.password == nil {
		s.password = make([]byte, 16)
	}
	hello = putFlag(putString(hello, string(s.password)), false)
	if _, err := conn.Write(putString(nil, string(hello))); err != nil {
		return err
	}
	answer, err := s.read()
	if err != nil {
		return err
	}
	timeout := binary.BigEndian.Uint32(answer[4:])
	if timeout == 0 {
		return fmt.Errorf("session %#x: %w", s.id, errExpired)
	}
	s.timeout = time.Duration(timeout) * time.Millisecond
	s.id, s.password = int64(binary.BigEndian.Uint64(answer[8:])), answer[20:36]
	return nil
}

// drop ends the connection without a word.
func (s *session) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *session) read() ([]byte, error) {
	patience := s.patience
	if patience == 0 {
		patience = frameTimeout
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(s.in, length[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(s.in, frame)
	return frame, err
}

// encode appends a request's frame.
func (r request) encode(b []byte, xid int32) []byte {
	body := putInt(putInt(nil, xid), r.op)
	if r.op == opMulti {
		for _, part := range r.parts {
			body = part.body(putInt(putFlag(putInt(body, part.op), false), codeNone))
		}
		return putString(b, string(putInt(putFlag(putInt(body, codeNone), true), codeNone)))
	}
	return putString(b, string(r.body(body)))
}

// body appends what stands behind the header of a request, or of a part of a multi.
func (r request) body(b []byte) []byte {
	if r.op == opClose {
		return b
	}
	b = putString(b, r.path)
	switch r.op {
	case opCreate, opCreate2:
		b = putString(b, r.data)
		b = putInt(putInt(b, 1), 31) // one entry: all rights, for
		b = putString(putString(b, "world"), "anyone")
		b = putInt(b, r.flags)
	case opGetData, opExists:
		b = putFlag(b, r.watch)
	case opSetData:
		b = putInt(putString(b, r.data), r.version)
	case opDelete, opCheck:
		b = putInt(b, r.version)
	}
	return b
}

// setWatches is the frame with which a client that has moved asks for its data watches again.
func setWatches(seen int64, paths []string) []byte {
	body := putLong(putInt(putInt(nil, xidSetWatches), opSetWatches), seen)
	body = putInt(body, int32(len(paths)))
	for _, p := range paths {
		body = putString(body, p)
	}
	return putString(nil, string(putInt(putInt(body, 0), 0)))
}

// decode reads a frame; next is the request whose turn it is, with its xid.
func decode(frame []byte, xid int32, next request) (arrival, error) {
	got := int32(binary.BigEndian.Uint32(frame))
	a := arrival{zxid: int64(binary.BigEndian.Uint64(frame[4:])), code: int32(binary.BigEndian.Uint32(frame[12:])), request: next}
	body := frame[16:]
	if got == xidEvent {
		a.event, a.request, a.kind = true, request{}, int32(binary.BigEndian.Uint32(body))
		a.path = string(body[12:])
		return a, nil
	}
	if got != xid {
		return a, fmt.Errorf("xid %d came when it was the turn of %d", got, xid)
	}
	if a.code != 0 {
		return a, nil
	}
	text := func() string {
		n := 4 + binary.BigEndian.Uint32(body)
		s := string(body[4:n])
		body = body[n:]
		return s
	}
	switch next.op {
	case opMulti:
		a.code = multiCode(body)
		return a, nil
	case opGetData:
		a.data = text()
	case opCreate2:
		a.made = text()
	case opSetData, opExists:
	default:
		return a, nil
	}
	a.mzxid = int64(binary.BigEndian.Uint64(body[8:]))
	a.version = int32(binary.BigEndian.Uint32(body[32:]))
	return a, nil
}

// multiCode is the error of the part for which a multi was refused. Then all its parts are answered by errors alone, each a header (type, end,
// error) and an error, which is 0 for those before that part.
func multiCode(body []byte) int32 {
	const partBytes = 4 + 1 + 4 + 4
	for ; int32(binary.BigEndian.Uint32(body)) == codeNone && body[4] == 0; body = body[partBytes:] {
		if code := int32(binary.BigEndian.Uint32(body[5:])); code != 0 {
			return code
		}
	}
	return 0
}

func TestMultiCode(t *testing.T) {
	failed := func(code int32) []byte { return putInt(putInt(append(putInt(nil, codeNone), 0), code), code) }
	end := putInt(append(putInt(nil, codeNone), 1), codeNone)
	done := append(putInt(nil, opSetData), 0)
	for _, c := range []struct {
		parts [][]byte
		want  int32
	}{
		{[][]byte{end}, 0},
		{[][]byte{done, end}, 0},
		{[][]byte{failed(-103), failed(-2), end}, -103},
		{[][]byte{failed(0), failed(0), failed(-110), end}, -110},
	} {
		if got := multiCode(slices.Concat(c.parts...)); got != c.want {
			t.Errorf("code of %x is %d, want %d", c.parts, got, c.want)
		}
	}
}
