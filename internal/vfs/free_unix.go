//go:build linux || darwin || freebsd

package vfs

import (
	"io/fs"
	"syscall"
)

// Free asks the operating system for what a user without privileges can still write. It does not wait for the disk.
func (osFS) Free(folder string) (int64, error) {
	var s syscall.Statfs_t
	for {
		err := syscall.Statfs(folder, &s)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "statfs", Path: folder, Err: err}
		}
		return int64(s.Bavail) * int64(s.Bsize), nil
	}
}
