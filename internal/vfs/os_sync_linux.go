package vfs

import "syscall"

// syncData flushes data and size. The system call is repeated only when a signal
// interrupted it, which is not a failure of the disk.
func syncData(f *osFile) error {
	var errSync error
	errControl := f.raw.Control(func(fd uintptr) {
		for {
			errSync = syscall.Fdatasync(int(fd))
			if errSync != syscall.EINTR {
				return
			}
		}
	})
	if errControl != nil {
		return errControl
	}
	return errSync
}
