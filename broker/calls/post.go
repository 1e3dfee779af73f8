package calls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"headrace/broker/link"
	"headrace/internal/fault"
)

// post sends for a front end. It knows which streams exist.
type post struct {
	id   string     // of the front end
	link *link.Link // set by FrontEnd.Run before anything is sent
	log  *slog.Logger

	ensuring singleflight.Group // by stream: a thousand calls ask once
	mu       sync.Mutex
	streams  map[string]bool      // known to exist since the last reconnect
	before   map[string]bool      // known to have existed
	told     map[string]time.Time // when the keeper was told last that the servers do not answer for a stream
}

// ensure makes sure once in each connection's life that a stream is there. When the servers do not say, the publish shows it.
func (p *post) ensure(ctx context.Context, stream string) error {
	p.mu.Lock()
	known := p.streams[stream]
	p.mu.Unlock()
	if known {
		return nil
	}
	err := p.look(ctx, stream)
	if errors.Is(err, link.ErrSilent) {
		p.report(stream)
		return nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = p.make(ctx, stream)
	}
	if ctx.Err() != nil {
		return link.EndOf(ctx, fault.Deadline)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.before[stream] && len(p.link.NC.Servers()) > 1 {
		return nil // a server that has just taken over may not know of it yet, and the keeper waits for it, too
	}
	if err != nil {
		return fault.Wrap(fault.NoWorkers, err, "the broker is not ready; the call did not run; try again")
	}
	p.streams[stream], p.before[stream] = true, true
	return nil
}

// look asks the servers whether a stream is there, for a moment.
func (p *post) look(ctx context.Context, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, publishPatience/2)
	defer cancel()
	_, err := p.link.Look(ctx, stream)
	return err
}

// make asks the keeper for a stream.
func (p *post) make(ctx context.Context, stream string) error {
	made := p.ensuring.DoChan(stream, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*link.PresenceWait)
		defer cancel()
		return nil, link.EnsureStream(ctx, p.link.NC, stream)
	})
	select {
	case result := <-made:
		return result.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// report has the keeper look after a stream for which the servers do not answer, at most once a second. It does not wait.
func (p *post) report(stream string) {
	p.mu.Lock()
	due := time.Since(p.told[stream]) >= time.Second
	if due {
		p.told[stream] = time.Now()
	}
	p.mu.Unlock()
	if due {
		p.tell(link.SubjectEnsure, []byte(stream))
	}
}

// forget makes the next publish ask for a stream again: it was found to be gone.
func (p *post) forget(stream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, stream)
}

// deleteMessage removes the message of a call whose caller has left from its stream. When it is claimed at the same time, the claim
// finds no call and the worker drops it.
func (p *post) deleteMessage(stream string, sequence uint64) {
	p.tell(link.SubjectAPIDelete+stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, sequence))
}

// tell publishes a message that may be lost without harm.
func (p *post) tell(subject string, data []byte) {
	if err := p.link.NC.Publish(subject, data); err != nil {
		p.log.Debug("a message was not sent", "subject", subject, "error", err)
	}
}

// forgetAll forgets all streams: the connection is lost, and a server that was restarted has none.
func (p *post) forgetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.streams)
}
