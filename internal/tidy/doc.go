// Package tidy holds the project's rules as tests: what may import what, what the pure core
// may not touch, how long a function may get, what must be documented, and what must exist
// beside every command and every setting.
//
// A rule that is not checked is forgotten, and a rule that is checked elsewhere than in
// "go test ./..." is found out too late. Every rule carries its reason and prints it when it
// is broken. Exceptions stand in ratchet.txt, which may only shrink.
package tidy
