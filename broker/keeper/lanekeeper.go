package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
)

const (
	// crowdedQuiet is how long a stream must have had room before a lack of room is logged again.
	crowdedQuiet = time.Minute
	// maxWishes bounds the lanes that wait for a consumer of one stream. Wishes beyond it are dropped, and repeated by their workers.
	maxWishes = 100_000
	// codeMaxConsumers is the server's error code for a stream that has no room for another consumer.
	codeMaxConsumers jetstream.ErrorCode = 10026
)

// laneKeeper makes the consumers of lanes. Where a stream has no room for another one, it takes the consumer of a lane that
// yields (see yielding). It alone decides, so all workers that share a lane agree. They learn from the server that their
// consumer is gone, and wish for it again when there is work.
type laneKeeper struct {
	js     jetstream.JetStream
	ensure func(ctx context.Context, stream string) error
	log    *slog.Logger

	rooms   map[string]*laneRoom // by stream; owned by take
	running sync.WaitGroup
}

// take accepts a wish. It must not be called by several goroutines at a time.
func (k *laneKeeper) take(ctx context.Context, msg *nats.Msg) {
	w, err := link.ReadWish(msg.Data)
	if err != nil {
		k.log.Warn("ignoring a malformed request for a consumer", "error", err)
		return
	}
	room := k.rooms[w.Stream]
	if room == nil {
		room = &laneRoom{keeper: k, stream: w.Stream, known: make(map[string]*wished), wake: make(chan struct{}, 1)}
		k.rooms[w.Stream] = room
		k.running.Go(func() { room.serve(ctx) })
	}
	room.note(w, msg, time.Now())
}

// laneRoom holds the consumers of one stream, and the wishes for more.
type laneRoom struct {
	keeper  *laneKeeper
	stream  string
	wake    chan struct{}
	ensured bool      // the stream was seen; owned by serve
	crowded time.Time // when it last had no room; owned by serve

	mu    sync.Mutex
	queue []*wished // first come, first served
	known map[string]*wished
}

// wished is a lane that waits for its consumer.
type wished struct {
	*link.Wish

	asked   time.Time
	workers map[string]*nats.Msg // their latest questions, by the subject of the answer
}

func (r *laneRoom) note(w *link.Wish, msg *nats.Msg, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.known[w.Consumer]
	if waiting == nil {
		if len(r.queue) >= maxWishes {
			return
		}
		waiting = &wished{workers: make(map[string]*nats.Msg)}
		r.known[w.Consumer] = waiting
		r.queue = append(r.queue, waiting)
	}
	waiting.Wish, waiting.asked, waiting.workers[msg.Reply] = w, now, msg
	link.Ring(r.wake)
}

// first returns the wish whose turn it is, and how many wait. It drops wishes that were given up.
func (r *laneRoom) first(now time.Time) (w *link.Wish, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 && now.Sub(r.queue[0].asked) > link.WishLife {
		delete(r.known, r.queue[0].Consumer)
		r.queue = r.queue[1:]
	}
	if len(r.queue) == 0 {
		r.queue = nil
		return nil, 0
	}
	return r.queue[0].Wish, len(r.queue)
}

// done removes the first wish and answers it.
func (r *laneRoom) done(answer string) {
	r.mu.Lock()
	w := r.queue[0]
	r.queue = r.queue[1:]
	delete(r.known, w.Consumer)
	r.mu.Unlock()
	for _, msg := range w.workers {
		if err := msg.Respond([]byte(answer)); err != nil {
			r.keeper.log.Debug("answering for a consumer; its worker asks again", "error", err)
		}
	}
}

// serve makes one consumer after the other until ctx ends.
func (r *laneRoom) serve(ctx context.Context) {
	for ctx.Err() == nil {
		w, waiting := r.first(time.Now())
		if w == nil {
			select {
			case <-r.wake:
			case <-ctx.Done():
			}
			continue
		}
		// An operation that the server has begun should finish before the server is stopped.
		err := r.make(context.WithoutCancel(ctx), w)
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeMaxConsumers {
			link.PauseFor(ctx, r.makeRoom(ctx, waiting))
			continue
		}
		switch {
		case err == nil:
			r.done(link.WishGranted)
		case ctx.Err() == nil:
			r.ensured = false
			r.done(err.Error())
		}
	}
}

func (r *laneRoom) make(ctx context.Context, w *link.Wish) error {
	ctx, cancel := context.WithTimeout(ctx, link.EnsureTime)
	defer cancel()
	if !r.ensured {
		if err := r.keeper.ensure(ctx, r.stream); err != nil {
			return err
		}
		r.ensured = true
	}
	_, err := r.keeper.js.CreateOrUpdateConsumer(ctx, r.stream, durable(w))
	if errors.Is(err, jetstream.ErrStreamNotFound) { // a broker came back without it
		r.ensured = false
		if err = r.keeper.ensure(ctx, r.stream); err == nil {
			_, err = r.keeper.js.CreateOrUpdateConsumer(ctx, r.stream, durable(w))
		}
	}
	if err != nil {
		return fmt.Errorf("the consumer %s of %s: %w", w.Consumer, r.stream, err)
	}
	return nil
}

// makeRoom takes up to n consumers from lanes that had their turn, and returns how long to wait before trying again.
func (r *laneRoom) makeRoom(ctx context.Context, n int) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, 2*link.EnsureTime)
	defer cancel()
	log := r.keeper.log.With("stream", r.stream)
	if now := time.Now(); now.Sub(r.crowded) > crowdedQuiet {
		log.Info("more routes have work than there is room for at a time; they take turns", "waiting", n)
		r.crowded = now
	} else {
		r.crowded = now
	}
	stream, err := r.keeper.js.Stream(ctx, r.stream)
	if err != nil {
		log.Debug("looking for room", "error", err)
		return laneTurn
	}
	var holders []holder
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		holders = append(holders, holderOf(info))
	}
	if err := list.Err(); err != nil {
		log.Debug("looking for room", "error", err)
		return laneTurn
	}
	names, wait := yielding(holders, n, time.Now())
	for _, name := range names {
		if err := stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			log.Debug("making room", "consumer", name, "error", err)
			return laneTurn
		}
	}
	return wait
}

// durable is the configuration of a lane's consumer.
func durable(w *link.Wish) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:           w.Consumer,
		FilterSubject:     w.Subject,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           w.AckWait,
		MaxDeliver:        cmp.Or(w.MaxDeliver, -1),
		MaxAckPending:     10_000,
		MaxWaiting:        8192,
		MemoryStorage:     w.Memory,
		InactiveThreshold: w.Life,
	}
}
