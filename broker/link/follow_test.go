package link_test

import (
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/natstest"
)

// A cluster whose servers have lost the last messages of a stream gives their numbers a second time. The connection of the
// reader may be to a server that has lost nothing.
func TestFollowEndsWhenANewLeaderLacksMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lose bool
	}{{"nothing is lost", false}, {"the last message is lost", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, err := link.Dial{URL: natstest.Start(t, natstest.Options{}).URL()}.Open(t.Context(), "test", slog.New(slog.DiscardHandler), link.Events{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.NC.Close)
			stream, err := l.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, Storage: jetstream.MemoryStorage})
			if err != nil {
				t.Fatal(err)
			}
			write := func(n int) {
				if _, err := l.JS.Publish(t.Context(), "s."+strconv.Itoa(n), nil); err != nil {
					t.Error(err)
				}
			}
			for n := range 3 {
				write(n)
			}
			errDone := errors.New("done")
			got := 0
			read, ended := make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- l.Follow(t.Context(), stream, jetstream.OrderedConsumerConfig{}, l.Reconnects(), nil, func(jetstream.Msg) error {
					switch got++; got {
					case 3:
						close(read)
					case 4:
						return errDone
					}
					return nil
				})
			}()
			<-read
			if c.lose {
				if err := stream.DeleteMsg(t.Context(), 3); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.NC.PublishMsg(&nats.Msg{Subject: link.SubjectElected + "S", Data: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
			if c.lose {
				if err := <-ended; !errors.Is(err, link.ErrReused) {
					t.Errorf("got %v, want %v", err, link.ErrReused)
				}
				return
			}
			select {
			case err := <-ended:
				t.Fatalf("it ended, although nothing was lost: %v", err)
			case <-time.After(300 * time.Millisecond):
			}
			write(3)
			if err := <-ended; !errors.Is(err, errDone) {
				t.Errorf("got %v, want the next message", err)
			}
		})
	}
}
