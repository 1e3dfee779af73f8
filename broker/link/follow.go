package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errReconnected ends a Follow whose connection was lost.
var errReconnected = errors.New("the connection was lost")

// Reconnects counts the reconnects. It grows before a message of the new connection is delivered.
func (l *Link) Reconnects() uint64 { return l.NC.Stats().Reconnects }

// News reports whether the error that ended a Follow is worth a log line. A lost connection is not: it has its own line.
func (l *Link) News(err error) bool { return !errors.Is(err, errReconnected) && l.NC.IsConnected() }

// errReused ends a Follow whose stream may have given numbers a second time.
var errReused = errors.New("another server leads the stream, and may not have its last messages; it is read again from the beginning")

// Follow passes the messages of stream to take, read by an ordered consumer of config, until ctx ends, take fails, the
// connection's count of reconnects is no longer reconnects, or another server leads the stream that does not have the last message
// that was passed. It does not resume at the next number after a
// reconnect, as the library would: a broker that lost its power may assign the last numbers a second time. begun, if
// not nil, gets the number of messages that there are at the start.
func (l *Link) Follow(
	ctx context.Context, stream jetstream.Stream, config jetstream.OrderedConsumerConfig, reconnects uint64, begun func(pending uint64),
	take func(jetstream.Msg) error,
) error {
	config.MaxResetAttempts = 1 // otherwise the library retries while the broker is away, even after ctx has ended
	consumer, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		return fmt.Errorf("following: %w", err)
	}
	if begun != nil {
		begun(consumer.CachedInfo().NumPending)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("following: %w", err)
	}
	defer messages.Stop() // not while Next runs: the library may be resetting its consumer, and Next would wait for ever
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seen := &lastSeen{}
	stop, err := l.watchLeaders(ctx, stream, seen, func() { cancel(errReused) })
	if err != nil {
		return err
	}
	defer stop()
	back := l.NC.StatusChanged(nats.CONNECTED)
	defer l.NC.RemoveStatusListener(back) // which closes it
	go func() {
		<-back
		cancel(nil)
	}()
	for l.Reconnects() == reconnects {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case l.Reconnects() != reconnects:
		case errors.Is(context.Cause(ctx), errReused):
			return errReused
		case err != nil:
			return fmt.Errorf("following: %w", err)
		default:
			seen.note(msg)
			if err := take(msg); err != nil {
				return err
			}
		}
	}
	return errReconnected
}
