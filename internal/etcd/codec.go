package etcd

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// wireMessage is a message in the form of the wire. Its parts may be shared with other messages: they are only read.
type wireMessage struct {
	parts mem.BufferSlice
}

// codec is gRPC's own codec for protocol buffers, but for messages that are encoded already. An event of a watch is
// encoded once, however many clients it goes to.
type codec struct {
	encoding.CodecV2
}

// newCodec makes the codec.
func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*wireMessage); ok {
		return m.parts, nil
	}
	return c.CodecV2.Marshal(v)
}

// shareBytes is the size from which bytes are handed on as they are: below it, copying is cheaper than another
// part of a message.
const shareBytes = 1 << 10

// builder puts a message together from encoded pieces.
type builder struct {
	parts mem.BufferSlice
	tail  []byte // copied pieces that are not yet a part
	size  int
}

// grow makes room for the pieces that add will copy, and for the parts.
func (b *builder) grow(headBytes int, pieces [][]byte) {
	shared := 0
	for _, p := range pieces {
		if len(p) >= shareBytes {
			shared++
		} else if shared == 0 {
			headBytes += len(p)
		}
	}
	b.tail = make([]byte, 0, headBytes)
	b.parts = make(mem.BufferSlice, 0, 2*shared+1)
}

// add appends a piece, which is not changed any more.
func (b *builder) add(piece []byte) {
	b.size += len(piece)
	if len(piece) < shareBytes {
		b.tail = append(b.tail, piece...)
		return
	}
	b.cut()
	b.parts = append(b.parts, mem.SliceBuffer(piece))
}

// cut makes a part of what was copied.
func (b *builder) cut() {
	if len(b.tail) > 0 {
		b.parts = append(b.parts, mem.SliceBuffer(b.tail))
		b.tail = nil
	}
}

// message returns the message; the builder is empty afterwards.
func (b *builder) message() *wireMessage {
	b.cut()
	m := &wireMessage{b.parts}
	*b = builder{}
	return m
}
