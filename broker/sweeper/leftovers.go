package sweeper

import (
	"context"
	"errors"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

const (
	// leftoversEvery is how often the work queues are searched for messages that are never delivered again.
	leftoversEvery = 10 * time.Second
	// leftoversFirst is how long after the sweeper's start they are searched for the first time.
	leftoversFirst = time.Second
)

// clear takes leftovers out of the work queues until ctx ends, and queues their jobs again. A broker that is killed may come
// back with such. Without this the job would wait for ever, or run for ever by its record; and another run of one that has
// ended would find its place in the queue taken.
func (c *cleaner) clear(ctx context.Context, q queues, s store) {
	link.PauseFor(ctx, leftoversFirst)
	for ctx.Err() == nil {
		for shard := range records.QueueShards {
			err := q.Leftovers(ctx, shard, records.Known{
				Expected: c.schedule.expected, All: c.schedule.expectedIn(shard),
				Ended: func(ctx context.Context, id job.ID) (bool, error) { return ended(ctx, s, id) },
				Again: func(ctx context.Context, id job.ID) error { return c.requeue(ctx, s, id) },
			})
			if err != nil && ctx.Err() == nil {
				c.log.Warn("searching a queue for leftovers", "shard", shard, "error", err)
			}
		}
		link.PauseFor(ctx, leftoversEvery)
	}
}

// ended reports whether a job is over, or its record gone.
func ended(ctx context.Context, s store, id job.ID) (bool, error) {
	r, err := s.Get(ctx, id)
	if errors.Is(err, records.ErrNoJob) {
		return true, nil
	}
	return err == nil && r.State.Terminal(), err
}

// requeue gives a job whose message was a leftover another one, if it needs one. Should a worker still run it, then the worker
// that gets the message asks that one first.
func (c *cleaner) requeue(ctx context.Context, s store, id job.ID) error {
	r, err := s.Get(ctx, id)
	if errors.Is(err, records.ErrNoJob) {
		return nil
	}
	if err != nil {
		return err
	}
	switch r.State {
	case job.Queued, job.Running, job.Cancelling:
		c.log.Info("queueing a job whose lease was lost", "job", id, "state", r.State)
		return s.Enqueue(ctx, r)
	case job.Scheduled, job.Retrying, job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
	}
	return nil
}
