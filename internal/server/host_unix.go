//go:build unix

package server

import "syscall"

// maxDescriptors is how many file descriptors the process may have; -1 if that has no bound or cannot be found out.
func maxDescriptors() int64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return -1
	}
	return int64(limit.Cur) // Without a bound it is all ones.
}
