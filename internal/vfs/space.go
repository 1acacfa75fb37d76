package vfs

import (
	"errors"
	"io/fs"
	"path"
	"syscall"
)

// spacious is a file system that knows how much room it has.
type spacious interface {
	Free(folder string) (bytes int64, err error)
}

// Free returns how many bytes can still be written to the file system that has the folder; errors.ErrUnsupported where that
// is not known.
func Free(fsys FS, folder string) (bytes int64, err error) {
	s, ok := fsys.(spacious)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return s.Free(folder)
}

// IsNoSpace tells whether an operation failed because the file system, or the share of it that this user may have, is
// full.
func IsNoSpace(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// LeaveFree returns fsys for somebody who must not take the last bytes from others: a write after which less than bytes
// would be free fails with ErrNoSpace and writes nothing. Where the free space is not known nothing is refused.
func LeaveFree(fsys FS, bytes int64) FS { return modestFS{fsys, bytes} }

// modestFS is what LeaveFree returns.
type modestFS struct {
	FS
	leave int64
}

// Create implements Files.
func (m modestFS) Create(name string) (File, error) { return m.wrap(name)(m.FS.Create(name)) }

// Open implements Files.
func (m modestFS) Open(name string) (File, error) { return m.wrap(name)(m.FS.Open(name)) }

func (m modestFS) wrap(name string) func(File, error) (File, error) {
	return func(f File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &modestFile{File: f, fs: m, name: name}, nil
	}
}

// modestFile is a file of a modestFS.
type modestFile struct {
	File
	fs   modestFS
	name string
}

// WriteAt implements io.WriterAt.
func (f *modestFile) WriteAt(p []byte, offset int64) (int, error) {
	free, err := Free(f.fs.FS, path.Dir(f.name))
	if err == nil && free-int64(len(p)) < f.fs.leave {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: ErrNoSpace}
	}
	return f.File.WriteAt(p, offset)
}
