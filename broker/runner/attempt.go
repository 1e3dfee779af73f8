package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// finishPatience is how long a worker tries to store the end of an attempt.
const finishPatience = 20 * time.Second

// attempt is a job that runs here, from its claim to its end. Exactly one of Answer, Fail, Drop and RunAlone ends it.
type attempt struct {
	runner   *Runner
	delivery *delivery
	request  *inference.Request

	id     job.ID
	start  int         // number of the start
	epoch  int         // of the connection; numbers of an earlier one may have been given again
	record *job.Record // as it was claimed; used up by the attempt's end
	input  *job.Body
	life   time.Duration // of a result

	cancel      context.CancelCauseFunc
	stopTimer   context.CancelFunc
	releaseBody func()
	finished    chan struct{}
	once        sync.Once
}

// Request is the job's input as a request; its bytes are valid until the attempt has ended.
func (a *attempt) Request() *inference.Request { return a.request }

// finish gives back what only the running attempt needs, and its places.
func (a *attempt) finish() {
	a.once.Do(func() {
		a.runner.left(a)
		close(a.finished)
		a.runner.leave(a.delivery)
		a.cancel(nil)
		if a.stopTimer != nil {
			a.stopTimer()
		}
		if a.releaseBody != nil {
			a.releaseBody()
		}
	})
}

// end writes the end of the attempt, as long as the job is still ours, and settles the message by what came
// of it. It tries for a while: a result is worth waiting for.
func (a *attempt) end(ctx context.Context, move func(*job.Record, time.Time) error) (*job.Record, error) {
	defer a.finish()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience)
	defer cancel()
	for {
		if a.epoch != a.runner.line.Epoch() {
			a.record = nil
		}
		held, was, again := true, a.record, a.record == nil
		a.record = nil
		r, err := a.runner.store.ChangeFrom(ctx, a.id, was, func(r *job.Record, now time.Time) (bool, error) {
			if held = r.Held(a.runner.line.ID, a.start); !held {
				return true, nil
			}
			return false, move(r, now)
		})
		switch {
		case err == nil && held:
			a.runner.countEnd(r)
			a.settle(r)
			return r, nil
		case err == nil && again && r.Closed(a.runner.line.ID, a.start): // the write that failed was made
			a.runner.countEnd(r)
			a.settle(r)
			return r, nil
		case err == nil, errors.Is(err, records.ErrNoJob), errors.Is(err, job.ErrMove):
			return nil, nil //nolint:nilnil // another worker has the job, or has ended it, and its end stands
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(storeAgain):
		}
	}
}

// settle ends the lease; a job that returns to the queue does so at once.
func (a *attempt) settle(r *job.Record) {
	if r.State == job.Queued {
		a.delivery.message.GiveBackIn(kept)
		return
	}
	a.delivery.message.Ack()
}

// Answer stores the result: its bytes first when they are many, then the record.
func (a *attempt) Answer(ctx context.Context, result *inference.Result) error {
	defer result.Release()
	store := a.runner.store
	var w link.Writer
	link.WriteResult(&w, result)
	segments, size := w.Finish()
	data := link.Joined(make([]byte, 0, size), segments)
	series := strconv.Itoa(a.start) + "-" + rand.Text()[:10]
	body, err := a.putResult(ctx, series, data)
	if err != nil {
		return a.notStored(ctx, series, err)
	}
	r, err := a.end(ctx, func(r *job.Record, now time.Time) error {
		return r.Succeed(body, result.Upstream, now)
	})
	if err != nil {
		return err
	}
	if body.Parts > 0 && (r == nil || r.Result == nil || r.Result.Series != series) { // no record refers to it
		return store.Erase(context.WithoutCancel(ctx), a.id, records.OutputPrefix(a.id)+series+".")
	}
	if r != nil && r.Input == nil && a.input != nil && a.input.Parts > 0 {
		if err := store.Settle(context.WithoutCancel(ctx), r); err != nil { // until then it may have to run again
			return err
		}
		return store.Erase(context.WithoutCancel(ctx), a.id, records.InputPrefix(a.id))
	}
	return nil
}

// Fail stores why the attempt failed. A worker that stops hands the job back instead.
func (a *attempt) Fail(ctx context.Context, f *fault.Error) error {
	_, err := a.end(ctx, func(r *job.Record, now time.Time) error {
		if f.Code == fault.ShuttingDown && f.Status == 0 {
			return r.Return(now)
		}
		return r.Fail(f, job.Pause(r.Attempt), now)
	})
	return errors.Join(f, err)
}

// goBack gives the job back, or ends it when it was cancelled. It returns nil when another worker has it, or has ended it.
func (a *attempt) goBack(ctx context.Context) (*job.Record, error) {
	return a.end(ctx, func(r *job.Record, now time.Time) error {
		if r.State == job.Cancelling {
			return r.Abort(now)
		}
		return r.Return(now)
	})
}

// RunAlone gives a job back that shared a call which ended badly: it runs again in a call of its own.
func (a *attempt) RunAlone(ctx context.Context) error {
	_, err := a.end(ctx, func(r *job.Record, now time.Time) error { return r.ReturnApart(now) })
	return err
}

// Drop ends an attempt that was aborted: the job was cancelled, or the lease was lost and another worker has it.
func (a *attempt) Drop() { a.giveBack(context.Background()) }

// giveBack is goBack for a caller that needs no result; it logs an error.
func (a *attempt) giveBack(ctx context.Context) {
	if _, err := a.goBack(ctx); err != nil {
		a.runner.log.Warn("a job could not be given back; its lease ends by itself", "job", a.id, "error", err)
	}
}
