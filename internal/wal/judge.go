package wal

import (
	"errors"
	"fmt"
	"io"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// scanBytes is how much of a file is read at once to look at its sectors.
const scanBytes = 128 << 10

// torn is what a crash left of the last batch.
type torn struct {
	segment *segment
	// offset and end bound the sectors that are not zero.
	offset, end int64
	// header is that of the batch, nil if neither copy was written.
	header *batchHeader
}

// remains is what lies behind the last whole batch of a segment, sector by sector.
type remains struct {
	// bad is the first sector that is neither zero nor valid, hole the first that is
	// zero; -1 if none is.
	bad, hole int64
	// end is behind the last sector that is not zero; 0 if all are.
	end int64
	// header is a valid header of the expected batch. other is set if another batch has
	// one: it was written later, or in another life.
	header *batchHeader
	other  bool
}

// flaw returns the first sector of the expected batch that was not written, or else where
// it begins: then its sectors are whole but do not belong here.
func (left *remains) flaw(from int64) int64 {
	end := from + sectorBytes
	if left.header != nil {
		end = from + frameBytes(batchHeaderBytes, int(left.header.payloadBytes))
	}
	if left.hole >= from && left.hole < end {
		return left.hole
	}
	return from
}

// endsIn judges what follows the last whole batch in segment i, which is not sealed:
// nothing, a batch torn by a crash, or damage.
func (r *recovery) endsIn(i int) error {
	s, from, size := r.segments[i], r.end.offset, r.end.preparedBytes
	if size < from+blockBytes {
		return s.corrupt(size, "the file was truncated")
	}
	left, err := inspect(s, from, size, r.end.sequence)
	if err != nil {
		return err
	}
	if left.bad >= 0 {
		return s.corrupt(left.bad, "a sector does not match its checksum")
	}
	if left.other {
		return s.corrupt(left.flaw(from), fmt.Sprintf("batch %d is damaged or missing, and another one exists", r.end.sequence))
	}
	if err := r.checkLater(i, left); err != nil {
		return err
	}
	if left.end == 0 {
		return nil
	}
	if err := r.checkTorn(s, left); err != nil {
		return err
	}
	r.torn = &torn{segment: s, offset: from, end: left.end, header: left.header}
	return nil
}

// checkLater looks at the segments behind the end: one may have been made ahead, and it
// must be empty.
func (r *recovery) checkLater(i int, left remains) error {
	s := r.segments[i]
	for _, later := range r.segments[i+1:] {
		size, err := later.file.Size()
		if err != nil {
			return fmt.Errorf("read log segment: %w", err)
		}
		ahead, err := inspect(later, blockBytes, size, later.header.firstSequence)
		if err != nil {
			return err
		}
		if ahead.bad >= 0 && ahead.header == nil && !ahead.other {
			return later.corrupt(ahead.bad, "a sector does not match its checksum") // and nothing says that a batch was there
		}
		if ahead.end != 0 || len(r.segments) > i+2 {
			return s.corrupt(left.flaw(r.end.offset),
				fmt.Sprintf("batch %d is damaged, and segment %d was written after it", r.end.sequence, later.header.number))
		}
		r.leftovers = append(r.leftovers, later.path)
	}
	return nil
}

// checkTorn refuses remains that are not what a crash makes of a batch.
func (r *recovery) checkTorn(s *segment, left remains) error {
	from := r.end.offset
	if left.header == nil {
		return nil // neither header was written
	}
	end := from + frameBytes(batchHeaderBytes, int(left.header.payloadBytes))
	switch {
	case end+blockBytes > r.end.preparedBytes:
		return s.corrupt(r.end.preparedBytes, "the file was truncated")
	case left.end > end:
		return s.corrupt(end, "there is data behind the last batch")
	case left.hole < 0 || left.hole >= end:
		// All there, but nextBatch did not take it: its checksum or its predecessor is
		// not right.
		return s.corrupt(from, fmt.Sprintf("batch %d does not follow the one before", r.end.sequence))
	}
	return nil
}

// inspect looks at every sector from offset to the end of the file, where the batch with
// this sequence number would be.
func inspect(s *segment, offset, size int64, sequence uint64) (remains, error) {
	left := remains{bad: -1, hole: -1}
	buffer := make([]byte, max(0, min(scanBytes, size-offset)))
	for at := offset; at < size; at += scanBytes {
		part := buffer[:min(scanBytes, size-at)]
		if err := readFull(s.file, part, at); err != nil {
			return left, err
		}
		for i := 0; i < len(part); i += sectorBytes {
			sector := part[i:min(i+sectorBytes, len(part))]
			left.look(s, sector, at+int64(i), judged{first: offset, sequence: sequence})
		}
	}
	return left, nil
}

// judged is the batch that is expected: where it begins, and its number.
type judged struct {
	first    int64
	sequence uint64
}

// look adds one sector.
func (left *remains) look(s *segment, sector []byte, at int64, want judged) {
	if isZero(sector) {
		if left.hole < 0 {
			left.hole = at
		}
		return
	}
	left.end = at + sectorBytes
	var kind sectorKind
	ok := len(sector) == sectorBytes
	if ok {
		kind, ok = s.seeder.judge(sector, at/sectorBytes)
	}
	if !ok {
		if left.bad < 0 {
			left.bad = at
		}
		return
	}
	if kind == kindBody {
		return
	}
	header, ok := decodeBatchHeader(sector)
	if !ok || header.sequence != want.sequence || kind == kindHead && at != want.first {
		left.other = true
		return
	}
	left.header = &header
}

// readFull reads all of p.
func readFull(f vfs.File, p []byte, offset int64) error {
	n, err := f.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read log segment: %w", err)
}
