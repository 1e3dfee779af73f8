package runner

import (
	"context"
	"errors"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
	"headrace/internal/lease"
)

const (
	// heartbeatsMissed in a row end the attempt: another worker has the job by then.
	heartbeatsMissed = 3
	// heartbeat is how often a running job's lease is renewed and its record looked at.
	heartbeat = records.AckWait / heartbeatsMissed
)

// errLeaseLost ends an attempt whose lease could not be renewed; its end is not stored.
var errLeaseLost = errors.New("the job's lease was lost")

// keep renews the lease until the claim has ended, and notices when the job was cancelled or taken over.
func (r *Runner) keep(ctx context.Context, a *attempt) {
	tick := time.NewTicker(r.beat)
	defer tick.Stop()
	missed := 0
	for {
		select {
		case <-a.finished:
			return
		case <-r.over:
			a.cancel(errLeaseLost) // the connection is about to be closed
			return
		case <-ctx.Done():
			return // its end is being stored; that takes less time than the lease
		case <-tick.C:
		}
		err := a.delivery.message.Extend()
		var rec *job.Record
		if err == nil {
			rec, err = r.store.Get(ctx, a.id)
		}
		switch {
		case err != nil:
			if missed++; missed >= heartbeatsMissed {
				r.log.Warn("a job's lease is lost: the broker was away for too long", "job", a.id, "error", err)
				r.leasesLost.Add(a.request.Route, "")
				a.cancel(errLeaseLost)
			}
		case !rec.Held(r.line.ID, a.start):
			r.log.Warn("a job's lease is lost: another worker has it", "job", a.id)
			r.leasesLost.Add(a.request.Route, "")
			a.cancel(errLeaseLost)
		case rec.State == job.Cancelling:
			a.cancel(lease.ErrGone)
		default:
			missed = 0
		}
	}
}
