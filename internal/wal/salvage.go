package wal

import "errors"

// explain adds to a CorruptError the newest term and vote that are still proven.
func (r *recovery) explain(err error) error {
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || r.short {
		return err
	}
	numbers, errList := r.list()
	if errList != nil {
		return err
	}
	for _, number := range numbers[min(len(r.segments), len(numbers)):] {
		s, _ := openSegment(r.fs, r.dir, number, r.id) // its flaws are met again below
		if s == nil {
			return err
		}
		r.segments = append(r.segments, s)
	}
	v := salvage{}
	for _, s := range r.segments {
		if !v.segment(s) {
			return err
		}
	}
	corrupt.HardState, corrupt.StateKnown = v.hardState, v.known && !v.doubt && !v.sealed
	return err
}

// salvage looks for the newest batch header. Each has two copies in different sectors,
// so one damaged sector leaves one of them.
type salvage struct {
	hardState HardState
	sequence  uint64
	known     bool
	// sealed says that the newest batch is a seal: a segment must follow.
	sealed bool
	// doubt is set by a flaw behind the batch found last: it may be a newer batch of
	// which nothing can be read.
	doubt bool
}

// segment looks at the headers of one file; false if it cannot be read.
func (v *salvage) segment(s *segment) bool {
	size, err := s.file.Size()
	if err != nil {
		return false
	}
	if s.header.number == 0 {
		v.doubt = true // until a batch in it is found
	} else {
		v.take(s.header.hardState, s.header.firstSequence)
	}
	buffer := make([]byte, max(0, min(scanBytes, size-blockBytes)))
	end := int64(blockBytes) // of the newest batch
	for at := int64(blockBytes); at < size; at += scanBytes {
		part := buffer[:min(scanBytes, size-at)]
		if readFull(s.file, part, at) != nil {
			return false
		}
		for i := 0; i < len(part); i += sectorBytes {
			end = v.sector(s, part[i:min(i+sectorBytes, len(part))], at+int64(i), end)
		}
	}
	if size < end+blockBytes {
		v.doubt = true // truncated
	}
	return true
}

// sector looks at one sector and returns the end of the newest batch.
func (v *salvage) sector(s *segment, sector []byte, at, end int64) int64 {
	if isZero(sector) {
		return end
	}
	kind, ok := kindBody, false
	if len(sector) == sectorBytes {
		kind, ok = s.seeder.judge(sector, at/sectorBytes)
	}
	if !ok {
		v.doubt = v.doubt || at >= end
		return end
	}
	if kind == kindBody {
		return end
	}
	h, ok := decodeBatchHeader(sector)
	if !ok || h.sequence < v.sequence {
		return end
	}
	v.take(h.hardState, h.sequence)
	v.sealed = h.flags&flagSeal != 0
	if kind == kindTail {
		return at + sectorBytes
	}
	return at + frameBytes(batchHeaderBytes, int(h.payloadBytes))
}

func (v *salvage) take(hs HardState, sequence uint64) {
	*v = salvage{hardState: hs, sequence: sequence, known: true}
}
