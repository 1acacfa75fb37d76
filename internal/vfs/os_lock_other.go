//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package vfs

import (
	"errors"
	"os"
)

// flock refuses: without a lock two servers could write one log.
func flock(*os.File) error { return errors.ErrUnsupported }
