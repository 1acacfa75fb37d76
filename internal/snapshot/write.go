package snapshot

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"

	"github.com/klauspost/compress/zstd"

	"github.com/okapi-kv/okapi/internal/vfs"
)

// Writer writes one snapshot. It is not safe for concurrent use. After an error it only takes Abort.
type Writer struct {
	fs      vfs.FS
	dir     string
	name    string // once it is whole
	temp    string // until then
	file    vfs.File
	at      int64
	pack    *zstd.Encoder
	raw     []byte
	packed  []byte
	offsets []uint64
	records uint64
}

// Name is the path of the snapshot at index and term; names sort by index.
func Name(dir string, index, term uint64) string {
	return path.Join(dir, fmt.Sprintf("%016x-%016x%s", index, term, suffix))
}

// Create begins a snapshot in dir. Nothing shows under its name before Commit. One snapshot of an entry may be
// written at a time.
func Create(fs vfs.FS, dir string, meta Meta) (*Writer, error) {
	if len(meta.Payload) > metaMax-16 {
		return nil, fmt.Errorf("create snapshot: a payload of %d bytes is over the limit", len(meta.Payload))
	}
	if err := vfs.MakeFolder(fs, dir); err != nil {
		return nil, fmt.Errorf("create snapshot folder: %w", err)
	}
	pack, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	name := Name(dir, meta.Index, meta.Term)
	file, err := fs.Create(name + writeTemp)
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	w := &Writer{fs: fs, dir: dir, name: name, temp: name + writeTemp, file: file, pack: pack}
	b := append([]byte(magicHead), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[8:], Format)
	body := binary.LittleEndian.AppendUint64(nil, meta.Index)
	body = binary.LittleEndian.AppendUint64(body, meta.Term)
	body = append(body, meta.Payload...)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(body)))
	if err := w.put(appendSum(append(b, body...), 0)); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Record adds one record of at most 1 GiB. data is copied.
func (w *Writer) Record(kind uint8, data []byte) error {
	if len(data) > recordMax {
		return fmt.Errorf("write snapshot %s: a record of %d bytes is over the limit", w.name, len(data))
	}
	w.raw = append(w.raw, kind)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(data)))
	w.raw = append(w.raw, data...)
	w.records++
	if len(w.raw) < frameBytes {
		return nil
	}
	return w.frame()
}

// frame packs what has gathered and writes it.
func (w *Writer) frame() error {
	if len(w.raw) == 0 {
		return nil
	}
	w.offsets = append(w.offsets, uint64(w.at))
	b := append(w.packed[:0], make([]byte, frameHeader)...)
	b = w.pack.EncodeAll(w.raw, b)
	binary.LittleEndian.PutUint32(b, uint32(len(w.raw)))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-frameHeader))
	binary.LittleEndian.PutUint32(b[8:], frameSum(b))
	w.packed, w.raw = b, w.raw[:0]
	return w.put(b)
}

// Commit finishes the snapshot: when it returns nil the file is durable under its name.
func (w *Writer) Commit() error {
	if err := w.frame(); err != nil {
		return err
	}
	tableAt := w.at
	var table []byte
	for _, o := range w.offsets {
		table = binary.LittleEndian.AppendUint64(table, o)
	}
	table = appendSum(table, 0)
	from := len(table)
	table = binary.LittleEndian.AppendUint64(table, uint64(tableAt))
	table = binary.LittleEndian.AppendUint32(table, uint32(len(w.offsets)))
	table = binary.LittleEndian.AppendUint64(table, w.records)
	table = append(appendSum(table, from), magicTail...)
	if err := w.put(table); err != nil {
		return err
	}
	return w.publish()
}

// publish makes the temporary file durable and gives it its name.
func (w *Writer) publish() error {
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync snapshot %s: %w", w.name, err)
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("close snapshot %s: %w", w.name, err)
	}
	if err := w.fs.Rename(w.temp, w.name); err != nil {
		return fmt.Errorf("rename snapshot %s: %w", w.name, err)
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return fmt.Errorf("sync snapshot folder: %w", err)
	}
	return nil
}

// Abort drops the unfinished snapshot. Errors are of no consequence: the next start removes the file.
func (w *Writer) Abort() {
	_ = w.file.Close()
	_ = w.fs.Remove(w.temp)
}

func (w *Writer) put(b []byte) error {
	if _, err := w.file.WriteAt(b, w.at); err != nil {
		return fmt.Errorf("write snapshot %s: %w", w.name, err)
	}
	w.at += int64(len(b))
	return nil
}

// castagnoli is never assigned again.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendSum adds the checksum of b[from:] to b.
func appendSum(b []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// frameSum is the checksum of a frame: its lengths and its packed bytes.
func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:8], castagnoli), castagnoli, frame[frameHeader:])
}
