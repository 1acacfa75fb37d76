// Package vfs is the seam between okapi and the file system.
//
// Everything durable goes through an FS, so that the same log and snapshot code runs on
// the operating system, in memory, and on a disk that crashes, tears writes, fails the
// n-th operation or flips bits. Nothing here retries: an error from Write or Sync says
// that the file can no longer be trusted, and the caller stops.
package vfs

import (
	"io"
	"io/fs"
)

// File is one open file. It is not safe for concurrent use, except that ReadAt may run
// beside one writer that writes elsewhere in the file.
// tidy: a file is read, written, sized, synced and closed; a narrower type would be cast back.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Sync makes all earlier writes to this file durable (data and size, not its name).
	// After an error the content of the file is unknown, even if a later Sync succeeds.
	Sync() error
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Size returns the size in bytes.
	Size() (int64, error)
}

// FS is a tree of files. Names are slash-separated paths as the operating system knows
// them. A created, renamed or removed name is durable only after SyncDir of its folder.
type FS interface {
	Files
	Names
	// Lock takes the lock file name for this process; an error if another holds it. Close
	// releases it.
	Lock(name string) (io.Closer, error)
}

// Files gives access to the content of files.
type Files interface {
	// Create makes an empty file for reading and writing; an existing file is truncated.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing; fs.ErrNotExist if there is none.
	Open(name string) (File, error)
	// Stat tells whether a name exists, its size and whether it is a folder.
	Stat(name string) (fs.FileInfo, error)
}

// Names arranges files in folders.
type Names interface {
	// Remove deletes a file or an empty folder.
	Remove(name string) error
	// Rename moves a file; an existing target is replaced in one step.
	Rename(from, to string) error
	// MkdirAll makes a folder and its parents, readable by the owner alone.
	MkdirAll(name string) error
	// ReadDir lists the names in a folder in lexical order, folders included.
	ReadDir(name string) ([]string, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
}
