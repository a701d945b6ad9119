// Command rustmq is a message streaming system in one binary: the node
// (rustmq serve) and the tools to use and look after it. See README.md, or
// rustmq help.
package main

import (
	"context"
	"os"

	"github.com/rustmq/rustmq/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}
