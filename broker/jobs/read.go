package jobs

import (
	"context"
	"errors"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Get reads a job's record. Every error is a *fault.Error; NotFound wraps ErrNoJob.
func (j *door) Get(ctx context.Context, id job.ID) (*job.Record, error) {
	if err := j.await(ctx); err != nil {
		return nil, err
	}
	r, err := j.store.Get(ctx, id)
	return r, j.unread(id, err)
}

// Input reads the input of a job, as its caller sent it.
func (j *door) Input(ctx context.Context, r *job.Record) ([]byte, error) {
	data, err := j.store.Body(ctx, r.ID, records.InputPrefix(r.ID), r.Input)
	if err != nil {
		return nil, j.lost(r.ID, err)
	}
	reader := link.Reader{Rest: data}
	body := reader.Bytes()
	return body, reader.Err
}

// Result reads the result of a job that succeeded.
func (j *door) Result(ctx context.Context, r *job.Record) (*inference.Result, error) {
	data, err := j.store.Body(ctx, r.ID, records.OutputPrefix(r.ID), r.Result)
	if err != nil {
		return nil, j.lost(r.ID, err)
	}
	result, err := link.ReadResult(data)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "internal error")
	}
	return result, nil
}

// change applies a move to a job, durably.
func (j *door) change(ctx context.Context, id job.ID, move func(*job.Record, time.Time) (same bool, err error)) (*job.Record, error) {
	r, err := j.store.Change(ctx, id, move)
	if err != nil {
		return nil, err
	}
	return r, j.store.Settle(ctx, r)
}

// dropUnused removes parts of an input that no job uses.
func (j *door) dropUnused(ctx context.Context, id job.ID, input *job.Body) {
	if err := j.store.Erase(ctx, id, records.InputPrefix(id)+input.Series+"."); err != nil {
		j.log.Warn("an unused input stays until it expires", "job", id, "error", err)
	}
}

// unstored is the caller's error for a write that failed.
func (j *door) unstored(err error) error {
	if f := j.refusal(); f != nil {
		return f
	}
	if errors.Is(err, records.ErrFull) {
		f := fault.Wrap(fault.QueueFull, err, "the store for jobs is full; try again later, or raise broker.max_store")
		f.RetryAfter = 5 * time.Second
		return f
	}
	f := fault.Wrap(fault.NoWorkers, err, "the job could not be stored; try again: with an Idempotency-Key, or an id of your own, it will not run twice")
	f.RetryAfter = time.Second
	return f
}

// uncertain is the caller's error for a write that failed or may have happened all the same.
func (j *door) uncertain(id job.ID, err error) error {
	if errors.Is(err, records.ErrFull) {
		return j.unstored(err)
	}
	f := fault.Wrap(fault.NoWorkers, err, "job %s may or may not have been stored; check GET /v1/jobs/%s or try again: with an Idempotency-Key, or an id of your own, it will not run twice", id, id)
	f.RetryAfter = time.Second
	return f
}

func (j *door) unread(id job.ID, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, job.ErrMove):
		return fault.New(fault.Conflict, "%w", err)
	case errors.Is(err, records.ErrNoJob):
		return fault.Wrap(fault.NotFound, err, "there is no job %q", id)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if f := j.refusal(); f != nil {
		return f
	}
	f := fault.Wrap(fault.NoWorkers, err, "the store for jobs cannot be reached; try again")
	f.RetryAfter = time.Second
	return f
}

// lost is the caller's error for an input or a result that could not be read.
func (j *door) lost(id job.ID, err error) error {
	switch {
	case errors.Is(err, records.ErrNoBody):
		return fault.Wrap(fault.Gone, err, "the stored input or result is no longer available")
	case errors.Is(err, records.ErrDamaged):
		j.log.Error("the stored input or result of a job is damaged", "job", id, "error", err)
		return fault.Wrap(fault.Gone, err, "the stored input or result is damaged")
	}
	return j.unread(id, err)
}
