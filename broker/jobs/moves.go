package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// mover makes the moves that callers ask for, on jobs that were accepted.
type mover struct {
	*door

	ends *follower // waits for the end of a running job that is to be erased
}

// Cancel ends a waiting job, or requests the end of a running one. It may be repeated.
func (j *mover) Cancel(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	r, err := j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.State.Terminal() || r.State == job.Cancelling {
			return true, nil
		}
		r.Cancel(now)
		return false, nil
	})
	if err != nil {
		return nil, j.unread(id, err)
	}
	if r.State == job.Cancelling {
		if err := j.wire.Cancel(id); err != nil {
			j.log.Debug("a cancel was not broadcast; the worker sees it at its next heartbeat", "job", id, "error", err)
		}
		return r, nil
	}
	if err := j.store.Unqueue(ctx, r); err != nil {
		j.log.Debug("a cancelled job stays in the queue; the worker that gets it drops it", "job", id, "error", err)
	}
	return r, nil
}

// Erase removes input and result of a job that has ended and leaves a tombstone. It cancels a running job first, and
// erases it when it has ended, if that is before ctx ends.
func (j *mover) Erase(ctx context.Context, id job.ID) error {
	r, err := j.Cancel(ctx, id)
	if err != nil {
		return err
	}
	if !r.State.Terminal() {
		if _, err = j.ends.WaitEnd(ctx, id); err != nil {
			return err
		}
	}
	_, err = j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.State == job.Erased {
			return true, nil
		}
		return false, r.Erase(now)
	})
	if err != nil {
		return j.unread(id, err)
	}
	if err := errors.Join(j.store.ForgetVersions(ctx, id), j.store.Erase(ctx, id, records.InputPrefix(id), records.OutputPrefix(id))); err != nil {
		return j.unread(id, err)
	}
	return nil
}

// Retry starts a new run of a job that failed, was cancelled or has expired; a fault of code Conflict when it has not.
func (j *mover) Retry(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	input, err := j.inputAgain(ctx, id)
	if err != nil {
		return nil, err
	}
	var old *job.Body
	r, err := j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.Gone(now) {
			return false, errInputGone()
		}
		if err := r.Again(now); err != nil {
			return false, err
		}
		if r.Input == nil {
			return false, errInputGone()
		}
		if input != nil {
			old, r.Input = r.Input, input
		}
		return false, nil
	})
	if err != nil {
		// After any other error the record may name the input.
		if refused := errors.Is(err, job.ErrMove) || errors.Is(err, records.ErrNoJob) || errors.Is(err, records.ErrNoBody); input != nil && refused {
			j.dropUnused(ctx, id, input)
		}
		return nil, j.unread(id, err)
	}
	if old != nil {
		j.dropUnused(ctx, id, old)
	}
	if err := j.store.ForgetVersions(ctx, id); err != nil {
		j.log.Debug("the earlier run's end stays until this one's", "job", id, "error", err)
	}
	if err := j.store.Enqueue(ctx, r); err != nil {
		j.log.Warn("a retried job is queued by the sweeper", "job", id, "error", err)
	}
	return r, nil
}

// inputAgain stores the input of a job that is to run again a second time, when it is stored apart from the record: it was
// kept for the life of the earlier run only. It returns nil when the record holds the input, or no new run is possible.
func (j *mover) inputAgain(ctx context.Context, id job.ID) (*job.Body, error) {
	r, err := j.store.Get(ctx, id)
	if err != nil {
		return nil, j.unread(id, err)
	}
	if r.Input == nil || r.Input.Parts == 0 || !r.State.Terminal() || r.Gone(time.Now()) {
		return nil, nil //nolint:nilnil // see above
	}
	data, err := j.store.Body(ctx, id, records.InputPrefix(id), r.Input)
	if errors.Is(err, records.ErrNoBody) {
		// Another retry that was first has replaced the input.
		if now, e := j.store.Get(ctx, id); e == nil && now.Run != r.Run {
			return j.inputAgain(ctx, id)
		}
	}
	if err != nil {
		return nil, j.lost(id, err)
	}
	again, err := j.store.PutBody(ctx, id, records.InputPrefix(id), rand.Text()[:8], data, r.Total+r.ResultTTL+records.BodyMargin)
	if err != nil {
		return nil, j.unstored(err)
	}
	return again, nil
}

func errInputGone() error {
	return fault.Wrap(fault.Gone, records.ErrNoBody, "the job's input is not stored any more")
}
