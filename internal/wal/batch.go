package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// batchHeaderBytes is the encoded size of a batchHeader.
const batchHeaderBytes = 80

// flagSeal marks the batch without payload that ends a segment: it says that the next
// segment exists, so a missing one is noticed.
const flagSeal uint32 = 1

// batchMagic begins every batch header ("okbt").
const batchMagic uint32 = 0x7462_6b6f

// batchHeader begins a batch: everything that one Sync made durable. It repeats the
// whole hard state, so that the last batch is enough to know term and vote.
type batchHeader struct {
	flags    uint32
	sequence uint64
	// payloadBytes is the length of the records.
	payloadBytes uint32
	// crc covers the header and the records and begins with previousCRC, the crc of the
	// batch before: a batch of another life of this log does not fit in.
	crc, previousCRC uint32
	hardState        HardState
	// firstIndex, lastIndex and lastTerm describe the entries; zero without entries.
	firstIndex, lastIndex, lastTerm uint64
}

// encode fills b, of batchHeaderBytes, and sets crc for this payload.
func (h *batchHeader) encode(b, payload []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], batchMagic)
	le.PutUint32(b[4:], h.flags)
	le.PutUint64(b[8:], h.sequence)
	le.PutUint32(b[16:], h.payloadBytes)
	le.PutUint64(b[24:], h.hardState.Term)
	le.PutUint64(b[32:], h.hardState.Vote)
	le.PutUint64(b[40:], h.hardState.Commit)
	le.PutUint64(b[48:], h.firstIndex)
	le.PutUint64(b[56:], h.lastIndex)
	le.PutUint64(b[64:], h.lastTerm)
	le.PutUint32(b[72:], h.previousCRC)
	le.PutUint32(b[76:], 0)
	h.crc = batchCRC(b, payload)
	le.PutUint32(b[20:], h.crc)
}

// decodeBatchHeader reads a header from a sector whose checksum held; false if it is
// none that this version writes.
func decodeBatchHeader(b []byte) (batchHeader, bool) {
	le := binary.LittleEndian
	if le.Uint32(b) != batchMagic {
		return batchHeader{}, false
	}
	return batchHeader{
		flags:        le.Uint32(b[4:]),
		sequence:     le.Uint64(b[8:]),
		payloadBytes: le.Uint32(b[16:]),
		crc:          le.Uint32(b[20:]),
		hardState:    HardState{Term: le.Uint64(b[24:]), Vote: le.Uint64(b[32:]), Commit: le.Uint64(b[40:])},
		firstIndex:   le.Uint64(b[48:]),
		lastIndex:    le.Uint64(b[56:]),
		lastTerm:     le.Uint64(b[64:]),
		previousCRC:  le.Uint32(b[72:]),
	}, true
}

// batchCRC is the checksum of an encoded header, without its own field, and the records.
func batchCRC(header, payload []byte) uint32 {
	table := castagnoli()
	crc := crc32.Update(0, table, header[72:batchHeaderBytes])
	crc = crc32.Update(crc, table, header[:20])
	crc = crc32.Update(crc, table, header[24:72])
	return crc32.Update(crc, table, payload)
}
