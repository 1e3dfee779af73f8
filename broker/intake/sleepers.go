package intake

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

const (
	// questionPatience is how long a question about a stream may take.
	questionPatience = 2 * time.Second
	// questionGather is how long lanes are gathered before their streams are asked about.
	questionGather = 10 * time.Millisecond
	// questionAgain is the pause after a question that was not answered, and at most twice that.
	questionAgain = time.Second
	// questionEvery is how often streams with dormant lanes are asked about for safety's sake.
	questionEvery = 30 * time.Second
	// maxWoken bounds the wake-up calls that are not seen to yet.
	maxWoken = 1024
)

// sleepers are the dormant lanes of a worker: nothing is pulled for them, and their consumers may go. A message that is
// published for such a lane wakes it. What may have come before is asked for: one question for each stream, however many
// lanes there are. A question that is not answered is asked again later and wakes nothing. Background lanes are not asked
// for: their kind is told what waits, and wakes them by name.
type sleepers struct {
	woken  chan *nats.Msg
	asking chan struct{} // capacity 1: there are doubts

	mu     sync.Mutex
	lanes  map[string]*sleeper // by subject, which may end with a wildcard
	named  map[string]*sleeper // background lanes, by name
	doubts map[string]bool     // streams to be asked about
}

// sleeper is one dormant lane; several intakes may share it for a moment.
type sleeper struct {
	queue   Queue
	fresh   bool // nothing is known of what came before: the lane was never pulled from over this connection
	sub     *nats.Subscription
	pullers map[*puller]struct{}
}

// newSleepers returns an empty set.
func newSleepers() *sleepers {
	return &sleepers{
		woken: make(chan *nats.Msg, maxWoken), asking: make(chan struct{}, 1),
		lanes: make(map[string]*sleeper), named: make(map[string]*sleeper), doubts: make(map[string]bool),
	}
}

// add makes a lane dormant; it wakes again when something waits. fresh: it was not pulled from over this connection, so its
// running jobs may have lost their worker. It does not wait for the server.
func (s *sleepers) add(nc *nats.Conn, p *puller, fresh bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.lanes[p.queue.Subject]
	if at == nil {
		sub, err := nc.ChanSubscribe(p.queue.Subject, s.woken)
		if err != nil {
			return err
		}
		at = &sleeper{queue: p.queue, sub: sub, pullers: make(map[*puller]struct{})}
		s.lanes[p.queue.Subject] = at
		if p.queue.Background {
			s.named[p.queue.Name] = at
		}
	}
	at.pullers[p], at.fresh = struct{}{}, at.fresh || fresh
	if !p.queue.Background {
		s.doubts[p.queue.Stream] = true
		link.Ring(s.asking)
	}
	return nil
}

// remove forgets a lane of an intake that is closed.
func (s *sleepers) remove(p *puller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.lanes[p.queue.Subject]
	if at == nil {
		return
	}
	delete(at.pullers, p)
	if len(at.pullers) == 0 {
		s.drop(at)
	}
}

// drop must be called with mu held.
func (s *sleepers) drop(at *sleeper) {
	delete(s.lanes, at.queue.Subject)
	if at.queue.Background && s.named[at.queue.Name] == at {
		delete(s.named, at.queue.Name)
	}
	_ = at.sub.Unsubscribe() // a second wake-up does no harm
}

// wake wakes the lanes that are found.
func (s *sleepers) wake(find func() []*sleeper) {
	s.mu.Lock()
	var pullers []*puller
	for _, at := range find() {
		if at == nil {
			continue
		}
		for p := range at.pullers {
			pullers = append(pullers, p)
		}
		s.drop(at)
	}
	s.mu.Unlock()
	for _, p := range pullers {
		p.awake()
	}
}

// wakeNamed wakes background lanes by name: those of waiting, and those of left that are fresh.
func (s *sleepers) wakeNamed(waiting, left []string) {
	s.wake(func() (found []*sleeper) {
		for _, name := range waiting {
			found = append(found, s.named[name])
		}
		for _, name := range left {
			if at := s.named[name]; at != nil && at.fresh {
				found = append(found, at)
			}
		}
		return found
	})
}

// doubt has all streams with dormant lanes asked about: wake-up calls may have been lost.
func (s *sleepers) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.lanes {
		if !at.queue.Background {
			s.doubts[at.queue.Stream] = true
		}
	}
	link.Ring(s.asking)
}

// listen takes wake-up calls until ctx ends.
func (s *sleepers) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-s.woken:
			own, wild := laneOf(msg.Subject)
			s.wake(func() []*sleeper { return []*sleeper{s.lanes[own], s.lanes[wild]} })
		}
	}
}

// ask asks about streams until ctx ends, each once at a time.
func (s *sleepers) ask(ctx context.Context, l *link.Link) {
	every := time.NewTimer(rand.N(questionEvery)) // workers that start together do not ask together
	defer every.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			every.Reset(questionEvery)
			s.doubt()
			continue
		case <-s.asking:
		}
		link.PauseFor(ctx, questionGather)
		s.mu.Lock()
		doubts := s.doubts
		s.doubts = make(map[string]bool)
		s.mu.Unlock()
		var asking sync.WaitGroup
		for stream := range doubts {
			asking.Go(func() { s.askOne(ctx, l, stream) })
		}
		asking.Wait()
	}
}

// askOne asks what waits in a stream and wakes the dormant lanes it waits for. Without an answer the stream stays in doubt.
func (s *sleepers) askOne(ctx context.Context, l *link.Link, stream string) {
	asked, cancel := context.WithTimeout(ctx, questionPatience)
	defer cancel()
	subjects, err := l.SubjectsIn(asked, stream)
	if err != nil {
		if ctx.Err() == nil {
			link.PauseFor(ctx, questionAgain+rand.N(questionAgain))
		}
		s.mu.Lock()
		s.doubts[stream] = true
		link.Ring(s.asking)
		s.mu.Unlock()
		return
	}
	s.wake(func() (found []*sleeper) {
		for subject := range subjects {
			found = append(found, s.lanes[subject])
		}
		return found
	})
}
