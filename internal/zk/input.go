package zk

import (
	"encoding/binary"
	"io"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Sizes of a connection's input buffer.
const (
	inputBytesMin = 2 << 10
	// inputBytesMax is how far the buffer grows for the sake of fewer reads; a larger frame makes it
	// grow further, for the time of that frame.
	inputBytesMax = 64 << 10
	// inputLull is how many small reads make a grown buffer small again.
	inputLull = 16
)

// input cuts the bytes of a socket into frames. Its memory follows the bytes that have come in
// and not the lengths that a client promises.
type input struct {
	buf  []byte
	r, w int // buf[r:w] has been read from the socket and not been consumed
	// full says that the last read filled the buffer: more is waiting.
	full bool
	// lull counts the last reads that a quarter of the buffer would have done for.
	lull int
}

// peek returns the next n bytes without consuming them, or nil if they are not here yet.
func (in *input) peek(n int) []byte {
	if in.w-in.r < n {
		return nil
	}
	return in.buf[in.r : in.r+n]
}

// next returns the next frame, which is good until the next fill; nil if it is not here yet. A
// length that is negative or above the limit is an error.
func (in *input) next(limit int) ([]byte, error) {
	head := in.peek(jute.FrameHeaderBytes)
	if head == nil {
		return nil, nil
	}
	n := int(int32(binary.BigEndian.Uint32(head)))
	if n < 0 || n > limit {
		return nil, errFrameLength
	}
	frame := in.peek(jute.FrameHeaderBytes + n)
	if frame == nil {
		return nil, nil
	}
	in.r += len(frame)
	return frame[jute.FrameHeaderBytes:], nil
}

// fill reads once from r. It is called when next has no frame, so an idle connection has at most
// a part of a frame in its buffer.
func (in *input) fill(r io.Reader) error {
	in.makeRoom()
	n, err := r.Read(in.buf[in.w:])
	in.w += n
	in.full = in.w == len(in.buf)
	in.lull++
	if n > len(in.buf)/4 {
		in.lull = 0
	}
	if n > 0 {
		return nil // An error comes again.
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom moves what is left to the front, and changes the size of the buffer: it doubles when
// it was too small, and starts over small when a large one is no longer needed.
func (in *input) makeRoom() {
	left := in.w - in.r
	size := len(in.buf)
	switch {
	case size == 0 || (left == 0 && in.lull > inputLull):
		size = inputBytesMin
	case left == 0 && size > inputBytesMax:
		size = inputBytesMax
	case in.full && (size < inputBytesMax || left == size):
		size *= 2
	}
	target := in.buf
	if size != len(in.buf) {
		target = make([]byte, size)
	}
	copy(target, in.buf[in.r:in.w])
	in.buf, in.r, in.w = target, 0, left
}
