package runner

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// A broker that is away costs a job no attempt: the worker that runs the job retries for less time
// than the lease lasts, and then gives it back. When even that cannot be written the lease ends by itself, and
// the next worker finds that this one has given the job up.

// storeAgain is the pause before what the store could not do is tried again.
const storeAgain = 200 * time.Millisecond

// away reports whether an error of the store says that the broker was not there, or too slow. Then what was asked for may
// have been done. Anything else is its answer: it will be the same the next time, or costs a call to the model server each time.
func away(err error) bool {
	if err == nil || errors.Is(err, records.ErrNoBody) || errors.Is(err, records.ErrDamaged) || errors.Is(err, records.ErrUnsynced) {
		return false
	}
	api, answered := errors.AsType[*jetstream.APIError](err)
	return !answered || api.Code == http.StatusServiceUnavailable && !link.Full(err)
}

// insist repeats an operation of the store until it succeeds, the broker refuses it, ctx ends or finishPatience is over.
func insist(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, finishPatience)
	defer cancel()
	for {
		err := do(ctx)
		if !away(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(storeAgain):
		}
	}
}

// readInput reads the stored input of a job that runs here.
func (r *Runner) readInput(ctx context.Context, rec *job.Record) (data []byte, err error) {
	err = insist(ctx, func(ctx context.Context) (err error) {
		data, err = r.store.Body(ctx, rec.ID, records.InputPrefix(rec.ID), rec.Input)
		return err
	})
	return data, err
}

// notOpened ends a claim whose input could not be read, and is what Claim returns then.
func (a *attempt) notOpened(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.DeadlineExceeded) {
		if f, stops := errors.AsType[*fault.Error](cause); stops {
			return a.Fail(ctx, f)
		}
		a.giveBack(ctx)
		return lease.ErrGone
	}
	f, ours := errors.AsType[*fault.Error](err)
	switch {
	case ours:
		return a.Fail(ctx, f)
	case away(err):
		a.runner.log.Warn("a job's input could not be read; the job is given back", "job", a.id, "error", err)
		a.giveBack(ctx)
		return lease.ErrReturned
	}
	return a.Fail(ctx, fault.Wrap(fault.UpstreamUnavailable, err, "the job's input could not be read"))
}

// putResult stores the bytes of a result. Those of an earlier try are replaced.
func (a *attempt) putResult(ctx context.Context, series string, data []byte) (body *job.Body, err error) {
	err = insist(context.WithoutCancel(ctx), func(ctx context.Context) (err error) {
		body, err = a.runner.store.PutBody(ctx, a.id, records.OutputPrefix(a.id), series, data, a.life)
		return err
	})
	return body, err
}

// notStored ends a claim whose result could not be stored, and is what Answer returns then.
func (a *attempt) notStored(ctx context.Context, series string, err error) error {
	f := fault.Wrap(fault.UpstreamUnavailable, err, "the job's result could not be stored")
	if !away(err) {
		return a.Fail(ctx, f)
	}
	r, err := a.goBack(ctx)
	if err != nil || r == nil {
		return errors.Join(f, err)
	}
	return errors.Join(f, a.runner.store.Erase(context.WithoutCancel(ctx), a.id, records.OutputPrefix(a.id)+series+"."))
}
