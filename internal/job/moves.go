package job

import (
	"errors"
	"fmt"
	"time"

	"headrace/internal/fault"
)

const (
	// MaxAttemptsKept bounds the attempts that a record remembers.
	MaxAttemptsKept = 50
	// aloneAfter is the number of interruptions after which a job runs alone.
	aloneAfter = 2
	// poisonAfter is the number of interruptions, while it runs alone, after which a job fails.
	poisonAfter = 5
	// tombstoneLife is how long a job is remembered after its result has expired or was erased.
	tombstoneLife = 7 * 24 * time.Hour
)

// Reasons other than error codes.
const (
	ReasonPoison       = "poison"
	ReasonDeadline     = "deadline"
	ReasonQueueTimeout = "queue_timeout"
	// ReasonWithdrawn marks a tombstone that a new job may replace: its caller was refused.
	ReasonWithdrawn = "withdrawn"
)

// ErrMove reports that the job's state does not allow a move.
var ErrMove = errors.New("the job's state does not allow it")

func (r *Record) refuse(verb string) error {
	return fmt.Errorf("%s: the job is %s: %w", verb, r.State, ErrMove)
}

// Accept puts a new record into its first state. It keeps a deadline that the caller has set.
func (r *Record) Accept(now time.Time) {
	r.Run, r.CreatedAt = 1, now
	if r.Deadline.IsZero() {
		r.Deadline = now.Add(r.Total)
	}
	r.wait(now)
}

// wait makes the job wait for its time, or for a worker.
func (r *Record) wait(now time.Time) {
	if r.RunAt != nil && r.RunAt.After(now) {
		r.State = Scheduled
		return
	}
	r.Queue(now)
}

// Queue makes the job wait for a worker from now on. Its queue timeout runs from the first call on.
func (r *Record) Queue(now time.Time) {
	r.State, r.Owner, r.NextAttemptAt = Queued, "", nil
	r.QueuedAt = &now
	if r.QueueTime > 0 && r.StartedAt == nil && r.QueueExpiresAt == nil {
		until := now.Add(r.QueueTime)
		r.QueueExpiresAt = &until
	}
}

// Ripe reports whether a waiting job may start now.
func (r *Record) Ripe(now time.Time) bool {
	switch r.State {
	case Queued:
		return true
	case Scheduled:
		return r.RunAt == nil || !r.RunAt.After(now)
	case Retrying:
		return r.NextAttemptAt == nil || !r.NextAttemptAt.After(now)
	case Running, Cancelling, Succeeded, Failed, Cancelled, Expired, Erased:
	}
	return false
}

// Lapse ends a waiting job whose time is over, and reports whether it did.
func (r *Record) Lapse(now time.Time) bool {
	switch {
	case !r.State.Waiting():
		return false
	case !now.Before(r.Deadline):
		r.end(Expired, ReasonDeadline, now)
	case r.State != Scheduled && r.StartedAt == nil && r.QueueExpiresAt != nil && !now.Before(*r.QueueExpiresAt):
		r.end(Expired, ReasonQueueTimeout, now)
	default:
		return false
	}
	return true
}

// StartsAlone reports whether the next start is one of a job that runs alone. For a running job the next start is the one
// after its worker was lost.
func (r *Record) StartsAlone() bool {
	return r.Alone() || r.State == Running && r.Interruptions+1 >= aloneAfter
}

// Start gives a ripe job to a worker, or gives it a running job whose worker was lost, which counts as an interruption. A job
// that has become poison, or is too late, ends instead; then its state is terminal.
func (r *Record) Start(worker string, now time.Time) error {
	switch {
	case r.State == Running:
		r.interrupt(now)
	case r.State == Cancelling:
		r.close("interrupted", nil, now)
		r.end(Cancelled, "", now)
		return nil
	case !r.Ripe(now):
		return r.refuse("start")
	}
	switch {
	case r.AloneInterruptions >= poisonAfter:
		r.Error = &Problem{Code: ReasonPoison, Message: fmt.Sprintf("%d workers in a row were lost while they ran this job alone", r.AloneInterruptions)}
		r.end(Failed, ReasonPoison, now)
		return nil
	case r.State == Running && !now.Before(r.Deadline):
		r.Error = ProblemOf(fault.New(fault.Deadline, "the job's deadline passed while a lost worker ran it"))
		r.end(Failed, ReasonDeadline, now)
		return nil
	case r.State != Running && r.Lapse(now):
		return nil
	}
	r.State, r.Owner, r.Reason = Running, worker, ""
	r.NextAttemptAt = nil
	if r.StartedAt == nil {
		r.StartedAt = &now
	}
	r.Attempt++
	r.Starts++
	r.Attempts = append(r.Attempts, Attempt{N: r.Attempt, Run: r.Run, Worker: worker, StartedAt: now, Outcome: "running"})
	if len(r.Attempts) > MaxAttemptsKept {
		r.Attempts = r.Attempts[len(r.Attempts)-MaxAttemptsKept:]
	}
	return nil
}

// Held reports whether worker still has the job that it began with the given start.
func (r *Record) Held(worker string, start int) bool {
	return (r.State == Running || r.State == Cancelling) && r.Owner == worker && r.Starts == start
}

// Succeed ends a running job with a result. A cancel that came too late does not discard the result.
func (r *Record) Succeed(result *Body, upstream time.Duration, now time.Time) error {
	if r.State != Running && r.State != Cancelling {
		return r.refuse("succeed")
	}
	r.close("succeeded", nil, now)
	r.Result, r.Upstream, r.Error = result, upstream, nil
	r.end(Succeeded, "", now)
	return nil
}

