package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// Reader reads one snapshot, checking every byte on the way.
type Reader struct {
	file    vfs.File
	name    string
	size    int64
	meta    Meta
	frames  int64 // offset of the first
	table   int64 // offset of the table
	count   uint32
	records uint64

	// Where Next stands.
	unpack   *zstd.Decoder
	offsets  []uint64 // of the frames to come; nil before the first
	at       int64    // of the frame to come
	packed   []byte
	unpacked []byte
	frameAt  int64  // of the frame in unpacked
	raw      []byte // what is left of unpacked
	read     uint64
}

// Open opens a snapshot and checks its header and trailer, and that they are of the entry that its name says, if it has its final
// name. The errors are *CorruptError, ErrFormat, and those of the file system.
func Open(fs vfs.FS, name string) (*Reader, error) {
	file, err := fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	r := &Reader{file: file, name: name}
	err = r.readEnds()
	if named, ok := parseName(name); err == nil && ok && (named.Index != r.meta.Index || named.Term != r.meta.Term) {
		err = r.corrupt(16, fmt.Sprintf("it is of entry %d of term %d, and has the name of another one", r.meta.Index, r.meta.Term))
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return r, nil
}

// Meta tells what the snapshot is of.
func (r *Reader) Meta() Meta { return r.meta }

// Size returns the length of the file in bytes.
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error {
	if r.unpack != nil {
		r.unpack.Close()
	}
	return r.file.Close()
}

// Bytes reads the file as it is, to be streamed to another member.
func (r *Reader) Bytes() io.Reader { return io.NewSectionReader(r.file, 0, r.size) }

// Next returns the next record, which is valid until the next call; io.EOF after the last. Any other
// error is *CorruptError or one of the file system.
func (r *Reader) Next() (kind uint8, data []byte, err error) {
	for len(r.raw) == 0 {
		if err := r.nextFrame(); err != nil {
			return 0, nil, err
		}
	}
	size, n := binary.Uvarint(r.raw[1:])
	if n <= 0 || size > uint64(len(r.raw)-1-n) {
		return 0, nil, r.corrupt(r.frameAt, "a record does not fit its frame")
	}
	end := 1 + n + int(size)
	kind, data = r.raw[0], r.raw[1+n:end]
	r.raw = r.raw[end:]
	r.read++
	return kind, data, nil
}

// nextFrame unpacks the next frame, or says that there is none.
func (r *Reader) nextFrame() error {
	if r.offsets == nil {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if len(r.offsets) == 0 {
		if r.at != r.table || r.read != r.records {
			return r.corrupt(r.at, "frames or records are missing")
		}
		return io.EOF
	}
	if r.offsets[0] != uint64(r.at) {
		return r.corrupt(r.at, "the table of frames does not match the frames")
	}
	r.offsets = r.offsets[1:]
	packed, err := r.readFrame(r.at, r.packed)
	if err != nil {
		return err
	}
	r.packed = packed
	want := int(binary.LittleEndian.Uint32(packed))
	if want > frameMax {
		return r.corrupt(r.at, "a frame is larger than any that is written")
	}
	// The decoder keeps to the capacity: a frame that unpacks to more than it says costs no memory.
	r.unpacked, err = r.unpack.DecodeAll(packed[frameHeader:], grow(r.unpacked, want)[:0])
	if err != nil || len(r.unpacked) != want || want == 0 {
		return r.corrupt(r.at, "a frame does not unpack")
	}
	r.raw, r.frameAt = r.unpacked, r.at
	r.at += int64(len(packed))
	return nil
}

// begin reads the table of frames.
func (r *Reader) begin() error {
	unpack, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	r.unpack, r.at = unpack, r.frames
	r.offsets, err = r.readTable()
	return err
}

// Verify reads all remaining records and drops them.
func (r *Reader) Verify() error {
	for {
		if _, _, err := r.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// readFrame reads the frame at an offset into b.
func (r *Reader) readFrame(at int64, b []byte) ([]byte, error) {
	b = grow(b, frameHeader)
	if err := r.readAt(b, at); err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(b[4:]))
	if at+frameHeader+size > r.table {
		return nil, r.corrupt(at, "a frame reaches beyond the frames")
	}
	b = grow(b, frameHeader+int(size))
	if err := r.readAt(b, at); err != nil {
		return nil, err
	}
	if frameSum(b) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, r.corrupt(at, "the checksum of a frame does not match")
	}
	return b, nil
}

// readEnds reads header and trailer.
func (r *Reader) readEnds() error {
	size, err := r.file.Size()
	if err != nil {
		return fmt.Errorf("size of snapshot %s: %w", r.name, err)
	}
	r.size = size
	head := make([]byte, 16)
	if size < int64(len(head)+trailerSize) {
		return r.corrupt(size, "the file is too short")
	}
	if err := r.readAt(head, 0); err != nil {
		return err
	}
	if string(head[:8]) != magicHead {
		return r.corrupt(0, "the file does not begin like a snapshot")
	}
	length := int64(binary.LittleEndian.Uint32(head[12:]))
	if length < 16 || length > metaMax || 16+length+4 > size-trailerSize {
		return r.corrupt(12, "the header has an impossible length")
	}
	head = make([]byte, 16+length+4)
	if err := r.readAt(head, 0); err != nil {
		return err
	}
	if !sumMatches(head) {
		return r.corrupt(0, "the checksum of the header does not match")
	}
	// Only now: a flipped bit must not pass for another version.
	if v := binary.LittleEndian.Uint32(head[8:]); v != Format {
		return fmt.Errorf("%w: %s has format %d, this okapi reads %d: use the okapi that wrote it", ErrFormat, r.name, v, Format)
	}
	body := head[16 : 16+length]
	r.meta = Meta{Index: binary.LittleEndian.Uint64(body), Term: binary.LittleEndian.Uint64(body[8:]), Payload: body[16:]}
	r.frames = int64(len(head))
	return r.readTrailer()
}

func (r *Reader) readTrailer() error {
	b := make([]byte, trailerSize)
	at := r.size - trailerSize
	if err := r.readAt(b, at); err != nil {
		return err
	}
	if string(b[24:]) != magicTail || !sumMatches(b[:24]) {
		return r.corrupt(at, "the file does not end like a snapshot")
	}
	r.table = int64(binary.LittleEndian.Uint64(b))
	r.count = binary.LittleEndian.Uint32(b[8:])
	r.records = binary.LittleEndian.Uint64(b[12:])
	if r.table < r.frames || r.table+int64(r.count)*8+4 != at {
		return r.corrupt(at, "the table of frames has an impossible place")
	}
	return nil
}

func (r *Reader) readTable() ([]uint64, error) {
	b := make([]byte, int(r.count)*8+4)
	if err := r.readAt(b, r.table); err != nil {
		return nil, err
	}
	if !sumMatches(b) {
		return nil, r.corrupt(r.table, "the checksum of the table of frames does not match")
	}
	offsets := make([]uint64, r.count)
	for i := range offsets {
		offsets[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return offsets, nil
}

func (r *Reader) readAt(b []byte, at int64) error {
	n, err := r.file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		return r.corrupt(at+int64(n), "the file ends too early")
	}
	return fmt.Errorf("read snapshot %s at offset %d: %w", r.name, at, err)
}

func (r *Reader) corrupt(at int64, reason string) error {
	return &CorruptError{File: r.name, Offset: at, Reason: reason}
}

// sumMatches tells whether the last four bytes of b are the checksum of the rest.
func sumMatches(b []byte) bool {
	n := len(b) - 4
	return crc32.Checksum(b[:n], castagnoli) == binary.LittleEndian.Uint32(b[n:])
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}
