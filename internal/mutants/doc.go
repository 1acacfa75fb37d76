// Package mutants breaks the product on purpose, once for each file in test/mutants, and has the checkers find it. A checker
// that finds no defect which is there proves nothing when it finds none. It is imported by nobody; it consists of tests.
//
// A mutant is a text in the present source and what stands in its place. It never touches the source: the compiler is told to
// read the changed files from elsewhere (go build -overlay), so mutants can be run on a tree with changes of one's own.
package mutants

//go:generate go test -run TestTable . -update
