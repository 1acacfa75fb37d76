// Command etcdserver is the real etcd, at the version that go.mod pins. Tests run it beside okapi to see
// what the right answer is.
//
// It is a module of its own because etcd's server brings a hundred others along: none of them may decide
// a version in the product's module, nor in that of the tests.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
