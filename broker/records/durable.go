package records

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

var (
	// ErrBrokerLost reports that the broker was away while writes waited for a sync: they may be on disk or not.
	ErrBrokerLost = errors.New("the broker was lost while writes waited to be synced")
	// ErrUnsynced reports that the broker answers but cannot sync.
	ErrUnsynced = errors.New("the broker could not sync")
)

// Syncs is what one process knows of writes that are on disk; it requests the syncs. All stores of the process share it.
type Syncs struct {
	mu     sync.Mutex
	groups map[string]*syncGroup // by stream
	lives  int                   // how often a connection was lost
}

// NewSyncs returns a Syncs that knows nothing yet.
func NewSyncs() *Syncs { return &Syncs{groups: make(map[string]*syncGroup)} }

// of returns the group of a stream.
func (s *Syncs) of(stream string) *syncGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[stream] == nil {
		s.groups[stream] = &syncGroup{stream: stream}
	}
	return s.groups[stream]
}

// Forget is called when the connection was lost: a broker that lost its power may assign numbers a second time.
func (s *Syncs) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives++
	for _, g := range s.groups {
		g.forget()
	}
}

// life changes when a connection was lost.
func (s *Syncs) life() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives
}

// syncGroup gathers the goroutines that wait until their writes to one stream are on disk. One request is under way at a
// time; the goroutines that arrive during it share the next one.
type syncGroup struct {
	stream string

	mu      sync.Mutex
	done    uint64      // everything up to this number is on disk
	life    int         // of the connection; what was asked for in an earlier one says nothing
	waiting *syncFlight // not requested yet
	asking  *syncFlight // requested, not answered
	flying  bool        // fly runs
}

// syncFlight is one request for all goroutines that share it.
type syncFlight struct {
	link *link.Link // of one of those who go with it
	upTo uint64     // the largest of their numbers
	done chan struct{}
	err  error
}

// upTo returns when everything up to number, which the stream has acknowledged, is on disk. After an error it may be, too.
func (g *syncGroup) upTo(ctx context.Context, l *link.Link, number uint64) error {
	g.mu.Lock()
	if number <= g.done {
		g.mu.Unlock()
		return nil
	}
	if g.waiting == nil {
		g.waiting = &syncFlight{done: make(chan struct{})}
	}
	f := g.waiting
	f.link, f.upTo = l, max(f.upTo, number)
	if !g.flying {
		g.flying = true
		go g.fly() //nolint:contextcheck // it works for others, too
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("syncing %s: %w", g.stream, context.Cause(ctx))
	}
}

// fly sends requests until no goroutine waits. Each request is bounded in time.
func (g *syncGroup) fly() {
	for {
		g.mu.Lock()
		f, life := g.waiting, g.life
		g.asking, g.waiting = f, nil
		g.flying = f != nil
		g.mu.Unlock()
		if f == nil {
			return
		}
		f.err = g.ask(f.link)
		g.mu.Lock()
		switch {
		case g.life != life:
			f.err = errors.Join(f.err, ErrBrokerLost)
		case f.err == nil:
			g.done = max(g.done, f.upTo)
		}
		g.mu.Unlock()
		close(f.done)
	}
}

func (g *syncGroup) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = 0
	g.life++
	if f := g.waiting; f != nil { // they wait for what the broker wrote before
		g.waiting = nil
		f.err = ErrBrokerLost
		close(f.done)
	}
}

func (g *syncGroup) ask(l *link.Link) error {
	ctx, cancel := context.WithTimeout(context.Background(), StorePatience)
	defer cancel()
	for {
		reply, err := l.NC.RequestWithContext(ctx, link.SubjectSync+g.stream, nil)
		switch {
		case err == nil && len(reply.Data) == 0:
			return nil
		case err == nil:
			return fmt.Errorf("syncing %s: %w: %s", g.stream, ErrUnsynced, reply.Data)
		case !errors.Is(err, nats.ErrNoResponders): // no responders: a broker that has just started
			return fmt.Errorf("syncing %s: %w", g.stream, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("syncing %s: no broker role answers: %w", g.stream, context.Cause(ctx))
		}
	}
}
