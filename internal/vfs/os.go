package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

const (
	// Logs and snapshots hold passwords and session secrets: nobody but the owner reads
	// them.
	osDirMode  fs.FileMode = 0o700
	osFileMode fs.FileMode = 0o600
)

// osFS is the file system of the operating system. It has no state.
type osFS struct{}

// OS returns the file system of the operating system. Sync is fdatasync where there is
// one (it writes data and size, and leaves out the access times that would cost a second
// write), SyncDir is fsync of the folder, Lock is flock. Folders are made with mode 0700
// and files with 0600. It is safe for concurrent use.
func OS() FS { return osFS{} }

func (osFS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (osFS) Open(name string) (File, error) { return openOS(name, os.O_RDWR) }

func openOS(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, osFileMode)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &osFile{File: f, raw: raw}, nil
}

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) MkdirAll(name string) error { return os.MkdirAll(name, osDirMode) }

func (osFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // the sync error says more
		return err
	}
	return d.Close()
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, osFileMode)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil // closing the descriptor releases the lock
}

// osFile is an open file of the operating system.
type osFile struct {
	*os.File
	raw syscall.RawConn
}

func (f *osFile) Sync() error {
	if err := syncData(f); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
