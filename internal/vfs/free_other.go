//go:build !(linux || darwin || freebsd)

package vfs

import "errors"

// Free is not known here: no disk is ever called low.
func (osFS) Free(string) (int64, error) { return 0, errors.ErrUnsupported }
