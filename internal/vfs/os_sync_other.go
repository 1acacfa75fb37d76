//go:build !linux

package vfs

// syncData flushes the file with what the platform has; on macOS the standard library
// asks the drive to empty its cache too.
func syncData(f *osFile) error { return f.File.Sync() }
