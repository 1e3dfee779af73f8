package jobs

import (
	"context"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// withdraw gives up a job whose place in the queue was refused: its record must not stay queued. When even that fails the
// sweeper queues it, so the caller may see it run; repeating the request does no harm.
func (j *Desk) withdraw(ctx context.Context, r *job.Record, cause error) error {
	if link.Full(cause) {
		now := time.Now().UTC()
		err := r.Withdraw(now)
		if err == nil { // a record that was written since has been promised to another caller
			err = records.UnlessConflict(j.store.Put(context.WithoutCancel(ctx), r, now))
		}
		if err != nil {
			j.log.Warn("a refused job could not be withdrawn", "job", r.ID, "error", err)
		}
	}
	return j.uncertain(r.ID, cause)
}

// replaceWithdrawn replaces a withdrawn job of the same id, whose caller was refused and told to try again. It returns
// ErrConflict when there is another job.
func (j *Desk) replaceWithdrawn(ctx context.Context, r *job.Record, at time.Time) error {
	was, err := j.store.Get(ctx, r.ID)
	if err != nil {
		return err
	}
	if !was.Withdrawn() {
		return records.ErrConflict
	}
	r.Revision = was.Revision
	return j.store.Put(ctx, r, at)
}
