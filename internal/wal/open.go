package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// lockName is the file that keeps a second process out.
const lockName = "lock"

// Recovered is what Open found.
type Recovered struct {
	// HardState is the newest one that was synced; its commit index may lag.
	HardState HardState
	// Mark is the newest snapshot position; the snapshot itself is the caller's to find.
	Mark Mark
	// Entries follow the mark without a gap.
	Entries []*raftpb.Entry
	// Cut is set from the moment the end of the log was cut off until ClearCut.
	Cut *Cut
	// Fresh says that the folder held no log and an empty one was made.
	Fresh bool
}

// Open opens the log of a member, or makes an empty one where there is none. It verifies
// every byte, cuts a batch that a crash tore, and makes durable whatever it reports.
//
// It refuses, and changes nothing on the disk, with *CorruptError, *IdentityError,
// *VersionError, ErrNoLog, vfs.ErrLocked or the error of the file system. A crash or an
// error during Open leaves a folder that the next Open handles.
func Open(fsys vfs.FS, dir string, id Identity, opts Options) (*Log, *Recovered, error) {
	opts = opts.withDefaults()
	if err := makeFolder(fsys, dir, opts); err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	r := &recovery{fs: fsys, dir: dir, id: id, opts: opts}
	l, found, err := r.run()
	if err != nil {
		r.closeFiles()
		return nil, nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	return l, found, nil
}

// makeFolder makes the folder, and its name durable even if it was there: an earlier try
// may have ended between the two.
func makeFolder(fsys vfs.FS, dir string, opts Options) error {
	_, err := fsys.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && opts.MustExist:
		return fmt.Errorf("%s: %w", dir, ErrNoLog)
	case errors.Is(err, fs.ErrNotExist):
		err = fsys.MkdirAll(dir)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(dir))
}

// recovery is one Open: first it reads everything, then it repairs.
type recovery struct {
	fs   vfs.FS
	dir  string
	id   Identity
	opts Options

	segments []*segment
	// leftovers are files to delete: half-made segments, and a next segment whose
	// predecessor was not sealed yet.
	leftovers []string
	cut       *Cut
	// noted is what NoteEnd wrote down last; short says that the log ends before.
	noted noted
	short bool

	index     logIndex
	hardState HardState
	end       position
	// last is the batch that was read last; it is repeated, see rewriteLast.
	last extent
	// torn is the flaw that is to be cut off; nil if the log ends cleanly.
	torn *torn
}

func (r *recovery) run() (*Log, *Recovered, error) {
	numbers, err := r.list()
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	if r.cut, err = readCut(r.fs, r.dir, r.id); err != nil {
		return nil, nil, err
	}
	if r.noted, err = readEnd(r.fs, r.dir, r.id); err != nil {
		return nil, nil, err
	}
	if r.noted.cut && r.cut == nil {
		return nil, nil, &CorruptError{File: path.Join(r.dir, cutName), Reason: "the file is missing, and what was cut off is not made good for"}
	}
	if len(numbers) == 0 {
		return r.begin()
	}
	if err := r.replay(numbers); err != nil {
		return nil, nil, r.explain(err)
	}
	if err := r.repair(); err != nil {
		return nil, nil, fmt.Errorf("repair log: %w", err)
	}
	return r.finish(false)
}

