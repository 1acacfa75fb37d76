package wal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// sectorBytes is what a disk writes in one piece.
	sectorBytes = 512
	// sectorPayloadBytes is a sector without its checksum.
	sectorPayloadBytes = sectorBytes - crcBytes
	crcBytes           = 4
	// blockBytes is the unit in which the log is written. It is the page of the operating
	// system and the physical sector of large disks, so a later write never touches a
	// block that an earlier sync covered.
	blockBytes      = 4096
	sectorsPerBlock = blockBytes / sectorBytes
)

// sectorKind is part of a sector's checksum, so that a payload can never be taken for a
// header: clients choose the payload.
type sectorKind uint32

const (
	kindHead sectorKind = iota // first of a frame; begins with its header
	kindBody                   // payload and padding
	kindTail                   // last of a frame; a copy of its header
	sectorKinds
)

// seeder gives the initial value of each sector's checksum: a sector that was written
// for another cluster, member, segment or place does not verify.
type seeder uint32

func newSeeder(id Identity, segment uint64) seeder {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[0:], id.ClusterID)
	binary.LittleEndian.PutUint64(b[8:], id.MemberID)
	binary.LittleEndian.PutUint64(b[16:], segment)
	return seeder(crc32.Checksum(b[:], castagnoli()))
}

// headerSeeder is for the segment header, which has to be readable before anybody knows
// whose it is.
const headerSeeder seeder = 0x6f6b6170

// seed is one to one in (sector, kind) below 2^30 sectors: the multiplier is odd.
func (s seeder) seed(sector int64, kind sectorKind) uint32 {
	return uint32(s) ^ (uint32(sector)*4+uint32(kind))*0x9e3779b1
}

// castagnoli returns the table for which processors have an instruction. The package
// behind it builds the table once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// seal writes the checksum of one sector.
func (s seeder) seal(sector []byte, number int64, kind sectorKind) {
	crc := crc32.Update(s.seed(number, kind), castagnoli(), sector[:sectorPayloadBytes])
	binary.LittleEndian.PutUint32(sector[sectorPayloadBytes:], crc)
}

// valid tells whether a sector was written as this kind at this place.
func (s seeder) valid(sector []byte, number int64, kind sectorKind) bool {
	crc := crc32.Update(s.seed(number, kind), castagnoli(), sector[:sectorPayloadBytes])
	return binary.LittleEndian.Uint32(sector[sectorPayloadBytes:]) == crc
}

// judge returns what a sector is; ok is false if it is nothing that the log wrote here.
func (s seeder) judge(sector []byte, number int64) (kind sectorKind, ok bool) {
	for kind := range sectorKinds {
		if s.valid(sector, number, kind) {
			return kind, true
		}
	}
	return 0, false
}

// frameBytes returns the space on disk of a frame: its header and payload, the copy of
// the header in a last sector, rounded up to whole blocks.
func frameBytes(headerBytes, payloadBytes int) int64 {
	sectors := (headerBytes+payloadBytes+sectorPayloadBytes-1)/sectorPayloadBytes + 1
	blocks := (sectors + sectorsPerBlock - 1) / sectorsPerBlock
	return int64(blocks) * blockBytes
}

// frame is a header and a payload to be laid out at a place.
type frame struct {
	seeder seeder
	offset int64 // of the first byte in the file, a multiple of blockBytes
}

// encode fills dst, which has the length that frameBytes says.
func (f frame) encode(dst, header, payload []byte) {
	first := f.offset / sectorBytes
	sectors := int64(len(dst) / sectorBytes)
	copy(dst, header)
	head := dst[len(header):sectorPayloadBytes]
	n := copy(head, payload)
	clear(head[n:])
	payload = payload[n:]
	f.seeder.seal(dst[:sectorBytes], first, kindHead)
	for i := int64(1); i < sectors-1; i++ {
		sector := dst[i*sectorBytes : (i+1)*sectorBytes]
		n := copy(sector[:sectorPayloadBytes], payload)
		clear(sector[n:sectorPayloadBytes])
		payload = payload[n:]
		f.seeder.seal(sector, first+i, kindBody)
	}
	tail := dst[len(dst)-sectorBytes:]
	clear(tail)
	copy(tail, header)
	f.seeder.seal(tail, first+sectors-1, kindTail)
}

// check returns the index of the first sector that is not what encode writes, or -1.
func (f frame) check(src []byte) int {
	first := f.offset / sectorBytes
	sectors := len(src) / sectorBytes
	for i := range sectors {
		kind := kindBody
		switch i {
		case 0:
			kind = kindHead
		case sectors - 1:
			kind = kindTail
		}
		if !f.seeder.valid(src[i*sectorBytes:(i+1)*sectorBytes], first+int64(i), kind) {
			return i
		}
	}
	return -1
}

// unframe moves the payload of a checked frame together, in place, and returns it: n
// bytes behind a header of headerBytes.
func unframe(src []byte, headerBytes, n int) []byte {
	to := headerBytes
	end := headerBytes + n
	for from := 0; to < end; from += sectorBytes {
		part := src[from : from+sectorPayloadBytes]
		if from == 0 {
			part = part[headerBytes:]
		}
		to += copy(src[to:min(end, to+len(part))], part)
	}
	return src[headerBytes:end:end]
}

// isZero tells whether a sector, or what is left of one at the end of a file, was never
// written.
func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
