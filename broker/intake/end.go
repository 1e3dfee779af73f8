package intake

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"headrace/broker/link"
	"headrace/internal/inference"
	"headrace/internal/lease"
)

// End is a worker process's end of the queues: its connection, its intakes and its presence. There is one in a process.
type End struct {
	dial  link.Dial
	log   *slog.Logger
	id    string
	kinds []Kind
	pools func() []PoolReport // nil: nothing is reported of model servers

	ready chan struct{} // closed when link is set and every kind has begun
	link  *link.Link

	others   *Roster // the other workers, to know who is left when this one leaves
	sleepers *sleepers
	wishes   *wishes
	troubles link.Troubles

	mu       sync.Mutex
	routes   map[string]int // announced: route -> slots
	leaving  bool
	intakes  map[*Intake]struct{}
	byRoute  map[string]*Intake // the one that was opened last
	epoch    int                // grows with every reconnect
	retiring sync.WaitGroup     // sessions whose lane is not pulled from any more
	announce chan struct{}      // capacity 1: announce now
}

// NewEnd validates dial. The process leases work of all kinds. pools is asked every second for the state of the model
// servers' replicas; nil reports none.
func NewEnd(dial link.Dial, pools func() []PoolReport, log *slog.Logger, kinds ...Kind) (*End, error) {
	if err := dial.Validate(); err != nil {
		return nil, err
	}
	id := rand.Text()[:16]
	return &End{
		dial: dial, log: log, id: id, kinds: kinds, pools: pools, ready: make(chan struct{}), others: NewRoster(),
		sleepers: newSleepers(), wishes: newWishes(link.PrefixWorker + id + ".l."),
		routes: make(map[string]int), intakes: make(map[*Intake]struct{}), byRoute: make(map[string]*Intake),
		announce: make(chan struct{}, 1),
	}, nil
}

// ID is the worker's name on the wire, new with every start.
func (e *End) ID() string { return e.id }

// Run connects, waiting for the broker as long as it takes, and serves until ctx ends. The worker that leases from it
// must have finished before ctx ends, or its answers are lost.
func (e *End) Run(ctx context.Context) error {
	l, err := e.dial.Open(ctx, "worker", e.log, link.Events{Back: e.connectionBack, Slow: e.sleepers.doubt})
	if err != nil {
		return link.Stopped(ctx, err)
	}
	defer l.NC.Close()
	e.link = l
	if err := e.subscribe(map[string]nats.MsgHandler{
		e.wishes.inbox + "*.*":  e.wishes.answer,
		link.SubjectPresence:    e.notePresence,
		link.SubjectPresenceAsk: func(*nats.Msg) { e.announceSoon() },
	}); err != nil {
		return err
	}
	serving, ctx := errgroup.WithContext(ctx)
	if !e.begin(ctx, serving, &Line{ID: e.id, Link: l, end: e}) {
		return serving.Wait()
	}
	for _, run := range []func(context.Context){
		e.announceUntil, e.sleepers.listen, func(ctx context.Context) { e.sleepers.ask(ctx, l) },
	} {
		serving.Go(func() error {
			run(ctx)
			return nil
		})
	}
	close(e.ready)
	err = serving.Wait()
	e.retiring.Wait() // what the last pulls may still bring goes back
	return err
}

