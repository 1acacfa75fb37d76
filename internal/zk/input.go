package zk

import (
	"encoding/binary"
	"io"
	"sync/atomic"

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
// and not the lengths that a client promises. What it takes beyond inputBytesMax, for a frame that is larger and has not come to
// its end, comes out of a store that all connections share.
type input struct {
	// store is what the connections share; nil for one that is never used up. held is what this one has of it.
	store *store
	held  int64

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
	if !in.makeRoom() {
		return errInputFull
	}
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
// it was too small, up to what the frame needs, and starts over small when a large one is no longer needed. It returns false if the
// store has not enough.
func (in *input) makeRoom() bool {
	left := in.w - in.r
	size := len(in.buf)
	switch {
	case size == 0 || (left == 0 && in.lull > inputLull):
		size = inputBytesMin
	case left == 0 && size > inputBytesMax:
		size = inputBytesMax
	case in.full && (size < inputBytesMax || left == size):
		size = min(2*size, max(in.frameBytes(), inputBytesMax))
	}
	if !in.hold(int64(max(size-inputBytesMax, 0))) {
		return false
	}
	target := in.buf
	if size != len(in.buf) {
		target = make([]byte, size)
	}
	copy(target, in.buf[in.r:in.w])
	in.buf, in.r, in.w = target, 0, left
	return true
}

// frameBytes is the size of the frame that is under way, as its beginning says, which next has found good.
func (in *input) frameBytes() int {
	head := in.peek(jute.FrameHeaderBytes)
	if head == nil {
		return 0
	}
	return jute.FrameHeaderBytes + int(binary.BigEndian.Uint32(head))
}

// hold takes from the store, or gives back, so that n bytes are held. It returns false, and changes nothing, if the store has
// not enough.
func (in *input) hold(n int64) bool {
	if in.store != nil && n != in.held && !in.store.take(n-in.held) {
		return false
	}
	in.held = n
	return true
}

// close gives back what is held; the buffer is not used any more.
func (in *input) close() {
	in.buf, in.r, in.w = nil, 0, 0
	in.hold(0)
}

// store is a number of bytes that many share.
type store struct{ left atomic.Int64 }

func newStore(bytes int64) *store {
	s := &store{}
	s.left.Store(bytes)
	return s
}

// take takes n bytes, or gives them back if n is negative; false if there are not so many.
func (s *store) take(n int64) bool {
	if s.left.Add(-n) >= 0 || n < 0 {
		return true
	}
	s.left.Add(n)
	return false
}
