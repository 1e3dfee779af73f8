package records

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
)

// streams are the streams of jobs as one connection knows them, and what of their writes is on disk. All parts of an Archive
// share it.
type streams struct {
	link  *link.Link
	known *Syncs
	full  func() bool // whether the disk is full; nil: not known

	mu      sync.Mutex
	life    int // of the connection that handles are of
	handles map[string]jetstream.Stream
	old     map[string]*oldHandle // of a cluster: handles that the servers were not asked about since something went wrong
	syncs   map[string]*syncGroup // of streams whose writers have to ask for a sync
}

func newStreams(l *link.Link, known *Syncs) *streams {
	return &streams{link: l, known: known, handles: make(map[string]jetstream.Stream), old: make(map[string]*oldHandle), syncs: make(map[string]*syncGroup)}
}

// oldHandle is the handle of a stream that was there before. While the stream has no leader it cannot be said whether it still
// is, and what is asked of it shows.
type oldHandle struct {
	stream jetstream.Stream
	looked time.Time
}

const (
	// oldLook is how long the servers have to say whether a stream is still there, each time when it is asked, not more often than
	// oldEvery.
	oldLook  = 200 * time.Millisecond
	oldEvery = time.Second
)

// stream returns a handle of a stream, which is made when it is first used.
func (s *streams) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	life := s.known.life()
	s.mu.Lock()
	if life != s.life { // the broker may have come back with other streams
		for name := range s.handles {
			s.age(name)
		}
		s.life = life
	}
	known, old := s.handles[name], s.old[name]
	if old != nil && time.Since(old.looked) < oldEvery {
		known = old.stream
	} else if old != nil {
		old.looked = time.Now()
	}
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if old != nil {
		ctx, cancel := context.WithTimeout(ctx, oldLook)
		defer cancel()
		fresh, err := s.link.Look(ctx, name)
		switch {
		case err == nil:
			return s.keep(name, fresh), nil
		case errors.Is(err, link.ErrSilent):
			return old.stream, nil
		}
	}
	fresh, err := s.link.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.keep(name, fresh), nil
}

// age makes a handle an old one. It must be called with mu held.
func (s *streams) age(name string) {
	if known := s.handles[name]; known != nil && s.link.Clustered() {
		s.old[name] = &oldHandle{stream: known}
	}
	delete(s.handles, name)
}

// keep takes a handle that the servers have just given.
func (s *streams) keep(name string, fresh jetstream.Stream) jetstream.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handles[name] = fresh
	delete(s.old, name)
	if fresh.CachedInfo().Config.Metadata[link.SyncMark] != "" {
		s.syncs[name] = s.known.of(name)
	} else {
		delete(s.syncs, name)
	}
	return fresh
}

// durable returns when everything that a stream has acknowledged up to number is as durable as the stream promises.
func (s *streams) durable(ctx context.Context, stream string, number uint64) error {
	s.mu.Lock()
	group := s.syncs[stream]
	s.mu.Unlock()
	if group == nil {
		return nil
	}
	return group.upTo(ctx, s.link, number)
}

// noRoom reports whether the disk is known to be full.
func (s *streams) noRoom() bool { return s.full != nil && s.full() }

// forget makes the next use of a stream look it up again.
func (s *streams) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(name)
}

// publish stores one message durably. The stream is made when it is missing. After an error the message may be stored.
func (s *streams) publish(ctx context.Context, stream string, msg *nats.Msg, opts ...jetstream.PublishOpt) error {
	ack, err := s.write(ctx, stream, msg, opts...)
	if err == nil {
		err = s.durable(ctx, stream, ack.Sequence)
	}
	return err
}

// write is publish without the durability.
func (s *streams) write(ctx context.Context, stream string, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if _, err := s.stream(ctx, stream); err != nil {
		return nil, err
	}
	opts = append(opts, jetstream.WithExpectStream(stream))
	if s.link.Clustered() { // a stream whose server was lost has another leader within seconds
		opts = append(opts, jetstream.WithRetryAttempts(int(StorePatience/leaderAgain)), jetstream.WithRetryWait(leaderAgain))
	}
	ack, err := s.link.JS.PublishMsg(ctx, msg, opts...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		s.forget(stream)
	}
	if link.Full(err) {
		err = fullError{err}
	}
	return ack, err
}

// leaderAgain is the pause before a write is tried again for which there was no leader: nothing was written.
const leaderAgain = 100 * time.Millisecond

// fullError is a refusal of the server that is ErrFull, too.
type fullError struct{ error }

// Is is what errors.Is asks.
func (e fullError) Is(target error) bool { return target == ErrFull }

// Unwrap returns the server's error.
func (e fullError) Unwrap() error { return e.error }
