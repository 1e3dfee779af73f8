package worker

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/worker/learned"
	"headrace/worker/target"
)

// pool is what serves one model server: it leases and claims what its desk has room for, and runs what the desk says.
type pool struct {
	worker *Worker
	shown  string // the addresses of the model server, without what may be secret
	desk   *desk
	recent recent
	calls  sync.WaitGroup // claims and calls

	telling sync.Mutex
	intake  Intake // that is told how much room there is; nil: none

	mu      sync.Mutex
	spec    spec
	targets map[string]*target.Target
	changed context.CancelFunc // makes run open a new intake
	closed  bool
}

func newPool(w *Worker, s spec, stored learned.Stored, targets map[string]*target.Target) *pool {
	p := &pool{worker: w, shown: s.shown, spec: s, targets: targets, changed: func() {}}
	p.desk = newDesk(s, stored, w.deps.Random, func(d time.Duration) { time.AfterFunc(d, p.pump) })
	p.desk.listed = p.listOf
	return p
}

// update gives the pool other routes.
func (p *pool) update(s spec, targets map[string]*target.Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec, p.targets = s, targets
	p.desk.serve(s, learned.Stored{})
	p.changed()
}

// close ends the pool's intake; run returns when its claims have ended.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed()
}

// run leases and runs until ctx ends or the pool is closed, and returns when all claims have ended.
func (p *pool) run(ctx context.Context) {
	defer p.calls.Wait()
	for ctx.Err() == nil {
		current, cancel := context.WithCancel(ctx)
		p.mu.Lock()
		routes, targets, closed := p.spec.routes, p.targets, p.closed
		p.changed = cancel
		p.mu.Unlock()
		if !closed {
			p.serve(current, routes, targets)
		}
		cancel()
		if closed {
			return
		}
	}
}

// serve leases from one intake and probes the model servers until ctx ends.
func (p *pool) serve(ctx context.Context, routes []*inference.Route, targets map[string]*target.Target) {
	var watching sync.WaitGroup
	defer watching.Wait()
	seen := make(map[Upstream]bool, len(targets))
	for _, t := range targets {
		if !seen[t.Upstream] {
			seen[t.Upstream] = true
			watching.Go(func() {
				if err := t.Upstream.Run(ctx); err != nil {
					p.worker.deps.Logger.Error("watching a model server", "route", t.Route.Name, "error", err)
				}
			})
		}
	}
	in := p.worker.deps.Queue.Intake(routes)
	defer in.Close()
	p.tell(in)
	defer p.tell(nil)
	for {
		n := p.desk.await(ctx)
		if n == 0 {
			return
		}
		leased, err := in.Lease(ctx, n)
		if err != nil {
			return
		}
		now := time.Now()
		p.desk.expect(len(leased))
		p.tell(in)
		for _, d := range leased {
			p.calls.Go(func() { p.claim(d, targets[d.Route()], now) }) //nolint:contextcheck // a claim outlives the intake
		}
	}
}

// claim takes one leased request to the desk, and runs what the desk then says.
func (p *pool) claim(d lease.Delivery, t *target.Target, leased time.Time) {
	p.desk.claimed(p.claimed(d, t, leased))
	p.pump()
}

// claimed is the request that was leased; nil when it is not ours to run.
func (p *pool) claimed(d lease.Delivery, t *target.Target, leased time.Time) *request {
	if t == nil { // a route of a newer configuration
		d.Return()
		return nil
	}
	ctx, claim, err := d.Claim(p.worker.work)
	if err != nil {
		if !errors.Is(err, lease.ErrNotClaimed) {
			p.log(t, "", "claim", err)
		}
		return nil
	}
	r := newRequest(ctx, t, claim, leased)
	p.calls.Add(1) // until it has ended
	r.watch = context.AfterFunc(ctx, func() { p.left(r) })
	return r
}

// pump sends what is to go out now.
func (p *pool) pump() {
	for l := p.desk.next(); l != nil; l = p.desk.next() {
		p.calls.Go(func() { p.send(l) })
	}
	for _, r := range p.desk.dropped() {
		p.calls.Go(func() {
			p.fail(r, fault.New(fault.Deadline, "the model server cannot answer the call in the time that is left, so it did not run; "+
				"try again later, or allow it more time"))
		})
	}
	p.telling.Lock()
	defer p.telling.Unlock()
	if p.intake != nil {
		p.intake.Jobs(p.desk.jobRoom())
	}
}

// tell sets the intake that is told how much room there is; nil: none.
func (p *pool) tell(in Intake) {
	p.telling.Lock()
	defer p.telling.Unlock()
	if p.intake = in; in != nil {
		in.Jobs(p.desk.jobRoom())
	}
}

// log writes one line for one failure, with what a person needs to act on it. step is what failed: the claim,
// the attempt, or the answer, whose caller then gets 503.
func (p *pool) log(t *target.Target, id, step string, err error) {
	if err == nil {
		return
	}
	log := p.worker.deps.Logger.With("route", t.Route.Name, "server", p.shown, "request_id", id, "step", step, "error", err)
	f := fault.From(err)
	switch f.Code {
	case fault.Internal:
		log.Error("a call failed")
	case fault.UpstreamError:
		// MLflow's model servers answer 400 to what their model cannot take.
		if f.Status < http.StatusInternalServerError {
			log.Info("a call was refused")
			return
		}
		log.Warn("a call failed")
	case fault.UpstreamUnavailable, fault.UpstreamTimeout, fault.UpstreamBadResponse, fault.ShuttingDown:
		log.Warn("a call failed")
	case fault.Invalid, fault.NotFound, fault.MethodNotAllowed, fault.TooLarge, fault.RateLimited, fault.QueueFull,
		fault.NoWorkers, fault.Deadline, fault.NotImplemented,
		fault.Conflict, fault.KeyReused, fault.Gone, fault.JobFailed, fault.Unauthorized:
		log.Debug("a call failed")
	}
}

// pause waits d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
