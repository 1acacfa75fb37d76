package wal

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/raft/v3/raftpb"
)

// The payload of a batch is a sequence of records. A run holds consecutive entries of
// one term, so that an entry costs its data and one or two bytes.
const (
	recordRun  = 1 // kind, 3 zero bytes, count u32, first index u64, term u64; then the entries
	recordMark = 2 // kind, reset u8, 6 zero bytes, index u64, term u64

	recordHeaderBytes = 24
	// entryTypeBits of the length prefix hold the entry's type.
	entryTypeBits = 2
)

// change is what a record does to the log, in memory and in replay alike.
type change struct {
	// mark tells a mark from a run of entries.
	mark bool
	// reset, of a mark: the log did not hold the marked entry, so nothing of it is left.
	reset bool
	// first and last bound the run; of a mark both are its index.
	first, last, term uint64
	// payloadOffset is where the record begins in its batch.
	payloadOffset uint32
}

var errRecord = errors.New("records of a batch are malformed")

// appendMark encodes a mark.
func appendMark(b []byte, m Mark, reset bool) []byte {
	kind := uint64(recordMark)
	if reset {
		kind |= 1 << 8
	}
	b = binary.LittleEndian.AppendUint64(b, kind)
	b = binary.LittleEndian.AppendUint64(b, m.Index)
	return binary.LittleEndian.AppendUint64(b, m.Term)
}

// appendRun encodes entries that are consecutive and of one term.
func appendRun(b []byte, entries []*raftpb.Entry) []byte {
	b = binary.LittleEndian.AppendUint64(b, recordRun|uint64(len(entries))<<32)
	b = binary.LittleEndian.AppendUint64(b, entries[0].GetIndex())
	b = binary.LittleEndian.AppendUint64(b, entries[0].GetTerm())
	for _, e := range entries {
		data := e.GetData()
		b = binary.AppendUvarint(b, uint64(len(data))<<entryTypeBits|uint64(e.GetType()))
		b = append(b, data...)
	}
	return b
}

// parseRecords calls visit for each record of a payload whose checksum held, and checks
// that they fill it exactly.
func parseRecords(payload []byte, visit func(change) error) error {
	for at := 0; at < len(payload); {
		rest := payload[at:]
		if len(rest) < recordHeaderBytes {
			return errRecord
		}
		le := binary.LittleEndian
		c := change{first: le.Uint64(rest[8:]), term: le.Uint64(rest[16:]), payloadOffset: uint32(at)}
		c.last = c.first
		at += recordHeaderBytes
		switch rest[0] {
		case recordMark:
			c.mark, c.reset = true, rest[1] == 1
		case recordRun:
			count := le.Uint32(rest[4:])
			if count == 0 {
				return errRecord
			}
			c.last = c.first + uint64(count) - 1
			for range count {
				_, _, n := parseEntry(payload[at:])
				if n == 0 {
					return errRecord
				}
				at += n
			}
		default:
			return errRecord
		}
		if err := visit(c); err != nil {
			return err
		}
	}
	return nil
}

// parseEntry returns type and data of the entry at the front of b and its encoded
// length, 0 if it does not fit. The data is a part of b.
func parseEntry(b []byte) (raftpb.EntryType, []byte, int) {
	prefix, n := binary.Uvarint(b)
	size := prefix >> entryTypeBits
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, 0
	}
	end := n + int(size)
	return raftpb.EntryType(prefix & (1<<entryTypeBits - 1)), b[n:end:end], end
}

// slot is an entry and the fields that it points to: one allocation serves many.
type slot struct {
	entry       raftpb.Entry
	term, index uint64
	kind        raftpb.EntryType
}

// entrySizeBytes is what an entry counts against a limit: its data and about what raft
// adds on the wire.
func entrySizeBytes(data []byte) uint64 { return uint64(len(data)) + 24 }
