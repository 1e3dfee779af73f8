// The headrace command: see README.md.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"headrace/internal/cli"
)

func main() {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	code := cli.MainUntil(signals, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	os.Exit(code) //nolint:forbidigo // this is main
}
