package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrRefused reports that the broker role will not make a stream: trying again does not help by itself.
var ErrRefused = errors.New("the broker role cannot make it")

// ErrSilent reports that the servers do not say whether a stream exists: the one that leads it may be lost.
var ErrSilent = errors.New("the NATS servers do not answer for it")

const (
	// EnsureTime bounds how long Stream looks and asks for a stream.
	EnsureTime = 3 * time.Second
	// lookTime is how long the servers have to say whether a stream exists.
	lookTime = time.Second
)

// Look returns a handle of a stream, jetstream.ErrStreamNotFound, or ErrSilent. Many callers at a time share one question.
func (l *Link) Look(ctx context.Context, name string) (jetstream.Stream, error) {
	looked := l.looking.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
		defer cancel()
		return l.JS.Stream(ctx, name)
	})
	var err error
	select {
	case result := <-looked:
		if stream, ok := result.Val.(jetstream.Stream); ok && result.Err == nil {
			return stream, nil
		}
		err = result.Err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	return nil, fmt.Errorf("stream %s: %w: %w", name, ErrSilent, err)
}

// Stream returns a handle of a stream. When there is none it asks the keeper to make it; otherwise no keeper is needed.
func (l *Link) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, EnsureTime)
	defer cancel()
	for {
		stream, err := l.Look(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if err := l.ensure(ctx, name); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil || ctx.Err() != nil || l.NC.IsClosed() {
			return stream, err
		}
		PauseFor(ctx, lookAgain) // a server that has just started
	}
}

// lookAgain is the pause after the servers did not answer.
const lookAgain = 100 * time.Millisecond

// ensure is EnsureStream for many callers at a time: they share one request.
func (l *Link) ensure(ctx context.Context, stream string) error {
	asked := l.ensuring.DoChan(stream, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EnsureTime)
		defer cancel()
		return nil, EnsureStream(ctx, l.NC, stream)
	})
	select {
	case result := <-asked:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
	}
}

// EnsureStream asks the keeper for a stream and waits until it exists, as long as ctx allows. It repeats the request
// every second, because a request is lost with its connection.
func EnsureStream(ctx context.Context, nc *nats.Conn, stream string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, PresenceWait)
		msg, err := nc.RequestWithContext(attempt, SubjectEnsure, []byte(stream))
		cancel()
		switch {
		case err == nil && len(msg.Data) == 0:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %s", ErrRefused, msg.Data)
		case ctx.Err() != nil:
			return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
		case errors.Is(err, nats.ErrConnectionClosed):
			return fmt.Errorf("this process stops: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no broker role answers: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
