package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"
)

// FrameBytesMax is the size in bytes of the largest frame that a link carries. A receiver
// refuses a larger one before it allocates anything for it.
const FrameBytesMax = 16 << 20

const (
	// frameHeaderBytes is the length (4 bytes, big endian) and the CRC32C (4 bytes) of the
	// length and the payload. A length of zero is a ping, or the answer to one.
	frameHeaderBytes = 8
	// chunkBytes is the most that is handed to the socket under one deadline, so that a slow
	// link that still moves is told from a dead one.
	chunkBytes = 64 << 10
)

var (
	errFrameSize     = errors.New("frame is larger than the limit")
	errFrameChecksum = errors.New("frame is damaged: its checksum does not match")
)

// castagnoli is read only; crc32 keeps its own copy of this well-known table.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrameHeader(b, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(b[len(b)-4:], castagnoli), castagnoli, payload)
	return binary.BigEndian.AppendUint32(b, sum)
}

// writeFrame writes one frame; an empty payload makes a ping.
func writeFrame(w *bufio.Writer, payload []byte) error {
	// The header is made in the buffer itself, where there is room, so that a frame costs no
	// allocation.
	if _, err := w.Write(appendFrameHeader(w.AvailableBuffer(), payload)); err != nil {
		return err
	}
	if len(payload) == 0 {
		return nil
	}
	_, err := w.Write(payload)
	return err
}

// writeFrameNow writes one small frame past any buffer.
func writeFrameNow(w io.Writer, payload []byte) error {
	_, err := w.Write(append(appendFrameHeader(nil, payload), payload...))
	return err
}

// readFrame reads one frame of at most limit bytes into memory of its own; a ping gives nil.
// io.EOF comes back only between frames.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	return readFrameInto(r, limit, nil)
}

// readFrameInto is readFrame that uses spare if the frame fits.
func readFrameInto(r *bufio.Reader, limit int, spare []byte) ([]byte, error) {
	h, err := r.Peek(frameHeaderBytes)
	if err != nil {
		if len(h) > 0 {
			err = unexpected(err)
		}
		return nil, err
	}
	length, want := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	sum := crc32.Checksum(h[:4], castagnoli)
	if _, err := r.Discard(frameHeaderBytes); err != nil {
		return nil, err
	}
	if uint64(length) > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errFrameSize, length, limit)
	}
	var payload []byte
	if length > 0 {
		payload = spare
		if uint64(length) > uint64(cap(payload)) {
			payload = make([]byte, length)
		}
		payload = payload[:length]
		if _, err := io.ReadFull(r, payload); err != nil {
			return nil, unexpected(err)
		}
	}
	if crc32.Update(sum, castagnoli, payload) != want {
		return nil, errFrameChecksum
	}
	return payload, nil
}

// unexpected turns the end of the stream into an error: something had begun.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// timedConn gives every read and every chunk of a write its own deadline. What counts is
// progress: a large frame on a slow link may take minutes, but a link on which nothing moves
// for idle is dead.
type timedConn struct {
	net.Conn
	idle time.Duration
	// writesProveLife lets a full chunk that the socket took put off the deadline of a read
	// that waits for a pong: the ping may stand behind many such chunks. Single small writes
	// prove nothing, because a dead link's send buffer takes them for a long time.
	writesProveLife bool
}

// Read reads with a fresh deadline.
func (c *timedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write writes b in chunks, each with a fresh deadline.
func (c *timedConn) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		chunk := b[written:min(written+chunkBytes, len(b))]
		if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(chunk)
		written += n
		if err != nil {
			return written, err
		}
		if c.writesProveLife && len(chunk) == chunkBytes {
			if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}
