package vfs

import (
	"io"
	"io/fs"
)

// memFile is an open file of a Mem. Its inode stays usable after the name is gone.
type memFile struct {
	fs     *Mem
	node   *inode
	name   string
	closed bool
}

func (f *memFile) failed(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// beginLocked refuses a closed file before the operation counts.
func (f *memFile) beginLocked(op Op) (stop bool, err error) {
	if f.closed {
		return false, fs.ErrClosed
	}
	op.Name = f.name
	return f.fs.beginLocked(op)
}

// ReadAt reads into p from offset; io.EOF at the end of the file.
func (f *memFile) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if _, err := f.beginLocked(Op{Kind: OpRead, Offset: offset, Bytes: len(p)}); err != nil {
		return 0, f.failed("read", err)
	}
	if offset < 0 {
		return 0, f.failed("read", fs.ErrInvalid)
	}
	if offset >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes p at offset; the file grows with zeros to hold it.
func (f *memFile) WriteAt(p []byte, offset int64) (int, error) {
	m := f.fs
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := f.beginLocked(Op{Kind: OpWrite, Offset: offset, Bytes: len(p)})
	if err != nil {
		return 0, f.failed("write", err)
	}
	if offset < 0 {
		return 0, f.failed("write", fs.ErrInvalid)
	}
	n := len(p)
	if m.faults.FailWrite > 0 && m.faults.FailWrite == m.counts.Writes {
		n, err = min(n, m.faults.PartialBytes), ErrInjected
	}
	if room := f.roomLocked(offset); int64(n) > room {
		n, err = int(room), ErrNoSpace
	}
	if n > 0 {
		before := len(f.node.data)
		f.node.writeAt(p[:n], offset)
		m.usedBytes += int64(len(f.node.data) - before)
	}
	if errEnd := m.endLocked(stop); errEnd != nil {
		err = errEnd
	}
	if err != nil {
		return n, f.failed("write", err)
	}
	return n, nil
}

// roomLocked returns how many bytes fit from offset on.
func (f *memFile) roomLocked(offset int64) int64 {
	limit := f.fs.faults.LimitBytes
	if limit == 0 {
		return int64(^uint64(0) >> 1)
	}
	return max(0, int64(len(f.node.data))+limit-f.fs.usedBytes-offset)
}

// Sync makes the content and size durable.
func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if _, err := f.beginLocked(Op{Kind: OpSync}); err != nil {
		if err != ErrStopped {
			f.node.syncFailed()
		}
		return f.failed("sync", err)
	}
	if !f.fs.faults.LieAboutSync {
		f.node.sync()
	}
	return nil
}

// Truncate sets the size; a longer file is filled with zeros.
func (f *memFile) Truncate(size int64) error {
	m := f.fs
	m.mu.Lock()
	defer m.mu.Unlock()
	stop, err := f.beginLocked(Op{Kind: OpTruncate, Offset: size})
	if err != nil {
		return f.failed("truncate", err)
	}
	if size < 0 {
		return f.failed("truncate", fs.ErrInvalid)
	}
	if f.roomLocked(0) < size {
		return f.failed("truncate", ErrNoSpace)
	}
	m.usedBytes += size - int64(len(f.node.data))
	f.node.truncate(size)
	return m.endLocked(stop)
}

// Size returns the size in bytes.
func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.dead {
		return 0, f.failed("stat", ErrStopped)
	}
	if f.closed {
		return 0, f.failed("stat", fs.ErrClosed)
	}
	return int64(len(f.node.data)), nil
}

// Close gives the handle up; nothing becomes durable by it.
func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.failed("close", fs.ErrClosed)
	}
	f.closed = true
	return nil
}
