package wal

import (
	"fmt"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// Sync makes everything appended so far durable, with one batch and one sync of the
// file. It does nothing if nothing changed. After an error the log is of no use any
// more: the member stops, and Open finds out what is on the disk.
func (l *Log) Sync() error {
	if l.err != nil || !l.group.changed {
		return l.err
	}
	if err := l.flush(); err != nil {
		return l.poison(fmt.Errorf("write log: %w", err))
	}
	return nil
}

// flush writes the group as a batch, in a new segment if this one is full.
func (l *Log) flush() error {
	g := &l.group
	need := frameBytes(batchHeaderBytes, len(g.payload))
	// The seal and the margin behind it must still fit.
	if l.end.offset > blockBytes && l.end.offset+need+2*blockBytes > l.opts.SegmentBytes {
		if err := l.roll(need); err != nil {
			return err
		}
	}
	place := extent{segment: l.tail(), batchOffset: l.end.offset, batchBytes: need}
	h := batchHeader{hardState: g.hardState}
	if g.lastEntry != 0 {
		h.firstIndex, h.lastIndex, h.lastTerm = g.firstEntry, g.lastEntry, g.lastTerm
	}
	if err := l.writeBatch(h, g.payload); err != nil {
		return err
	}
	l.durable = g.hardState
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range g.changes {
		if err := l.index.apply(c, place); err != nil {
			return err
		}
	}
	g.reset()
	return nil
}

// writeBatch numbers a batch, writes it at the end of the log and syncs.
func (l *Log) writeBatch(h batchHeader, payload []byte) error {
	h.sequence, h.previousCRC, h.payloadBytes = l.end.sequence, l.end.crc, uint32(len(payload))
	raw := l.encodeBatch(&h, payload)
	s, end := l.tail(), l.end.offset+int64(len(raw))
	if err := l.prepare(end + blockBytes); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(raw, l.end.offset); err != nil {
		scrub(s.file, raw, l.end.offset)
		return err
	}
	if err := l.prepareAhead(end, int64(len(raw))); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	l.Written.Add(uint64(len(raw)))
	l.end.durableBytes = l.end.preparedBytes
	l.end.offset, l.end.sequence, l.end.crc = end, h.sequence+1, h.crc
	return nil
}

// encodeBatch lays a batch out for its place, in a buffer that the next one reuses.
func (l *Log) encodeBatch(h *batchHeader, payload []byte) []byte {
	h.encode(l.header[:], payload)
	n := int(frameBytes(batchHeaderBytes, len(payload)))
	if cap(l.frame) < n || cap(l.frame) > bufferBytesKept {
		l.frame = make([]byte, n)
	}
	l.frame = l.frame[:n]
	frame{seeder: l.tail().seeder, offset: l.end.offset}.encode(l.frame, l.header[:], payload)
	return l.frame
}

// prepare makes the file durably reach size: a batch goes only where zeros are known to
// be, and a file that ends early was truncated. prepareAhead has done it already for all
// but the largest batches.
func (l *Log) prepare(size int64) error {
	if l.end.durableBytes >= size {
		return nil
	}
	if err := l.fillTo(size + l.opts.PrepareBytes); err != nil {
		return err
	}
	if err := l.tail().file.Sync(); err != nil {
		return err
	}
	l.end.durableBytes = l.end.preparedBytes
	return nil
}

// prepareAhead fills in zeros for batches to come, to be covered by the sync of this one.
func (l *Log) prepareAhead(end, batchBytes int64) error {
	want := min(end+max(l.opts.PrepareBytes/2, 2*batchBytes), l.opts.SegmentBytes)
	if l.end.preparedBytes >= want {
		return nil
	}
	step := max(l.opts.PrepareBytes, 4*batchBytes)
	return l.fillTo(min(l.end.preparedBytes+step, l.opts.SegmentBytes))
}

// fillTo writes zeros up to size.
func (l *Log) fillTo(size int64) error {
	if l.zeros == nil {
		l.zeros = make([]byte, min(l.opts.PrepareBytes, prepareBytesDefault))
	}
	for size = roundUp(size); l.end.preparedBytes < size; {
		n := min(size-l.end.preparedBytes, int64(len(l.zeros)))
		if _, err := l.tail().file.WriteAt(l.zeros[:n], l.end.preparedBytes); err != nil {
			return err
		}
		l.end.preparedBytes += n
	}
	return nil
}

// scrub overwrites what a failed write may have left with zeros. It is not a second
// try: a write can stop in the middle of a sector, which a crash cannot, and Open would
// have to take the half for damage. The log is given up in any case, so an error here
// changes nothing.
func scrub(f vfs.File, raw []byte, offset int64) {
	clear(raw)
	_, _ = f.WriteAt(raw, offset)
}

// roll makes the next segment, with room for a batch of need bytes, then seals the
// present one. In this order a seal without a next segment means that a file is missing.
func (l *Log) roll(need int64) error {
	seal := batchHeader{
		flags: flagSeal, sequence: l.end.sequence, previousCRC: l.end.crc, hardState: l.durable,
	}
	l.encodeBatch(&seal, nil) // for its crc, which the next header names
	header := l.nextHeader()
	header.firstSequence, header.previousCRC = seal.sequence+1, seal.crc
	prepared := max(min(l.opts.PrepareBytes, l.opts.SegmentBytes), roundUp(need+3*blockBytes))
	next, err := createSegment(l.fs, l.dir, header, prepared)
	if err != nil {
		return err
	}
	seal.sequence, seal.previousCRC = 0, 0 // writeBatch numbers it again, to the same
	if err := l.writeBatch(seal, nil); err != nil {
		_ = next.file.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, next)
	l.end.offset = blockBytes
	l.end.preparedBytes, l.end.durableBytes = prepared, prepared
	return nil
}

// nextHeader describes the state of the log at this moment.
func (l *Log) nextHeader() segmentHeader {
	return segmentHeader{
		version:   formatVersion,
		identity:  l.id,
		number:    l.tail().header.number + 1,
		hardState: l.durable,
		mark:      l.index.mark,
		lastIndex: l.index.last,
		lastTerm:  l.index.lastTerm,
	}
}
