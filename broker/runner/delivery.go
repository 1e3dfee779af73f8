package runner

import (
	"context"
	"errors"
	"time"

	"headrace/broker/intake"
	"headrace/broker/records"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// For how long no worker gets a message that is given back.
const (
	// kept is for a job that can run at once. The server writes a delay to disk, and remembers a message that was given back
	// without one only while it runs: if it stopped before a worker asked, the job would wait until its old lease had ended.
	kept        = time.Millisecond
	soon        = 500 * time.Millisecond
	later       = 5 * time.Second
	unreadAgain = time.Minute
)

// delivery is one leased job. Exactly one of Claim and Return must be called, soon.
type delivery struct {
	runner  *Runner
	message *intake.Message
	id      job.ID
	route   string
	alone   bool // no other job runs in this process
}

// Route is the name of the job's route.
func (d *delivery) Route() string { return d.route }

// Return gives the job back; another slot, here or elsewhere, gets it at once.
func (d *delivery) Return() {
	d.message.Leave()
	d.message.GiveBackIn(kept)
}

// Claim writes into the record that this worker runs the job. The write's condition is the claim: of several
// workers that hold a copy of the message, one is first.
func (d *delivery) Claim(ctx context.Context) (context.Context, lease.Claim, error) {
	w := d.runner
	if !w.solo.enter() {
		d.message.GiveBackIn(soon)
		d.message.Leave()
		return nil, nil, lease.ErrReturned
	}
	w.beginStart(d.id)
	defer w.endStart(d.id)
	epoch := w.line.Epoch()
	r, err := d.start(ctx)
	if errors.Is(err, errAlone) {
		if d.alone = w.solo.alone(ctx, w.beat, func() { _ = d.message.Extend() }); !d.alone {
			w.leave(d)
			d.message.GiveBackIn(later)
			return nil, nil, lease.ErrReturned
		}
		r, err = d.start(ctx)
	}
	if err != nil || r.State != job.Running {
		w.leave(d)
		return nil, nil, d.notStarted(err)
	}
	a := &attempt{
		runner: w, delivery: d, request: &inference.Request{ID: string(r.ID), Route: r.Route, Type: r.Type, Once: true, Alone: r.Unshared()},
		id: r.ID, start: r.Starts, epoch: epoch, record: r, input: r.Input, life: r.ResultTTL + records.BodyMargin,
		finished: make(chan struct{}),
	}
	ctx, a.cancel = context.WithCancelCause(ctx)
	until := r.Deadline
	if r.Timeout > 0 && time.Now().Add(r.Timeout).Before(until) {
		until = time.Now().Add(r.Timeout)
	}
	w.enter(ctx, a)
	ctx, a.stopTimer = context.WithDeadline(ctx, until)
	if err := w.open(ctx, r, a); err != nil {
		return nil, nil, a.notOpened(ctx, err)
	}
	return ctx, a, nil
}

// start writes the start. errAlone: nothing else may run beside it, and it is not known yet that nothing does;
// errHeld: the worker that began with it still runs it.
func (d *delivery) start(ctx context.Context) (*job.Record, error) {
	w := d.runner
	lost := false
	first := w.shared.Recent.Latest(d.id)
	if first != nil && first.State != job.Queued { // nothing but a start that is written may rest on what is remembered
		first = nil
	}
	r, err := w.store.ChangeFrom(ctx, d.id, first, func(r *job.Record, now time.Time) (bool, error) {
		lost = false
		switch r.State {
		case job.Running, job.Cancelling:
			switch w.fateOf(ctx, r) {
			case fateRuns:
				return true, errHeld
			case fateGivenUp: // the broker was away for too long: that is no interruption
				if err := r.Return(now); err != nil || r.State.Terminal() {
					return false, err
				}
			case fateLost:
				lost = r.State == job.Running
			}
		case job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
			return true, nil
		case job.Scheduled, job.Queued, job.Retrying:
		}
		if r.StartsAlone() && !d.alone {
			return true, errAlone
		}
		return false, r.Start(w.line.ID, now)
	})
	if err == nil && lost {
		w.interruptions.Add(r.Route, "")
	}
	return r, err
}

// notStarted settles the message of a job that this worker does not run.
func (d *delivery) notStarted(err error) error {
	switch {
	case errors.Is(err, errHeld):
		return lease.ErrGone // the worker that runs it keeps this lease alive as well
	case errors.Is(err, records.ErrNoJob) && d.message.First():
		d.message.GiveBackIn(later) // a server that has just taken over may not have all records yet
		return lease.ErrReturned
	case err == nil, errors.Is(err, records.ErrNoJob), errors.Is(err, job.ErrMove):
		d.message.Ack() // it has ended, or the sweeper queues it again when its time comes
		return lease.ErrGone
	}
	if errors.Is(err, records.ErrUnreadable) {
		d.runner.log.Error("the record of a job cannot be read; its message is delivered again in a minute", "job", d.id, "error", err)
		d.message.GiveBackIn(unreadAgain)
		return lease.ErrReturned
	}
	d.runner.log.Warn("a job could not be claimed", "job", d.id, "error", err)
	d.message.GiveBackIn(soon)
	return lease.ErrReturned
}
