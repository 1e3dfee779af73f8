package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	// withdrawWithin is how long after writing a job's record its front end may still withdraw it; far more than it takes.
	withdrawWithin = time.Minute
	// placedEvery is how often front ends announce what they have queued. An announcement is between one and two intervals old:
	// the sweeper has read the record by then.
	placedEvery = 2 * time.Second
)

// acceptor stores new jobs, while there is room for them.
type acceptor struct {
	*door

	room       limits
	queues     *queues
	maxWaiting int // jobs of one route; 0 = no limit of its own
	accepted   records.Counts
	placements records.Placements
}

// Accept stores a job: its input, its record and its entry in the work queue, in this order. When it returns, the job is
// as durable as its record says. When a job of the same id and fingerprint exists, Accept returns that one as it is now,
// with fresh false; one of another fingerprint is a fault of code KeyReused. Every error is a *fault.Error.
func (j *acceptor) Accept(ctx context.Context, r *job.Record, body []byte, req *inference.Request) (now *job.Record, fresh bool, err error) {
	if err := j.await(ctx); err != nil {
		return nil, false, err
	}
	if err := j.admit(ctx, r); err != nil {
		was, err := j.placed(ctx, r, err)
		return was, false, err
	}
	at := time.Now().UTC()
	var w link.Writer
	w.Bytes(body)
	link.WriteRequest(&w, req)
	segments, size := w.Finish()
	life := r.Total + r.ResultTTL + records.BodyMargin
	if r.RunAt != nil {
		life += max(r.RunAt.Sub(at), 0)
	}
	// The series keeps the inputs of several equal requests apart until one request has won.
	r.Input, err = j.store.PutBody(ctx, r.ID, records.InputPrefix(r.ID), rand.Text()[:8], link.Joined(make([]byte, 0, size), segments), life)
	if err != nil {
		return nil, false, j.unstored(err)
	}
	r.Accept(at)
	err = j.store.Put(ctx, r, at)
	if errors.Is(err, records.ErrConflict) {
		err = j.replaceWithdrawn(ctx, r, at)
	}
	if errors.Is(err, records.ErrConflict) {
		return j.existing(ctx, r)
	}
	if err != nil {
		return nil, false, j.uncertain(r.ID, err)
	}
	if r.State == job.Queued {
		if err := j.store.Enqueue(ctx, r); err != nil {
			return nil, false, j.withdraw(ctx, r, err)
		}
		j.placements.Add(r.ID, r.Revision)
	}
	if err := j.store.Settle(ctx, r); err != nil { // it may run by now: nothing is promised yet
		return nil, false, j.uncertain(r.ID, err)
	}
	j.accepted.Add(r.Route, string(r.Priority))
	return r, true, nil
}

// admit returns an error when there is no room for one more job.
func (j *acceptor) admit(ctx context.Context, r *job.Record) error {
	if f := j.refusal(); f != nil {
		return f
	}
	if err := j.room.check(ctx, j.store, r.ID); err != nil {
		return err
	}
	return j.queues.enter(r.Route, j.maxWaiting)
}

// placed returns the existing job when a new one would be refused: a repeated request needs no room.
func (j *acceptor) placed(ctx context.Context, r *job.Record, refused error) (*job.Record, error) {
	if job.Ours(r.ID) && r.IdempotencyKey == "" {
		return nil, refused // the id is new: no earlier request can have used it
	}
	was, _, err := j.existing(ctx, r)
	if fault.CodeOf(err) == fault.KeyReused {
		return nil, err
	}
	if err != nil || was.Withdrawn() {
		return nil, refused
	}
	return was, nil
}

// existing returns the job that was stored before r, and drops what was stored for r.
func (j *acceptor) existing(ctx context.Context, r *job.Record) (*job.Record, bool, error) {
	if r.Input != nil && r.Input.Parts > 0 { // no record refers to the parts of r
		j.dropUnused(ctx, r.ID, r.Input)
	}
	was, err := j.Get(ctx, r.ID)
	if err != nil {
		return nil, false, err
	}
	if was.Fingerprint != r.Fingerprint {
		return nil, false, fault.New(fault.KeyReused, "job %s exists and was asked for with another body or other options; choose another id", r.ID)
	}
	if was.State == job.Queued && was.Starts == 0 && time.Since(*was.QueuedAt) < withdrawWithin {
		// The writer may be about to withdraw it because the queue is full. Writing it again makes that withdrawal fail.
		if err := j.store.Put(ctx, was, time.Now().UTC()); errors.Is(err, records.ErrConflict) {
			return j.existing(ctx, r)
		} else if err != nil {
			return nil, false, j.uncertain(was.ID, err)
		}
	}
	// The caller that placed it may still wait, or may have been told that it could not be stored.
	if err := j.store.Settle(ctx, was); err != nil {
		return nil, false, j.uncertain(was.ID, err)
	}
	return was, false, nil
}

// Key claims an idempotency key for id. It returns the id that the key belongs to, and the fingerprint of the first request
// with the key. Keys are kept for life.
func (j *acceptor) Key(ctx context.Context, scope, key string, id job.ID, fingerprint string, life time.Duration) (job.ID, string, error) {
	if err := j.await(ctx); err != nil {
		return "", "", err
	}
	held, err := j.store.ClaimKey(ctx, scope, key, records.KeyClaim{ID: id, Fingerprint: fingerprint}, life)
	if errors.Is(err, records.ErrUnreadable) {
		return "", "", fault.Wrap(fault.Internal, err, "internal error")
	}
	if err != nil {
		return "", "", j.unstored(err)
	}
	return held.ID, held.Fingerprint, nil
}

// withdraw gives up a job whose place in the queue was refused: its record must not stay queued. When even that fails the
// sweeper queues it, so the caller may see it run; repeating the request does no harm.
func (j *acceptor) withdraw(ctx context.Context, r *job.Record, cause error) error {
	if errors.Is(cause, records.ErrFull) {
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
func (j *acceptor) replaceWithdrawn(ctx context.Context, r *job.Record, at time.Time) error {
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

// tellPlaced announces what was queued until ctx ends.
func (j *acceptor) tellPlaced(ctx context.Context) {
	link.Every(ctx, placedEvery, func() {
		if err := j.wire.TellPlaced(j.placements.Take()); err != nil {
			j.log.Debug("an announcement of queued jobs failed; the sweeper checks them by reading", "error", err)
		}
	})
}

// Accepted counts the jobs that this Desk accepted, by route and priority.
func (j *acceptor) Accepted() map[records.Count]uint64 { return j.accepted.All() }
