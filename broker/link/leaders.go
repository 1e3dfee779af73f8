package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// subjectElected + stream is where the servers of a cluster tell that another one leads a stream.
	subjectElected = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."
	// electedLook bounds one look at what the new leader has, and electedLooks how often it is looked: a message that another
	// version has just replaced is not there any more, and the next one is.
	electedLook  = 5 * time.Second
	electedLooks = 5
	// electedPause is the pause between two looks.
	electedPause = 200 * time.Millisecond
)

// lastSeen is the last message that was read of a stream.
type lastSeen struct {
	mu     sync.Mutex
	number uint64 // 0: none
	at     time.Time
}

func (s *lastSeen) note(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number, s.at = meta.Sequence.Stream, meta.Timestamp
}

// kept reports whether the last message that was seen is still in the stream. A number that was given a second time has another
// time.
func (s *lastSeen) kept(ctx context.Context, stream jetstream.Stream) (bool, error) {
	s.mu.Lock()
	number, at := s.number, s.at
	s.mu.Unlock()
	if number == 0 {
		return true, nil
	}
	msg, err := stream.GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return msg.Time.Equal(at), nil
}

// watchLeaders calls lost when another server begins to lead a stream and does not have the last message that was seen, until
// stop is called. A message that is there proves all before it, because a stream loses its end only.
func (l *Link) watchLeaders(ctx context.Context, stream jetstream.Stream, seen *lastSeen, lost func()) (stop func(), err error) {
	elected := make(chan *nats.Msg, 16)
	sub, err := l.NC.ChanSubscribe(subjectElected+stream.CachedInfo().Config.Name, elected)
	if err != nil {
		return nil, fmt.Errorf("following: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-elected:
			}
			if !keptSoon(ctx, stream, seen) && ctx.Err() == nil {
				lost()
				return
			}
		}
	})
	return func() {
		_ = sub.Unsubscribe() // it fails only on a connection that is gone
		cancel()
		watching.Wait()
	}, nil
}

// keptSoon is kept for a stream whose leader has just changed.
func keptSoon(ctx context.Context, stream jetstream.Stream, seen *lastSeen) bool {
	for range electedLooks {
		looking, cancel := context.WithTimeout(ctx, electedLook)
		kept, err := seen.kept(looking, stream)
		cancel()
		if err == nil && kept {
			return true
		}
		PauseFor(ctx, electedPause)
	}
	return false
}