// list returns the numbers of the segments in order and notes the leftovers.
func (r *recovery) list() ([]uint64, error) {
	names, err := r.fs.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if number, ok := parseSegmentName(name); ok {
			numbers = append(numbers, number)
		}
		if strings.HasSuffix(name, temporarySuffix) {
			r.leftovers = append(r.leftovers, path.Join(r.dir, name))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// begin makes the first segment of a log.
func (r *recovery) begin() (*Log, *Recovered, error) {
	if r.opts.MustExist {
		return nil, nil, fmt.Errorf("open log in %s: %w", r.dir, ErrNoLog)
	}
	if r.cut != nil || r.noted.sequence != 0 {
		return nil, nil, &CorruptError{File: segmentPath(r.dir, 1), Reason: "all segments are missing"}
	}
	if err := r.removeLeftovers(); err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	header := segmentHeader{version: formatVersion, identity: r.id, number: 1, firstSequence: 1}
	prepared := min(r.opts.PrepareBytes, r.opts.SegmentBytes)
	s, err := createSegment(r.fs, r.dir, header, prepared)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	r.segments = []*segment{s}
	r.end = position{offset: blockBytes, sequence: 1, preparedBytes: prepared, durableBytes: prepared}
	return r.finish(true)
}

// replay reads all segments. It changes nothing on the disk.
func (r *recovery) replay(numbers []uint64) error {
	for i, number := range numbers {
		if i > 0 && number != numbers[i-1]+1 {
			missing := segmentPath(r.dir, numbers[i-1]+1)
			return &CorruptError{File: missing, Reason: "the segment is missing, and later ones exist"}
		}
		s, err := openSegment(r.fs, r.dir, number, r.id)
		if s != nil {
			r.segments = append(r.segments, s)
		}
		if err != nil {
			return err
		}
	}
	r.start(r.segments[0].header)
	for i, s := range r.segments {
		if err := r.continues(s); err != nil {
			return err
		}
		sealed, err := r.readSegment(s)
		if err != nil {
			return err
		}
		if sealed && i == len(r.segments)-1 {
			missing := segmentPath(r.dir, s.header.number+1)
			return &CorruptError{File: missing, Reason: "the segment is missing, and the one before was finished"}
		}
		if !sealed {
			if err := r.endsIn(i); err != nil {
				return err
			}
			break
		}
	}
	if err := r.checkNoted(); err != nil {
		return err
	}
	if index, missing := r.index.gap(); missing {
		reason := fmt.Sprintf("entries from %d on are missing: an earlier segment was removed", index)
		return r.segments[0].corrupt(0, reason)
	}
	return nil
}

// start takes over the state that the oldest segment begins with.
func (r *recovery) start(h segmentHeader) {
	r.index = logIndex{mark: h.mark, last: h.lastIndex, lastTerm: h.lastTerm}
	r.hardState = h.hardState
	r.end.sequence, r.end.crc = h.firstSequence, h.previousCRC
}

// continues checks that a segment begins where the one before ended.
func (r *recovery) continues(s *segment) error {
	h := s.header
	ok := h.firstSequence == r.end.sequence && h.previousCRC == r.end.crc &&
		h.hardState == r.hardState && h.mark == r.index.mark &&
		h.lastIndex == r.index.last && h.lastTerm == r.index.lastTerm
	if !ok {
		return s.corrupt(0, "the segment does not continue the one before: it is from another time or copy")
	}
	return nil
}

// readSegment applies the batches of a segment up to its seal or its end.
func (r *recovery) readSegment(s *segment) (sealed bool, err error) {
	r.end.offset = blockBytes
	if r.end.preparedBytes, err = s.file.Size(); err != nil {
		return false, fmt.Errorf("read log segment: %w", err)
	}
	r.end.durableBytes = r.end.preparedBytes
	for !sealed {
		header, payload, n, err := r.nextBatch(s)
		if err != nil {
			return false, err
		}
		if n == 0 {
			return false, nil
		}
		place := extent{segment: s, batchOffset: r.end.offset, batchBytes: n}
		err = parseRecords(payload, func(c change) error { return r.index.apply(c, place) })
		if err != nil {
			return false, s.corrupt(r.end.offset, err.Error())
		}
		r.hardState = header.hardState
		r.last = place
		r.end.sequence, r.end.crc = header.sequence+1, header.crc
		r.end.offset += n
		sealed = header.flags&flagSeal != 0
	}
	return true, nil
}

// nextBatch reads the batch at the end of what was read; n is 0 if there is no whole one.
// What is there instead is for endsIn to judge.
func (r *recovery) nextBatch(s *segment) (h batchHeader, payload []byte, n int64, err error) {
	if r.end.offset+blockBytes > r.end.preparedBytes {
		return batchHeader{}, nil, 0, nil
	}
	sector := make([]byte, sectorBytes)
	if err := readFull(s.file, sector, r.end.offset); err != nil {
		return batchHeader{}, nil, 0, err
	}
	if !s.seeder.valid(sector, r.end.offset/sectorBytes, kindHead) {
		return batchHeader{}, nil, 0, nil
	}
	h, ok := decodeBatchHeader(sector)
	if !ok || h.sequence != r.end.sequence || h.previousCRC != r.end.crc {
		return batchHeader{}, nil, 0, nil
	}
	n = frameBytes(batchHeaderBytes, int(h.payloadBytes))
	if r.end.offset+n > r.end.preparedBytes {
		return batchHeader{}, nil, 0, nil
	}
	h, payload, err = s.readBatch(r.end.offset, n)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return batchHeader{}, nil, 0, nil
	}
	return h, payload, n, err
}

// finish makes the Log.
func (r *recovery) finish(fresh bool) (*Log, *Recovered, error) {
	l := &Log{
		fs: r.fs, dir: r.dir, id: r.id, opts: r.opts,
		segments: r.segments, index: r.index, durable: r.hardState, end: r.end, cut: r.cut != nil,
	}
	l.group = group{
		hardState: r.hardState, mark: r.index.mark,
		last: r.index.last, lastTerm: r.index.lastTerm,
	}
	found := &Recovered{HardState: r.hardState, Mark: r.index.mark, Cut: r.cut, Fresh: fresh}
	if r.index.last > r.index.mark.Index {
		var err error
		found.Entries, err = l.Entries(r.index.mark.Index+1, r.index.last+1, math.MaxUint64)
		if err != nil {
			return nil, nil, fmt.Errorf("read log: %w", err)
		}
	}
	return l, found, nil
}

func (r *recovery) closeFiles() {
	for _, s := range r.segments {
		if s.file != nil {
			_ = s.file.Close() // the log is refused anyway
		}
	}
}
