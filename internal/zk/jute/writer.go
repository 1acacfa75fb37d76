package jute

import (
	"encoding/binary"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// AppendBool adds a boolean to b.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendInt32 adds an int to b.
func AppendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }

// AppendInt64 adds a long to b.
func AppendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

// AppendBytes adds a buffer to b; nil is null.
func AppendBytes(b, v []byte) []byte {
	if v == nil {
		return AppendInt32(b, -1)
	}
	return append(AppendInt32(b, int32(len(v))), v...)
}

// AppendString adds a string to b.
func AppendString(b []byte, v string) []byte {
	return append(AppendInt32(b, int32(len(v))), v...)
}

// AppendStrings adds a vector of strings to b; nil is null.
func AppendStrings(b []byte, v []string) []byte {
	if v == nil {
		return AppendInt32(b, -1)
	}
	b = AppendInt32(b, int32(len(v)))
	for _, s := range v {
		b = AppendString(b, s)
	}
	return b
}

// FrameHeaderBytes is the size of the length in front of each message.
const FrameHeaderBytes = 4

// BeginFrame adds room for the length of a message to b. EndFrame is given the length that b had
// before.
func BeginFrame(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// EndFrame writes the length of the message that began at offset start of b.
func EndFrame(b []byte, start int) []byte {
	n := len(b) - start - FrameHeaderBytes
	invariant.Assert(n >= 0, "a frame ends after it began")
	binary.BigEndian.PutUint32(b[start:], uint32(n))
	return b
}
