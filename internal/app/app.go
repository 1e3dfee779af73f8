// Package app is the composition root: it reads the configuration and wires api, broker and worker, which do not
// know each other.
//
//	          config.Load
//	               |
//	natsd.Server   keeper.Keeper   sweeper.Sweeper        role broker
//	               |
//	calls.FrontEnd <- api.Server -> jobs.Desk             role api
//	               |
//	intake.End <- worker.Worker -> provider, upstream     role worker
//
// Up runs all of them in one process. They are started together and find each other; they stop one after
// the other, the front first, so that whatever was accepted can still finish.
package app

import (
	"fmt"
	"io"
)

// Settings are what a role is started with.
type Settings struct {
	Config    string    // path of the configuration file
	LogLevel  string    // debug, info, warn or error
	LogFormat string    // text or json; "" is text on a terminal, else json
	Version   string    // of this binary, as /metrics and the API show it
	Out       io.Writer // gets one line when the role is ready
	Err       io.Writer // gets the log

	// Hurry is closed when a role that is stopping is to wait for nothing any more; nil: it never is.
	Hurry <-chan struct{}
}

// UsageError is a mistake on the command line or in the configuration.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }
