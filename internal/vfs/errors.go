package vfs

import "errors"

var (
	// ErrLocked is returned by Lock while another holder has the file.
	ErrLocked = errors.New("file is locked by another process")
	// ErrStopped is returned by every operation of a Mem after its power was cut.
	ErrStopped = errors.New("disk is stopped")
	// ErrInjected is the error of an operation that Faults made fail.
	ErrInjected = errors.New("injected disk fault")
	// ErrNoSpace is returned by a Mem when a write would go over Faults.LimitBytes.
	ErrNoSpace = errors.New("no space left on device")
)
