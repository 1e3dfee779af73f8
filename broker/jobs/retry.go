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

// Retry starts a new run of a job that failed, was cancelled or has expired; a fault of code Conflict when it has not.
func (j *Desk) Retry(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	input, err := j.inputAgain(ctx, id)
	if err != nil {
		return nil, err
	}
	var old *job.Body
	r, err := j.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		if r.Gone(now) || r.Input == nil {
			return false, errInputGone()
		}
		if err := r.Again(now); err != nil {
			return false, err
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

func errInputGone() error {
	return fault.Wrap(fault.Gone, records.ErrNoBody, "the job's input is not stored any more")
}

// inputAgain stores the input of a job that is to run again a second time, when it is stored apart from the record: it was
// kept for the life of the earlier run only. It returns nil when the record holds the input, or no new run is possible.
func (j *Desk) inputAgain(ctx context.Context, id job.ID) (*job.Body, error) {
	r, err := j.store.Get(ctx, id)
	if err != nil {
		return nil, j.unread(id, err)
	}
	if r.Input == nil || r.Input.Parts == 0 || !r.State.Terminal() || r.Gone(time.Now()) {
		return nil, nil //nolint:nilnil // see above
	}
	data, err := j.store.Body(ctx, id, records.InputPrefix(id), r.Input)
	if err != nil {
		return nil, j.lost(id, err)
	}
	again, err := j.store.PutBody(ctx, id, records.InputPrefix(id), rand.Text()[:8], data, r.Total+r.ResultTTL+records.BodyMargin)
	if err != nil {
		return nil, j.unstored(err)
	}
	return again, nil
}
