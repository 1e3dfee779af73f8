package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// awayFor is how long a gateway may be away from those who wait for a job: the job is not lost with it.
	awayFor = 2 * time.Minute
	// awayPause is how long to wait before it is asked again.
	awayPause = time.Second
)

// replyError is a reply that is an error.
type replyError struct {
	status int
	text   string
}

// Error is what a person should read.
func (e *replyError) Error() string { return e.text }

// patientGet asks again and again for what a server holds back until there is news. Once it was reached it may be away for a
// while, for example to be replaced.
type patientGet struct {
	*jobsCommand

	reached bool
	status  int // of the last answer
}

func (h *patientGet) get(ctx context.Context, path string) ([]byte, error) {
	var since time.Time
	for {
		status, answer, err := h.client.ask(ctx, http.MethodGet, path, nil)
		if err == nil {
			h.reached, h.status = true, status
			return answer, nil
		}
		if !h.reached {
			return nil, err
		}
		if err := h.bear(ctx, &since, err); err != nil {
			return nil, err
		}
	}
}

// bear waits before a gateway is asked again that has failed with err, since when it fails; it gives err back when that
// has taken too long, or will not pass.
func (c *jobsCommand) bear(ctx context.Context, since *time.Time, err error) error {
	if !passing(err) || ctx.Err() != nil {
		return err
	}
	switch now := time.Now(); {
	case since.IsZero():
		*since = now
		_, _ = fmt.Fprintf(c.Err, "%v; asking again for %s\n", err, awayFor)
	case now.Sub(*since) > awayFor:
		return err
	}
	select {
	case <-time.After(awayPause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// passing tells errors that a gateway's restart would cause.
func passing(err error) bool {
	if reply, ok := errors.AsType[*replyError](err); ok {
		return reply.status == http.StatusServiceUnavailable
	}
	if _, ok := errors.AsType[*cutError](err); ok {
		return true
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok
}
