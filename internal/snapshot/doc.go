// Package snapshot keeps the state machine on disk, so that a member need not read its whole log at start
// and a member that lags can be brought up.
//
// # Format
//
// A file is a header, frames, a table and a trailer, all numbers little-endian:
//
//	header   magic "okapisnp", format u32, meta length u32, meta, crc u32 of all before
//	frame    raw length u32, packed length u32, crc u32 of both lengths and the packed bytes, packed bytes
//	table    for each frame: offset u64; then crc u32 of the table
//	trailer  offset of the table u64, frames u32, records u64, crc u32 of the trailer, magic "okapiend"
//
// A frame unpacks (zstd) to whole records: kind u8, length uvarint, data. Frames are independent, so
// they can be checked and unpacked apart from each other. Every byte of the file is under a checksum
// (CRC32C), and lengths must meet exactly: a file that reads through is the file that was written.
//
// # Crash safety
//
// A file is written under a temporary name, synced, renamed, and the folder synced. A crash leaves the
// old files and perhaps a temporary one, which the next start removes. A file with its final name that
// does not read through was damaged later: that is reported with its name and offset, never passed over.
package snapshot

import (
	"errors"
	"fmt"
)

// Format is the version of the file format that this package writes, and the newest it reads.
const Format = 1

const (
	magicHead   = "okapisnp"
	magicTail   = "okapiend"
	frameBytes  = 1 << 20 // raw bytes gathered before a frame is packed
	frameHeader = 12
	trailerSize = 8 + 4 + 8 + 4 + 8
	recordMax   = 1 << 30 // bytes; with frameMax it bounds what a hostile file makes a reader allocate
	frameMax    = frameBytes + recordMax + 16
	metaMax     = 16 << 20
	suffix      = ".snap"
	tempSuffix  = ".tmp"
	// A snapshot of our own and a received one may be of the same entry and under way at once.
	writeTemp, receiveTemp = ".w" + tempSuffix, ".r" + tempSuffix
)

// ErrFormat says that a file was made by a newer okapi.
var ErrFormat = errors.New("snapshot is of a newer format")

// ErrNone says that a folder holds no snapshot.
var ErrNone = errors.New("no snapshot")

// CorruptError says that a file is not what was written.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

// Error names file, offset and reason, and the way out.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("snapshot %s is damaged at offset %d: %s; replace this member or restore the file", e.File, e.Offset, e.Reason)
}

// Meta says what a snapshot is of.
type Meta struct {
	// Index and Term are those of the last entry that the snapshot covers.
	Index, Term uint64
	// Payload is the holder's own: configuration and members.
	Payload []byte
}

// Info is one snapshot of a folder.
type Info struct {
	Index, Term uint64
	// Name is the path of the file.
	Name string
}