// Fail ends the running attempt. The job is retried after a pause when that can help and its policy and its time allow it;
// otherwise it has failed. pause is the time to wait unless the model server asked for more.
func (r *Record) Fail(f *fault.Error, pause time.Duration, now time.Time) error {
	if r.State != Running && r.State != Cancelling {
		return r.refuse("fail")
	}
	problem := ProblemOf(f)
	r.close("failed", problem, now)
	r.Error = problem.withDetail(f)
	if r.State == Cancelling {
		r.end(Cancelled, "", now)
		return nil
	}
	next := now.Add(max(pause, f.RetryAfter))
	switch {
	case !now.Before(r.Deadline):
		if f.Code == fault.UpstreamTimeout { // the job's time was over, not the model server's
			r.Error = ProblemOf(fault.New(fault.Deadline, "the job's deadline passed while the model server was asked"))
		}
		r.end(Failed, ReasonDeadline, now)
	case !problem.Retryable || r.Attempt >= r.Retry.MaxAttempts || !next.Before(r.Deadline) ||
		r.Retry.MaxElapsed > 0 && next.Sub(*r.StartedAt) > r.Retry.MaxElapsed:
		r.end(Failed, problem.Code, now)
	default:
		r.State, r.Owner, r.NextAttemptAt = Retrying, "", &next
	}
	return nil
}

// Return hands a running job back because its worker stops or the broker was away. It counts neither as a failed attempt nor
// as an interruption.
func (r *Record) Return(now time.Time) error {
	switch r.State {
	case Running:
		r.close("returned", nil, now)
		r.Attempt--
		r.Queue(now)
	case Cancelling:
		r.close("cancelled", nil, now)
		r.end(Cancelled, "", now)
	case Scheduled, Queued, Retrying, Succeeded, Failed, Cancelled, Expired, Erased:
		return r.refuse("return")
	}
	return nil
}

// ReturnApart is Return for a job that shared a call which failed, perhaps because of another request. For the rest of the
// run the job shares no call.
func (r *Record) ReturnApart(now time.Time) error {
	err := r.Return(now)
	r.Apart = r.Apart || err == nil && r.State == Queued
	return err
}

// Abort ends a running job that was cancelled.
func (r *Record) Abort(now time.Time) error {
	if r.State != Cancelling {
		return r.refuse("abort")
	}
	r.close("cancelled", nil, now)
	r.end(Cancelled, "", now)
	return nil
}

// Cancel ends a waiting job, and requests the end of a running one. It does nothing to a job that has ended or is being
// cancelled already.
func (r *Record) Cancel(now time.Time) {
	switch {
	case r.State.Waiting():
		r.CancelAskedAt = &now
		r.end(Cancelled, "", now)
	case r.State == Running:
		r.CancelAskedAt = &now
		r.State = Cancelling
	}
}

// Again starts a new run of a job that failed, was cancelled or has expired.
func (r *Record) Again(now time.Time) error {
	switch r.State {
	case Failed, Cancelled, Expired:
	case Scheduled, Queued, Running, Retrying, Cancelling, Succeeded, Erased:
		return r.refuse("retry")
	}
	r.Run++
	r.Attempt, r.Interruptions, r.AloneInterruptions, r.Apart = 0, 0, 0, false
	r.Reason, r.Error, r.Result, r.Upstream = "", nil, nil, 0
	r.RunAt, r.StartedAt, r.FinishedAt, r.CancelAskedAt, r.ExpiresAt, r.QueueExpiresAt = nil, nil, nil, nil, nil, nil
	r.Deadline = now.Add(r.Total)
	r.Queue(now)
	return nil
}

// Erase makes a tombstone of a job that has ended.
func (r *Record) Erase(now time.Time) error {
	if !r.State.Terminal() {
		return r.refuse("erase")
	}
	*r = Record{
		ID: r.ID, Run: r.Run, Route: r.Route, Provider: r.Provider, Type: r.Type, Priority: r.Priority, State: Erased,
		CreatedAt: r.CreatedAt, FinishedAt: r.FinishedAt, ExpiresAt: &now, Fingerprint: r.Fingerprint,
		Durability: r.Durability, Revision: r.Revision,
	}
	return nil
}

// Withdraw makes a tombstone of a waiting job that could not be accepted after all.
func (r *Record) Withdraw(now time.Time) error {
	r.Cancel(now)
	if err := r.Erase(now); err != nil {
		return err
	}
	r.Reason = ReasonWithdrawn
	return nil
}

// Withdrawn reports whether the job was withdrawn: no caller was told that it had been accepted.
func (r *Record) Withdrawn() bool { return r.State == Erased && r.Reason == ReasonWithdrawn }

func (r *Record) end(state State, reason string, now time.Time) {
	r.State, r.Reason, r.Owner, r.NextAttemptAt = state, reason, "", nil
	r.FinishedAt = &now
	until := now.Add(r.ResultTTL)
	r.ExpiresAt = &until
	if state != Succeeded {
		return
	}
	if r.Store == StoreInputs || r.Store == StoreNone {
		r.Result = nil
	}
	if r.Store == StoreOutputs || r.Store == StoreNone {
		r.Input = nil
	}
}

// Gone reports whether the job's input and result no longer exist.
func (r *Record) Gone(now time.Time) bool {
	return r.State == Erased || r.State.Terminal() && r.ExpiresAt != nil && !now.Before(*r.ExpiresAt)
}

// Life returns how long the record must be kept from now; 0 means until it changes.
func (r *Record) Life(now time.Time) time.Duration {
	if !r.State.Terminal() || r.ExpiresAt == nil {
		return 0
	}
	return max(r.ExpiresAt.Sub(now), 0) + tombstoneLife
}
