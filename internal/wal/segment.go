package wal

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/vfs"
)

const (
	segmentSuffix = ".wal"
	// temporarySuffix is on a file that is being made; Open removes leftovers.
	temporarySuffix = ".tmp"

	// formatVersion is the newest layout that this package reads and the one it writes.
	formatVersion uint32 = 1
	// segmentMagic begins each segment. It, the version behind it and the checksum of
	// the first sector keep their places in all versions.
	segmentMagic = "okapiwal"
	// segmentHeaderBytes is the encoded size of a segmentHeader; on disk it fills the
	// first block.
	segmentHeaderBytes = 112
)

// segment is one file of the log.
type segment struct {
	path   string
	file   vfs.File
	seeder seeder
	header segmentHeader

	// readers counts the calls of Entries that use the file, released says that the last
	// of them closes it; both guarded by Log.mu.
	readers  int
	released bool
}

// segmentHeader says whose file it is, how it continues the one before, and what the
// state of the log was when it began: the older files can go.
type segmentHeader struct {
	version  uint32
	identity Identity
	number   uint64
	// firstSequence and previousCRC are those that its first batch must have.
	firstSequence uint64
	previousCRC   uint32
	hardState     HardState
	mark          Mark
	// lastIndex and lastTerm are of the last entry before this segment.
	lastIndex, lastTerm uint64
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, 0, segmentHeaderBytes)
	le := binary.LittleEndian
	b = append(b, segmentMagic...)
	b = le.AppendUint32(b, h.version)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint64{
		h.identity.ClusterID, h.identity.MemberID, h.number, h.firstSequence,
		h.hardState.Term, h.hardState.Vote, h.hardState.Commit,
		h.mark.Index, h.mark.Term, h.lastIndex, h.lastTerm,
	} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, h.previousCRC)
	return le.AppendUint32(b, 0)
}

func decodeSegmentHeader(b []byte) segmentHeader {
	le := binary.LittleEndian
	word := func(i int) uint64 { return le.Uint64(b[16+8*i:]) }
	return segmentHeader{
		version:       le.Uint32(b[8:]),
		identity:      Identity{ClusterID: word(0), MemberID: word(1)},
		number:        word(2),
		firstSequence: word(3),
		hardState:     HardState{Term: word(4), Vote: word(5), Commit: word(6)},
		mark:          Mark{Index: word(7), Term: word(8)},
		lastIndex:     word(9),
		lastTerm:      word(10),
		previousCRC:   le.Uint32(b[104:]),
	}
}

// segmentPath returns the path of a segment.
func segmentPath(dir string, number uint64) string {
	return path.Join(dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

// parseSegmentName returns the number in a file name; false if it is another file.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil
}

// openSegment opens a file and reads its header. The caller closes the file, also after
// an error if the segment is not nil.
func openSegment(fsys vfs.FS, dir string, number uint64, id Identity) (*segment, error) {
	s := &segment{path: segmentPath(dir, number), seeder: newSeeder(id, number)}
	var err error
	if s.file, err = fsys.Open(s.path); err != nil {
		return nil, fmt.Errorf("open log segment: %w", err)
	}
	block := make([]byte, blockBytes)
	n, err := s.file.ReadAt(block, 0)
	if err != nil && err != io.EOF {
		return s, fmt.Errorf("read log segment: %w", err)
	}
	if n < blockBytes {
		return s, s.corrupt(int64(n), "the file ends inside its header")
	}
	// The first sector is judged first: the rest may have another form in a newer version.
	if !headerSeeder.valid(block[:sectorBytes], 0, kindHead) || string(block[:8]) != segmentMagic {
		return s, s.corrupt(0, "the header does not match its checksum")
	}
	s.header = decodeSegmentHeader(block)
	if s.header.version > formatVersion {
		return s, &VersionError{File: s.path, Found: s.header.version, Known: formatVersion}
	}
	if bad := (frame{seeder: headerSeeder}).check(block); bad >= 0 {
		return s, s.corrupt(int64(bad)*sectorBytes, "the header does not match its checksum")
	}
	if s.header.identity != id {
		return s, &IdentityError{File: s.path, Found: s.header.identity, Want: id}
	}
	if s.header.number != number {
		return s, s.corrupt(0, fmt.Sprintf("the file was written as segment %d and copied or renamed", s.header.number))
	}
	return s, nil
}

// createSegment makes a file with its header and the first zeros, durable under its
// name before it returns. A crash leaves the whole file or none: it gets its name last.
func createSegment(fsys vfs.FS, dir string, h segmentHeader, preparedBytes int64) (*segment, error) {
	s := &segment{path: segmentPath(dir, h.number), seeder: newSeeder(h.identity, h.number), header: h}
	temporary := s.path + temporarySuffix
	var err error
	if s.file, err = fsys.Create(temporary); err != nil {
		return nil, fmt.Errorf("create log segment: %w", err)
	}
	if err := s.fill(fsys, dir, preparedBytes); err != nil {
		_ = s.file.Close() // the first error says more
		return nil, fmt.Errorf("create log segment: %w", err)
	}
	return s, nil
}

func (s *segment) fill(fsys vfs.FS, dir string, preparedBytes int64) error {
	first := make([]byte, preparedBytes)
	frame{seeder: headerSeeder}.encode(first[:blockBytes], s.header.encode(), nil)
	if _, err := s.file.WriteAt(first, 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := fsys.Rename(s.path+temporarySuffix, s.path); err != nil {
		return err
	}
	// Opened again: its errors are to name the file that is there.
	file, err := fsys.Open(s.path)
	if err != nil {
		return err
	}
	temporary := s.file
	s.file = file
	if err := temporary.Close(); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

func (s *segment) corrupt(offset int64, reason string) *CorruptError {
	return &CorruptError{File: s.path, Offset: offset, Reason: reason}
}

// releaseLocked closes the file now or when the last reader is done.
func (s *segment) releaseLocked() error {
	if s.released {
		return nil
	}
	s.released = true
	if s.readers > 0 {
		return nil
	}
	return s.file.Close()
}

// readBatch reads and verifies the batch at offset, of n bytes on disk, and returns its
// header and records. It is how a batch is read at any time after Open.
func (s *segment) readBatch(offset, n int64) (batchHeader, []byte, error) {
	raw := make([]byte, n)
	if _, err := s.file.ReadAt(raw, offset); err != nil && err != io.EOF {
		return batchHeader{}, nil, fmt.Errorf("read log segment: %w", err)
	}
	if bad := (frame{seeder: s.seeder, offset: offset}).check(raw); bad >= 0 {
		return batchHeader{}, nil, s.corrupt(offset+int64(bad)*sectorBytes, "a sector does not match its checksum")
	}
	header, ok := decodeBatchHeader(raw)
	if !ok || frameBytes(batchHeaderBytes, int(header.payloadBytes)) != n {
		return batchHeader{}, nil, s.corrupt(offset, "a batch has a header that was never written")
	}
	if string(raw[:batchHeaderBytes]) != string(raw[n-sectorBytes:][:batchHeaderBytes]) {
		return batchHeader{}, nil, s.corrupt(offset+n-sectorBytes, "the two headers of a batch differ")
	}
	payload := unframe(raw, batchHeaderBytes, int(header.payloadBytes))
	if batchCRC(raw[:batchHeaderBytes], payload) != header.crc {
		return batchHeader{}, nil, s.corrupt(offset, "a batch does not match its checksum")
	}
	return header, payload, nil
}
