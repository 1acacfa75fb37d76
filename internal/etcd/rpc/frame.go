package rpc

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// frameHeadBytes is the length of what every frame begins with (RFC 9113, 4.1).
const frameHeadBytes = 9

// appendFrame appends the head of a frame whose payload has so many bytes.
func appendFrame(b []byte, kind http2.FrameType, flags http2.Flags, id uint32, bytes int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(bytes>>16), byte(bytes>>8), byte(bytes), byte(kind), byte(flags)), id)
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrame(b, http2.FrameSettings, 0, 0, 6*len(settings))
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

func appendWindowUpdate(b []byte, id, bytes uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, http2.FrameWindowUpdate, 0, id, 4), bytes)
}

func appendReset(b []byte, id uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, http2.FrameRSTStream, 0, id, 4), uint32(code))
}

func appendPing(b []byte, flags http2.Flags, data [8]byte) []byte {
	return append(appendFrame(b, http2.FramePing, flags, 0, len(data)), data[:]...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, why string) []byte {
	b = appendFrame(b, http2.FrameGoAway, 0, 0, 8+len(why))
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, why...)
}

// appendBlock appends a header block, in as many frames as it takes.
func appendBlock(b []byte, id uint32, block []byte, flags http2.Flags) []byte {
	kind := http2.FrameHeaders
	for len(block) > frameBytesMax {
		b = append(appendFrame(b, kind, flags, id, frameBytesMax), block[:frameBytesMax]...)
		block, kind, flags = block[frameBytesMax:], http2.FrameContinuation, 0
	}
	return append(appendFrame(b, kind, flags|http2.FlagHeadersEndHeaders, id, len(block)), block...)
}
