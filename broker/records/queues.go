package records

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/internal/job"
)

// QueueShards is the number of streams that the work queues are spread over.
const QueueShards = link.Shards

// Queues looks at the work queues as a whole.
type Queues struct {
	store   *Store
	tooMany map[int]bool // by shard: it held more messages than jobs when it was last searched; owned by Leftovers
}

// Position returns a queued job's number in its queue's stream, which other queues share. ok is false when it has none, or
// that is not known. It costs one read.
func (q *Queues) Position(ctx context.Context, r *job.Record) (number uint64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, StorePatience)
	defer cancel()
	stream, err := q.store.stream(ctx, queueStream+strconv.Itoa(link.ShardOf(r.Route)))
	if err != nil {
		return 0, false
	}
	msg, err := stream.GetLastMsgForSubject(ctx, queueSubject(r))
	if err != nil {
		return 0, false
	}
	return msg.Sequence, true
}

// Held is what the server says of a queue.
type Held struct {
	// Delivered is the number up to which jobs were given to workers, and Started how often one was.
	Delivered, Started uint64
	// Jobs is how many are in the queue, leased or not.
	Jobs int
	// All says that Jobs counts all queues of the shard, because no worker has asked for jobs of this one.
	All bool
}

// Held measures the queue of a lane.
func (q *Queues) Held(ctx context.Context, lane LaneName) (held Held, err error) {
	at, ok := laneAt(lane)
	if !ok {
		return held, fmt.Errorf("%q is not a queue's subject", lane)
	}
	stream, err := q.store.stream(ctx, at.Stream)
	if err != nil {
		return held, err
	}
	if held, err = heldBy(ctx, stream, at); err != nil {
		q.store.forget(at.Stream)
	}
	return held, err
}

func heldBy(ctx context.Context, stream jetstream.Stream, lane link.Lane) (held Held, err error) {
	consumer, err := stream.Consumer(ctx, lane.Consumer)
	if err == nil {
		info := consumer.CachedInfo()
		held.Delivered, held.Started = info.Delivered.Stream, info.Delivered.Consumer
		held.Jobs = info.NumAckPending + int(min(info.NumPending, math.MaxInt32))
		return held, nil
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return held, err
	}
	// No worker has asked yet, or others needed the room. One lane's messages are many to count, so all are.
	info, err := stream.Info(ctx)
	if err != nil {
		return held, err
	}
	return Held{Jobs: int(min(info.State.Msgs, math.MaxInt32)), All: true}, nil
}

// Next reads the first job of a queue from a number on, and when it was queued. The server looks at every subject that waits
// when it is asked for the first of several, so it is asked for the one that most likely is. ok is false when there is none.
func (q *Queues) Next(ctx context.Context, lane LaneName, from, likely uint64) (number uint64, queued time.Time, ok bool, err error) {
	at, ok := laneAt(lane)
	if !ok {
		return 0, queued, false, fmt.Errorf("%q is not a queue's subject", lane)
	}
	stream, err := q.store.stream(ctx, at.Stream)
	if err != nil {
		return 0, queued, false, err
	}
	msg, err := stream.GetMsg(ctx, likely)
	if err == nil && !strings.HasPrefix(msg.Subject, strings.TrimSuffix(at.Subject, "*")) || errors.Is(err, jetstream.ErrMsgNotFound) {
		msg, err = stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(at.Subject))
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, queued, false, nil
	case err != nil:
		return 0, queued, false, err
	}
	return msg.Sequence, msg.Time, true, nil
}

// laneAt names what belongs to a lane.
func laneAt(lane LaneName) (link.Lane, bool) {
	at, ok := parseLane(string(lane))
	if !ok {
		return link.Lane{}, false
	}
	return laneNamed(at.Provider, at.Route, at.Priority), true
}

// maxLooks bounds how many messages of one queue are compared with their jobs in one search.
const maxLooks = 256

// maxLeftovers bounds what is taken out of one queue in one search.
const maxLeftovers = 10_000

// Known is what is known of jobs when their queues are searched.
type Known struct {
	// Expected is how many jobs a lane should hold, All how many all lanes of the shard should.
	Expected func(LaneName) int
	All      int
	// Ended reports whether a job needs no place in a queue.
	Ended func(context.Context, job.ID) (bool, error)
	// Again is called with the job of each message that was taken out, and gives it another one if it needs one.
	Again func(context.Context, job.ID) error
}

// Leftovers takes leftovers out of the queues of a shard (0 to QueueShards-1), and calls again with the job of each. A
// leftover is a message that the NATS server holds for acknowledged, because it is still in the stream and not beyond its
// consumer's floor, and does not deliver again; or one of a job that has ended, which no worker asks for because it was not
// announced. A lane that holds as many as it should is not searched, unless the shard held too many messages in this search
// and in the last. It must not be called by two at a time.
func (q *Queues) Leftovers(ctx context.Context, shard int, known Known) error {
	ctx, cancel := context.WithTimeout(ctx, 2*StorePatience)
	defer cancel()
	stream, err := q.store.link.JS.Stream(ctx, queueStream+strconv.Itoa(shard)) // not the store's way, which would make it
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	messages := stream.CachedInfo().State.Msgs
	if messages == 0 {
		delete(q.tooMany, shard)
		return nil
	}
	tooMany := messages > uint64(max(known.All, 0)) && messages <= maxLeftovers
	lasts := tooMany && q.tooMany[shard]
	q.tooMany[shard] = tooMany
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		lane := LaneName(strings.TrimSuffix(info.Config.FilterSubject, ".*"))
		holds, needed := uint64(info.NumAckPending)+info.NumPending, uint64(known.Expected(lane))
		if holds >= needed && !lasts {
			continue // it knows of all jobs; looking for messages that it does not know of costs a search over all
		}
		err := takeLeftovers(ctx, stream, info, known)
		if err == nil && lasts && holds > needed && info.NumAckPending == 0 {
			err = takeEnded(ctx, stream, info, known)
		}
		if err != nil {
			return err
		}
	}
	return list.Err()
}

// takeEnded takes the messages of ended jobs out of the front of a queue.
func takeEnded(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo, known Known) error {
	next := uint64(1)
	for range maxLooks {
		msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(info.Config.FilterSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the next of %s: %w", info.Name, err)
		}
		next = msg.Sequence + 1
		ended, err := known.Ended(ctx, IdOfEvent(msg.Subject))
		if err == nil && ended {
			err = takeAway(ctx, stream, msg.Subject, known)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeAway takes one message out. Its job may have been started again just now, so it is looked at behind that.
func takeAway(ctx context.Context, stream jetstream.Stream, subject string, known Known) error {
	if err := takeOut(ctx, stream, subject); err != nil {
		return fmt.Errorf("taking a leftover out of %s: %w", subject, err)
	}
	return known.Again(ctx, IdOfEvent(subject))
}

// takeLeftovers takes out what is not beyond the consumer's floor.
func takeLeftovers(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo, known Known) error {
	for range maxLeftovers {
		msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(info.Config.FilterSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the next of %s: %w", info.Name, err)
		}
		if msg.Sequence > info.AckFloor.Stream {
			return nil
		}
		if err := takeAway(ctx, stream, msg.Subject, known); err != nil {
			return err
		}
	}
	return nil
}
