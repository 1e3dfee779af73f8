// The headrace command: see README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"headrace/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal finds the default again, and ends the process at once
	code := app.Main(ctx, os.Args[1:], app.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}
