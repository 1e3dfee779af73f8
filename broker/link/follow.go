package link

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errReconnected ends what was followed over an earlier connection.
var errReconnected = errors.New("the connection was lost meanwhile")

// Reconnects counts. It has grown before a message that came over a new connection is told.
func (l *Link) Reconnects() uint64 { return l.NC.Stats().Reconnects }

// News reports whether the end of what was followed is worth a line: that the connection was lost has its own.
func (l *Link) News(err error) bool { return !errors.Is(err, errReconnected) && l.NC.IsConnected() }

// Follow hands over what stream brings by an ordered consumer of config until ctx ends, take fails, or there were other
// reconnects than so many. By itself the library goes on at the next number when the connection is back; but a broker that has
// lost its power meanwhile gives the last numbers a second time. begun, if not nil, is told how many messages there are to
// begin with.
func (l *Link) Follow(
	ctx context.Context, stream jetstream.Stream, config jetstream.OrderedConsumerConfig, reconnects uint64, begun func(pending uint64),
	take func(jetstream.Msg) error,
) error {
	config.MaxResetAttempts = 1 // else the library tries on for as long as the broker is away, whatever ctx says
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
	defer messages.Stop() // not while Next runs: the library may have begun anew just then, and Next would wait for ever
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back := l.NC.StatusChanged(nats.CONNECTED)
	defer l.NC.RemoveStatusListener(back) // which closes it
	go func() {
		<-back
		cancel()
	}()
	for l.Reconnects() == reconnects {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case l.Reconnects() != reconnects:
		case err != nil:
			return fmt.Errorf("following: %w", err)
		default:
			if err := take(msg); err != nil {
				return err
			}
		}
	}
	return errReconnected
}
