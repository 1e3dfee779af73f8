package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"
)

// cutError says that a stream of events ended before the job did.
type cutError struct{ cause error }

// Error is what a person should read.
func (e *cutError) Error() string { return "the events broke off: " + e.cause.Error() }
func (e *cutError) Unwrap() error { return e.cause }

// follower reads the events of one job, over several streams when it must.
type follower struct {
	*jobsCommand

	path    string
	last    string // the id of the last event
	reached bool
}

// events prints what happens to a job, a line for each event, until it has ended; with --json the events' data.
func (c *jobsCommand) events(ctx context.Context, set *flag.FlagSet) error {
	path, err := c.one(set)
	if err != nil {
		return err
	}
	f := &follower{jobsCommand: c, path: path + "/events"}
	var since time.Time
	for {
		before := f.last
		err := f.stream(ctx)
		if err == nil || !f.reached {
			return err
		}
		if f.last != before {
			since = time.Time{} // there was news meanwhile
		}
		if err := f.bear(ctx, &since, err); err != nil {
			return err
		}
	}
}

// stream prints one stream from where the last one broke off. nil: the job has ended.
func (f *follower) stream(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.client.base+f.path, http.NoBody)
	if err != nil {
		return usagef("--url: %w", err)
	}
	if f.last != "" {
		req.Header.Set("Last-Event-ID", f.last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w; is Headrace running? (`headrace up`, or --url)", err)
	}
	defer func() { _ = resp.Body.Close() }() // the stream is over
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return cmp.Or(err, refusal(resp, answer))
	}
	f.reached = true
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	var id, kind string
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "id":
			id = string(value)
		case "event":
			kind = string(value)
		case "data":
			if err := f.show(value); err != nil {
				return err
			}
			f.last = id
			if kind == "done" {
				return nil
			}
		}
	}
	return &cutError{cmp.Or(lines.Err(), errors.New("the gateway has ended them"))}
}
