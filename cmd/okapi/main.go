// Command okapi is the server; okapi serve runs a member of a cluster.
package main

import (
	"os"

	"github.com/okapi-kv/okapi/internal/cli"
	"github.com/okapi-kv/okapi/internal/server"
)

func main() {
	runProfile()
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, cli.Program{Version: server.Version, Serve: server.Run}))
}
