//go:build !profile

package main

// runProfile does nothing in a program that is built as it is shipped.
func runProfile() {}