// begin starts all kinds, and waits until they have begun. It reports whether they have: otherwise ctx is over.
func (e *End) begin(ctx context.Context, serving *errgroup.Group, line *Line) bool {
	begun := make(chan struct{}, len(e.kinds))
	for _, k := range e.kinds {
		serving.Go(func() error { return k.Run(ctx, line, func() { begun <- struct{}{} }) })
	}
	for range e.kinds {
		select {
		case <-begun:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// subscribe subscribes to each subject. The subscriptions end with the connection.
func (e *End) subscribe(handlers map[string]nats.MsgHandler) error {
	for subject, handler := range handlers {
		if _, err := e.link.NC.Subscribe(subject, handler); err != nil {
			return fmt.Errorf("broker: worker: %w", err)
		}
	}
	return nil
}

// Ready is nil while the worker is connected to the broker.
func (e *End) Ready() error {
	select {
	case <-e.ready:
	default:
		return errors.New("the broker was not reached yet")
	}
	if !e.link.NC.IsConnected() {
		return errors.New("the connection to the broker is lost")
	}
	return nil
}

// Serve sets what this worker announces: routes with their slots. An empty set announces that it leaves.
func (e *End) Serve(routes map[string]int) {
	e.mu.Lock()
	e.routes = maps.Clone(routes)
	e.leaving = len(routes) == 0
	e.mu.Unlock()
	if len(routes) == 0 {
		for _, k := range e.kinds {
			k.Leaving()
		}
	}
	e.announceSoon()
}

// Intake makes an intake for routes, at least one. Close ends it.
func (e *End) Intake(routes []*inference.Route) *Intake {
	in := newIntake(e, routes)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.intakes[in] = struct{}{}
	for _, p := range in.pullers {
		e.byRoute[p.queue.Route] = in
	}
	return in
}

// forget is called when an intake is closed.
func (e *End) forget(in *Intake) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.intakes, in)
	for _, p := range in.pullers {
		if e.byRoute[p.queue.Route] == in {
			delete(e.byRoute, p.queue.Route)
		}
	}
}

// offer gives a delivery to the intake of its route, if there is one with a slot to spare.
func (e *End) offer(d lease.Delivery) bool {
	e.mu.Lock()
	in := e.byRoute[d.Route()]
	e.mu.Unlock()
	return in != nil && in.offer(d)
}

// notePresence takes the announcement of a worker; the server sends this worker's own, too.
func (e *End) notePresence(msg *nats.Msg) {
	p, err := ReadPresence(msg.Data)
	if err != nil {
		e.log.Warn("unreadable presence", "error", err)
		return
	}
	if p.Worker != e.id {
		e.others.Note(p, time.Now())
	}
}

// Settle waits until every route that is pulled from has another live worker or nothing that waits, or until
// ctx ends. It is for a worker that has announced that it leaves: what was accepted should still run.
func (e *End) Settle(ctx context.Context) {
	select {
	case <-e.ready:
	default:
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !e.settled(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// settled reports whether nothing is left that only this worker would run. A stream that cannot be asked counts as no.
func (e *End) settled(ctx context.Context) bool {
	e.others.Expire(time.Now())
	e.mu.Lock()
	intakes := slices.Collect(maps.Keys(e.intakes))
	e.mu.Unlock()
	streams := make(map[string][]string) // subjects of those that have no other worker, by stream
	for _, in := range intakes {
		for _, p := range in.pullers {
			if p.queue.Background || p.asleep.Load() {
				continue // what waits in the background waits for any worker; for a dormant route nothing waits
			}
			if others, _, _ := e.others.Serves(p.queue.Route); others == 0 {
				streams[p.queue.Stream] = append(streams[p.queue.Stream], p.queue.Subject)
			}
		}
	}
	for stream, subjects := range streams {
		waiting, err := e.link.SubjectsIn(ctx, stream)
		if err != nil || slices.ContainsFunc(subjects, func(s string) bool { return waiting[s] > 0 }) {
			return false
		}
	}
	return true
}

// announceSoon announces at once, without waiting for the next second.
func (e *End) announceSoon() { link.Ring(e.announce) }

// announceUntil announces every second, and when asked, until ctx ends.
func (e *End) announceUntil(ctx context.Context) {
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	for {
		e.announceNow()
		e.reportNow()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.announce:
		}
	}
}

// announceNow says which routes are served. A worker that was told of no routes yet says nothing.
func (e *End) announceNow() {
	e.mu.Lock()
	p := Presence{Worker: e.id, Routes: e.routes, Leaving: e.leaving}
	text, err := json.Marshal(p)
	silent := len(e.routes) == 0 && !e.leaving
	e.mu.Unlock()
	if err != nil || silent { // a map of numbers always marshals
		return
	}
	if err := e.link.NC.Publish(link.SubjectPresence, text); err != nil {
		e.log.Debug("announcing", "error", err)
	}
}

// connectionBack makes every intake pull again: the server has forgotten its pulls, and may have lost its
// streams.
func (e *End) connectionBack() {
	for _, k := range e.kinds {
		k.Reconnected()
	}
	e.mu.Lock()
	e.epoch++
	for in := range e.intakes {
		in.signal()
	}
	e.mu.Unlock()
	e.announceSoon()
}

// signal makes all intakes look at their lanes.
func (e *End) signal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for in := range e.intakes {
		in.signal()
	}
}

// currentEpoch is how often the connection has come back. What was asked for in an earlier epoch is forgotten by the server.
func (e *End) currentEpoch() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.epoch
}
