package rpc

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// prefixBytes is the length of what gRPC puts before a message: whether it is packed, and its size.
const prefixBytes = 5

// message is a message that is to be sent.
type message struct {
	prefix [prefixBytes]byte
	parts  mem.BufferSlice
	sent   int // of the prefix and the part that is next
	next   int // among the parts; the prefix comes before them
	left   int // bytes
}

// pack encodes a message and packs it, if the client packs its own in a way that is known here.
func (s *Server) pack(m any, packing encoding.Compressor) (message, error) {
	parts, err := s.opts.Codec.Marshal(m)
	if err != nil {
		return message{}, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	out := message{parts: parts}
	if packing != nil && parts.Len() > 0 {
		if out.parts, err = compress(parts, packing); err != nil {
			return message{}, status.Errorf(codes.Internal, "grpc: error while compressing: %v", err)
		}
		out.prefix[0] = 1
	}
	size := out.parts.Len()
	if uint64(size) > 1<<32-1 {
		out.free()
		return message{}, status.Errorf(codes.ResourceExhausted, "grpc: message too large (%d bytes)", size)
	}
	binary.BigEndian.PutUint32(out.prefix[1:], uint32(size))
	out.left = prefixBytes + size
	out.next = -1
	return out, nil
}

func compress(parts mem.BufferSlice, packing encoding.Compressor) (mem.BufferSlice, error) {
	defer parts.Free()
	var b bytes.Buffer
	w, err := packing.Compress(&b)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if _, err := w.Write(p.ReadOnlyData()); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b.Bytes())}, nil
}

// moveTo appends the next n bytes to b.
func (m *message) moveTo(b []byte, n int) []byte {
	m.left -= n
	for n > 0 {
		part := m.prefix[:]
		if m.next >= 0 {
			part = m.parts[m.next].ReadOnlyData()
		}
		take := min(n, len(part)-m.sent)
		b = append(b, part[m.sent:m.sent+take]...)
		n -= take
		if m.sent += take; m.sent == len(part) {
			m.sent, m.next = 0, m.next+1
		}
	}
	return b
}

// free lets go of the message.
func (m *message) free() {
	m.parts.Free()
	m.parts = nil
}

// unpack decodes a message that was received, which may be packed.
func (s *Server) unpack(body []byte, packed byte, how string, into any) error {
	switch {
	case packed > 1:
		return status.Errorf(codes.Internal, "grpc: received unexpected payload format %d", packed)
	case packed == 1 && (how == "" || how == encoding.Identity):
		return status.Error(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	case packed == 1:
		var err error
		if body, err = s.decompress(body, encoding.GetCompressor(how)); err != nil {
			return err
		}
	}
	if err := s.opts.Codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(body)}, into); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}

// decompress unpacks a message, as far as it may be large.
func (s *Server) decompress(body []byte, packing encoding.Compressor) ([]byte, error) {
	r, err := packing.Decompress(bytes.NewReader(body))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the message: %v", err)
	}
	most := s.opts.MessageBytesMax
	out, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to read decompressed data: %v", err)
	}
	if len(out) > most {
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", most)
	}
	return out, nil
}

// tooLarge is the refusal of a message; nil if its size is within the bound.
func (s *Server) tooLarge(size uint32) *status.Status {
	if uint64(size) <= uint64(s.opts.MessageBytesMax) {
		return nil
	}
	return status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", size, s.opts.MessageBytesMax)
}

// sizeOf is the size of the message whose prefix is the first of b.
func sizeOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[1:prefixBytes]) }

// appendExact appends data to b, for which exactly as much memory is taken if it has none.
func appendExact(b, data []byte) []byte {
	if b == nil {
		return slices.Clone(data)
	}
	return append(b, data...)
}
