package sweeper

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

const (
	// leftoversEvery is how often the work queues are searched for what nobody will ever be given.
	leftoversEvery = 10 * time.Second
	// leftoversFirst is how long after the sweeper's start they are searched for the first time.
	leftoversFirst = time.Second
	// maxLeftovers bounds what is taken out of one queue in one search.
	maxLeftovers = 10_000
)

// clear takes leftovers out of the work queues until ctx ends, and queues their jobs anew. A leftover is a message that is
// still in the stream and not beyond its consumer's floor: the NATS server holds it for acknowledged and gives it to nobody
// again. A broker that is killed may come back with such. The job would wait for ever, or run for ever by its record; and
// another run of one that has ended would find its place in the queue taken.
func (s *Sweeper) clear(ctx context.Context) {
	link.PauseFor(ctx, leftoversFirst)
	for ctx.Err() == nil {
		for shard := range link.Shards {
			if err := s.clearStream(ctx, records.QueueStream+strconv.Itoa(shard)); err != nil && ctx.Err() == nil {
				s.log.Warn("searching a queue for leftovers", "shard", shard, "error", err)
			}
		}
		link.PauseFor(ctx, leftoversEvery)
	}
}

func (s *Sweeper) clearStream(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*records.StorePatience)
	defer cancel()
	stream, err := s.store.Link.JS.Stream(ctx, name) // not the store's way, which would make it
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if err := s.clearLane(ctx, stream, info); err != nil {
			return err
		}
	}
	return list.Err()
}

// clearLane takes out what is not beyond the consumer's floor.
func (s *Sweeper) clearLane(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) error {
	if known := uint64(info.NumAckPending) + info.NumPending; known >= uint64(s.expected(strings.TrimSuffix(info.Config.FilterSubject, ".*"))) {
		return nil // it knows of all jobs; looking for messages that it does not know of costs a search over all
	}
	floor := info.AckFloor.Stream
	for range maxLeftovers {
		msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(info.Config.FilterSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the next of %s: %w", info.Name, err)
		}
		if msg.Sequence > floor {
			return nil
		}
		if err := records.TakeOut(ctx, stream, msg.Subject); err != nil {
			return fmt.Errorf("taking a leftover out of %s: %w", info.Name, err)
		}
		if err := s.requeue(ctx, records.IdOfEvent(msg.Subject)); err != nil {
			return err
		}
	}
	return nil
}

// requeue gives a job whose message was a leftover another one, if it needs one. Should a worker still run it, then whoever
// gets the message asks that one first.
func (s *Sweeper) requeue(ctx context.Context, id job.ID) error {
	r, err := s.store.Get(ctx, id)
	if errors.Is(err, records.ErrNoJob) {
		return nil
	}
	if err != nil {
		return err
	}
	switch r.State {
	case job.Queued, job.Running, job.Cancelling:
		s.log.Info("queueing a job whose lease was lost", "job", id, "state", r.State)
		return s.store.Enqueue(ctx, r)
	case job.Scheduled, job.Retrying, job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
	}
	return nil
}
