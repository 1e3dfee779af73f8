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

// EnsureTime bounds how long Ensure asks for a stream.
const EnsureTime = 3 * time.Second

// Ensure is EnsureStream for many callers at a time: they share one request.
func (l *Link) Ensure(ctx context.Context, stream string) error {
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

// Stream returns a handle of a stream, which the keeper makes when it is not there yet.
func (l *Link) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if err := l.Ensure(ctx, name); err != nil {
		return nil, err
	}
	stream, err := l.JS.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return stream, nil
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
