//go:build !unix

package server

// maxDescriptors is how many file descriptors the process may have; -1 because that cannot be found out.
func maxDescriptors() int64 { return -1 }
