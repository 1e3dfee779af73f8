package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"headrace/internal/terminal"
)

const (
	// AwayFor is how long a gateway may be away from those who wait for a job: the job is not lost with it. A longer
	// --timeout makes it as long.
	AwayFor = 2 * time.Minute
	// awayPause is about how long to wait before it is asked again, where its reply does not say.
	awayPause = time.Second
	// longestPause bounds what a reply may ask for.
	longestPause = 30 * time.Second
	// HoldFor is how long one request is held by the server until there is news.
	HoldFor = 30 * time.Second
	// holdSlack is how much later than it was asked to a gateway may answer.
	holdSlack = 30 * time.Second
)

// Patience asks again and again for what a gateway may not give yet. Once it was reached it may be away for a while, for
// example to be replaced.
type Patience struct {
	Client *Client
	Told   io.Writer     // hears that it is asked again
	Limit  time.Duration // how long it may be away

	reached bool
	since   time.Time // when it was first found away; zero while it answers
}

// Get asks for what the gateway may hold back for hold, until it has an answer.
func (p *Patience) Get(ctx context.Context, path string, hold time.Duration) (answer []byte, err error) {
	for {
		once, cancel := context.WithTimeoutCause(ctx, hold+holdSlack, errSlow)
		_, answer, err = p.Client.Ask(once, http.MethodGet, path, nil)
		cancel()
		if err == nil {
			p.Here()
			return answer, nil
		}
		if err := p.Bear(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Here notes that the gateway has answered.
func (p *Patience) Here() { p.reached, p.since = true, time.Time{} }

// Reached notes that the gateway was reached: from here on it may be away for a while.
func (p *Patience) Reached() { p.reached = true }

// Bear waits before a gateway is asked again that has failed with err. It gives err back when that has taken too long, or
// will not pass.
func (p *Patience) Bear(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	away, isAway := errors.AsType[*AwayError](err)
	p.reached = p.reached || !isAway || !away.dialing
	if !passing(err) || !p.reached {
		return err
	}
	now := time.Now()
	if p.since.IsZero() {
		p.since = now
		_, _ = fmt.Fprintf(p.Told, "%v; asking again for %s\n", err, terminal.InWords(p.Limit))
	}
	pause := pauseAfter(err)
	if now.Add(pause).Sub(p.since) > p.Limit {
		return err
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pauseAfter is what a reply asked for, or about a second; jittered, so that many callers do not come at once.
func pauseAfter(err error) time.Duration {
	pause := awayPause
	if reply, ok := errors.AsType[*ReplyError](err); ok {
		pause = max(reply.After, awayPause)
	}
	return pause + rand.N(pause/4)
}

// passing tells errors that a gateway's restart would cause.
func passing(err error) bool {
	if reply, ok := errors.AsType[*ReplyError](err); ok {
		switch reply.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	_, ok := errors.AsType[*AwayError](err)
	return ok
}

// isDial tells that no connection came about.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
