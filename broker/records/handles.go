package records

import (
	"context"
	"errors"
	"sync"

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
	syncs   map[string]*syncGroup // of streams whose writers have to ask for a sync
}

func newStreams(l *link.Link, known *Syncs) *streams {
	return &streams{link: l, known: known, handles: make(map[string]jetstream.Stream), syncs: make(map[string]*syncGroup)}
}

// stream returns a handle of a stream, which is made when it is first used.
func (s *streams) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	life := s.known.life()
	s.mu.Lock()
	if life != s.life { // the broker may have come back with other streams
		clear(s.handles)
		s.life = life
	}
	known := s.handles[name]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	fresh, err := s.link.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handles[name] = fresh
	if fresh.CachedInfo().Config.Metadata[link.SyncMark] != "" {
		s.syncs[name] = s.known.of(name)
	} else {
		delete(s.syncs, name)
	}
	return fresh, nil
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
	delete(s.handles, name)
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
	ack, err := s.link.JS.PublishMsg(ctx, msg, append(opts, jetstream.WithExpectStream(stream))...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		s.forget(stream)
	}
	if link.Full(err) {
		err = fullError{err}
	}
	return ack, err
}

// fullError is a refusal of the server that is ErrFull, too.
type fullError struct{ error }

// Is is what errors.Is asks.
func (e fullError) Is(target error) bool { return target == ErrFull }

// Unwrap returns the server's error.
func (e fullError) Unwrap() error { return e.error }
