package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"headrace/internal/client"
)

// Exit statuses of the command; exitTable tells them to people.
const (
	exitGood        = 0
	exitFailed      = 1 // failed while running
	exitUsage       = 2 // wrong usage or an invalid configuration
	exitJobFailed   = 3
	exitJobCanceled = 4
	exitJobExpired  = 5
	exitAway        = 6   // no gateway answers
	exitTimeout     = 124 // as timeout(1) has it
	exitInterrupted = 130 // as shells have it: 128 and SIGINT
)

const exitTable = `Exit status:
  0    good
  1    failed while running, or refused by the gateway
  2    wrong usage, or an invalid configuration
  3    the job that was waited for has failed
  4    ... was cancelled
  5    ... has expired
  6    the gateway cannot be reached
  124  --timeout is over; the job goes on
  130  interrupted by a signal; the job goes on`

// exitError is an error with an exit status of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exitf(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

// exitStatus tells an error to the person at the terminal, and gives its exit status.
func exitStatus(w io.Writer, err error) int {
	if err == nil {
		return exitGood
	}
	if isUsage(err) {
		_, _ = fmt.Fprintln(w, strings.TrimRight(err.Error(), "\n"))
		return exitUsage
	}
	_, _ = fmt.Fprintln(w, "headrace:", err)
	if own, ok := errors.AsType[*exitError](err); ok {
		return own.code
	}
	return exitFailed
}

// ownStatus gives a gateway that cannot be reached its exit status, in commands about jobs: scripts wait for those.
func ownStatus(err error) error {
	if _, own := errors.AsType[*exitError](err); own {
		return err
	}
	if _, away := errors.AsType[*client.AwayError](err); away {
		return &exitError{exitAway, err}
	}
	return err
}

// interrupted is what a command returns that a signal has ended: what goes on without it, and how to come back.
func interrupted(format string, args ...any) error {
	return exitf(exitInterrupted, "interrupted; "+format, args...)
}

// unlessInterrupted gives a plain word for an error that only says that a signal came.
func unlessInterrupted(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*exitError](err); err == nil || ok || isUsage(err) || ctx.Err() == nil {
		return err
	}
	return exitf(exitInterrupted, "interrupted")
}

// hinted adds what to do to what a gateway said, which may end with a full stop.
func hinted(err error, hint string) error {
	if reply, ok := errors.AsType[*client.ReplyError](err); ok {
		return &client.ReplyError{Status: reply.Status, After: reply.After, Text: strings.TrimSuffix(reply.Text, ".") + "; " + hint}
	}
	return fmt.Errorf("%w; %s", err, hint)
}
