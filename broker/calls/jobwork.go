package calls

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

const (
	// jobHeartbeat is how often a running job's lease is renewed and its record looked at.
	jobHeartbeat = 10 * time.Second
	// heartbeatsMissed in a row end the attempt: another worker has the job by then.
	heartbeatsMissed = 3
	// finishPatience is how long a worker tries to store the end of an attempt.
	finishPatience = 20 * time.Second
)

// leaseTimes are those of a job's lease.
type leaseTimes struct{ ack, beat time.Duration }

// errLeaseLost ends an attempt whose lease could not be renewed; its end is not stored.
var errLeaseLost = errors.New("the job's lease was lost")

// jobRun is a running job of a claim.
type jobRun struct {
	id       job.ID
	start    int // number of the start
	epoch    int // of the connection; numbers of an earlier one may have been given again
	msg      *nats.Msg
	record   *job.Record // as it was claimed; used up by the attempt's end
	input    *job.Body
	life     time.Duration // of a result
	done     func()        // gives the places back that a job has here
	finished chan struct{}
}

// claimJob writes into the record that this worker runs the job. The write's condition is the claim: of several
// workers that hold a copy of the message, one is first.
func (d *Delivery) claimJob(ctx context.Context) (context.Context, *Claim, error) {
	w := d.worker
	if !w.solo.enter() {
		d.settle(nakLater)
		d.leave()
		return nil, nil, ErrReturned
	}
	w.beginStart(d.job)
	defer w.endStart(d.job)
	epoch := w.currentEpoch()
	r, err := d.startJob(ctx)
	if errors.Is(err, errAlone) {
		if d.alone = w.solo.alone(ctx, w.lease.beat, d.extend); !d.alone {
			w.leaveJob(d)
			d.settle(nakLong)
			return nil, nil, ErrReturned
		}
		r, err = d.startJob(ctx)
	}
	if err != nil || r.State != job.Running {
		w.leaveJob(d)
		return nil, nil, d.notStarted(err)
	}
	c := &Claim{worker: w, Request: &inference.Request{ID: string(r.ID), Route: r.Route, Type: r.Type, Once: true, Alone: r.Unshared()}}
	c.job = &jobRun{
		id: r.ID, start: r.Starts, epoch: epoch, record: r, input: r.Input, life: r.ResultTTL + records.BodyMargin, msg: d.msg,
		done: func() { w.leaveJob(d) }, finished: make(chan struct{}),
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	until := r.Deadline
	if r.Timeout > 0 && time.Now().Add(r.Timeout).Before(until) {
		until = time.Now().Add(r.Timeout)
	}
	w.enterJob(c)
	go w.beat(ctx, c)
	ctx, c.stopTimer = context.WithDeadline(ctx, until)
	if err := w.openJob(ctx, r, c); err != nil {
		return nil, nil, c.notOpened(ctx, err)
	}
	return ctx, c, nil
}

// startJob writes the start. errAlone: nothing else may run beside it, and it is not known yet that nothing does;
// errHeld: the worker that began with it still runs it.
func (d *Delivery) startJob(ctx context.Context) (*job.Record, error) {
	w := d.worker
	lost := false
	first := w.shared.Recent.Latest(d.job)
	if first != nil && first.State != job.Queued { // nothing but a start that is written may rest on what is remembered
		first = nil
	}
	r, err := w.jobs.ChangeFrom(ctx, d.job, first, func(r *job.Record, now time.Time) (bool, error) {
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
		return false, r.Start(w.id, now)
	})
	if err == nil && lost {
		w.interruptions.Add(r.Route, "")
	}
	return r, err
}

// notStarted settles the message of a job that this worker does not run.
func (d *Delivery) notStarted(err error) error {
	switch {
	case errors.Is(err, errHeld):
		return ErrGone // the worker that runs it keeps this lease alive as well
	case errors.Is(err, records.ErrNoJob) && d.early():
		d.settle(nakLong) // a server that has just taken over may not have all records yet
		return ErrReturned
	case err == nil, errors.Is(err, records.ErrNoJob), errors.Is(err, job.ErrMove):
		d.settle(ack) // it has ended, or the sweeper queues it again when its time comes
		return ErrGone
	}
	if errors.Is(err, records.ErrUnreadable) {
		d.worker.log.Error("the record of a job cannot be read; its message is delivered again in a minute", "job", d.job, "error", err)
		d.settle(nakMinute)
		return ErrReturned
	}
	d.worker.log.Warn("a job could not be claimed", "job", d.job, "error", err)
	d.settle(nakLater)
	return ErrReturned
}

// early reports whether the message was leased for the first time.
func (d *Delivery) early() bool {
	meta, err := d.msg.Metadata()
	return err == nil && meta.NumDelivered == 1
}

// openJob reads the job's input. An error that is not a *fault.Error comes from the store.
func (w *WorkerEnd) openJob(ctx context.Context, r *job.Record, c *Claim) error {
	if r.Input == nil {
		return fault.New(fault.Gone, "the job's input is not stored any more")
	}
	size := r.Input.Bytes
	if err := w.bodies.Reserve(ctx, size); err != nil {
		return fault.Wrap(fault.QueueFull, err, "no room for the job's input in worker.max_inflight_bytes")
	}
	c.releaseBody = func() { w.bodies.Release(size) }
	data, err := w.readInput(ctx, r)
	switch {
	case errors.Is(err, records.ErrNoBody):
		return fault.Wrap(fault.Gone, err, "the job's input is not stored any more")
	case errors.Is(err, records.ErrDamaged):
		w.log.Error("the input of a job is damaged", "job", r.ID, "error", err)
		return fault.Wrap(fault.Gone, err, "the job's stored input is damaged")
	case err != nil:
		return err
	}
	in := link.Reader{Rest: data}
	in.Bytes() // what the caller sent
	if err := link.ReadRequest(in.Rest, c.Request); in.Err != nil || err != nil {
		return fault.Wrap(fault.Internal, errors.Join(in.Err, err), "internal error")
	}
	return nil
}

func (w *WorkerEnd) enterJob(c *Claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runningJobs[c.job.id] = c
}

// receiveCancel aborts a job that runs here.
func (w *WorkerEnd) receiveCancel(msg *nats.Msg) {
	w.mu.Lock()
	c := w.runningJobs[job.ID(msg.Data)]
	w.mu.Unlock()
	if c != nil {
		c.cancel(ErrGone)
	}
}

// beat renews the lease until the claim has ended, and notices when the job was cancelled or taken over.
func (w *WorkerEnd) beat(ctx context.Context, c *Claim) {
	tick := time.NewTicker(w.lease.beat)
	defer tick.Stop()
	missed := 0
	for {
		select {
		case <-c.job.finished:
			return
		case <-ctx.Done():
			return // its end is being stored; that takes less time than the lease
		case <-tick.C:
		}
		err := c.job.msg.Respond([]byte("+WPI"))
		var r *job.Record
		if err == nil {
			r, err = w.jobs.Get(ctx, c.job.id)
		}
		switch {
		case err != nil:
			if missed++; missed >= heartbeatsMissed {
				w.log.Warn("a job's lease is lost: the broker was away for too long", "job", c.job.id, "error", err)
				w.leasesLost.Add(c.Request.Route, "")
				c.cancel(errLeaseLost)
			}
		case !r.Held(w.id, c.job.start):
			w.log.Warn("a job's lease is lost: another worker has it", "job", c.job.id)
			w.leasesLost.Add(c.Request.Route, "")
			c.cancel(errLeaseLost)
		case r.State == job.Cancelling:
			c.cancel(ErrGone)
		default:
			missed = 0
		}
	}
}

// finishJob writes the end of the attempt, as long as the job is still ours, and settles the message by what came
// of it. It tries for a while: a result is worth waiting for.
func (c *Claim) finishJob(ctx context.Context, move func(*job.Record, time.Time) error) (*job.Record, error) {
	defer c.finish()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience)
	defer cancel()
	for {
		if c.job.epoch != c.worker.currentEpoch() {
			c.job.record = nil
		}
		held, was, again := true, c.job.record, c.job.record == nil
		c.job.record = nil
		r, err := c.worker.jobs.ChangeFrom(ctx, c.job.id, was, func(r *job.Record, now time.Time) (bool, error) {
			if held = r.Held(c.worker.id, c.job.start); !held {
				return true, nil
			}
			return false, move(r, now)
		})
		switch {
		case err == nil && held:
			c.worker.countEnd(r)
			c.settleJob(r)
			return r, nil
		case err == nil && again && r.Closed(c.worker.id, c.job.start): // the write that failed was made
			c.worker.countEnd(r)
			c.settleJob(r)
			return r, nil
		case err == nil, errors.Is(err, records.ErrNoJob), errors.Is(err, job.ErrMove):
			return nil, nil //nolint:nilnil // another worker has the job, or has ended it, and its end stands
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// settleJob ends the lease; a job that returns to the queue does so at once.
func (c *Claim) settleJob(r *job.Record) {
	verdict := ack
	if r.State == job.Queued {
		verdict = nakKept
	}
	if err := c.job.msg.Respond([]byte(verdict)); err != nil {
		c.worker.log.Debug("settling a job's lease", "job", r.ID, "error", err)
	}
}

// answerJob stores the result: its bytes first when they are many, then the record.
func (c *Claim) answerJob(ctx context.Context, result *inference.Result) error {
	defer result.Release()
	jobs := c.worker.jobs
	var w link.Writer
	link.WriteResult(&w, result)
	segments, size := w.Finish()
	data := link.Joined(make([]byte, 0, size), segments)
	series := strconv.Itoa(c.job.start) + "-" + rand.Text()[:10]
	body, err := c.putResult(ctx, series, data)
	if err != nil {
		return c.notStored(ctx, series, err)
	}
	r, err := c.finishJob(ctx, func(r *job.Record, now time.Time) error {
		return r.Succeed(body, result.Upstream, now)
	})
	if err != nil {
		return err
	}
	if body.Parts > 0 && (r == nil || r.Result == nil || r.Result.Series != series) { // no record refers to it
		return jobs.Erase(context.WithoutCancel(ctx), c.job.id, records.OutputPrefix(c.job.id)+series+".")
	}
	if r != nil && r.Input == nil && c.job.input != nil && c.job.input.Parts > 0 {
		if err := jobs.Settle(context.WithoutCancel(ctx), r); err != nil { // until then it may have to run again
			return err
		}
		return jobs.Erase(context.WithoutCancel(ctx), c.job.id, records.InputPrefix(c.job.id))
	}
	return nil
}

// failJob stores why the attempt failed. A worker that stops hands the job back instead.
func (c *Claim) failJob(ctx context.Context, f *fault.Error) error {
	_, err := c.finishJob(ctx, func(r *job.Record, now time.Time) error {
		if f.Code == fault.ShuttingDown && f.Status == 0 {
			return r.Return(now)
		}
		return r.Fail(f, job.Pause(r.Attempt), now)
	})
	return errors.Join(f, err)
}

// returnJob gives the job back, or ends it when it was cancelled. It returns nil when another worker has it, or has ended it.
func (c *Claim) returnJob(ctx context.Context) (*job.Record, error) {
	return c.finishJob(ctx, func(r *job.Record, now time.Time) error {
		if r.State == job.Cancelling {
			return r.Abort(now)
		}
		return r.Return(now)
	})
}

// RunAlone gives a job back that shared a call which ended badly: it runs again in a call of its own. It is for jobs only.
func (c *Claim) RunAlone(ctx context.Context) error {
	_, err := c.finishJob(ctx, func(r *job.Record, now time.Time) error { return r.ReturnApart(now) })
	return err
}

// dropJob ends an attempt that was aborted: the job was cancelled, or the lease was lost and another worker has it.
func (c *Claim) dropJob() { c.giveBack(context.Background()) }

// giveBack is returnJob for a caller that needs no result; it logs an error.
func (c *Claim) giveBack(ctx context.Context) {
	if _, err := c.returnJob(ctx); err != nil {
		c.worker.log.Warn("a job could not be given back; its lease ends by itself", "job", c.job.id, "error", err)
	}
}
