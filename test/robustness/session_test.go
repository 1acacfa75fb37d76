package robustness

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// The operations and xids of ZooKeeper's protocol that a session uses (org.apache.zookeeper.ZooDefs.OpCode, ClientCnxn).
const (
	opCreate     = 1
	opExists     = 3
	opGetData    = 4
	opSetData    = 5
	opSync       = 9
	opSetWatches = 101

	xidEvent      = -1
	xidSetWatches = -8

	eventSession     = -1
	eventDataChanged = 3
)

// frameTimeout bounds how long a server may take for one frame.
const frameTimeout = 15 * time.Second

// request is one that a session sends.
type request struct {
	op    int32
	path  string
	data  string
	watch bool
}

// arrival is one thing that came over a connection, in the order in which it came.
type arrival struct {
	event   bool
	request request // that a reply answers
	path    string  // of an event
	kind    int32   // of an event
	zxid    int64
	code    int32
	// data, version and mzxid are what a reply shows of its node.
	data    string
	version int32
	mzxid   int64
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
}

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
	s.conn, s.in = conn, bufio.NewReaderSize(conn, 64<<10)
	hello := putLong(putInt(putLong(putInt(nil, 0), s.seen), 30_000), s.id)
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
	if timeout := binary.BigEndian.Uint32(answer[4:]); timeout == 0 {
		return fmt.Errorf("session %#x has expired", s.id)
	}
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
	if err := s.conn.SetReadDeadline(time.Now().Add(frameTimeout)); err != nil {
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
	body := putString(putInt(putInt(nil, xid), r.op), r.path)
	switch r.op {
	case opCreate:
		body = putString(body, r.data)
		body = putInt(putInt(body, 1), 31) // one entry: all rights, for
		body = putString(putString(body, "world"), "anyone")
		body = putInt(body, 0)
	case opGetData, opExists:
		body = putFlag(body, r.watch)
	case opSetData:
		body = putInt(putString(body, r.data), -1)
	}
	return putString(b, string(body))
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
	if a.code != 0 || next.op != opGetData && next.op != opSetData && next.op != opExists {
		return a, nil
	}
	if next.op == opGetData {
		n := 4 + binary.BigEndian.Uint32(body)
		a.data, body = string(body[4:n]), body[n:]
	}
	a.mzxid = int64(binary.BigEndian.Uint64(body[8:]))
	a.version = int32(binary.BigEndian.Uint32(body[32:]))
	return a, nil
}
