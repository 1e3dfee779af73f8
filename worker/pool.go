package worker

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// pool is the slots of one model server.
type pool struct {
	worker *Worker
	shown  string        // the addresses of the model server, without what may be secret
	slots  chan struct{} // one token for each slot that is taken
	recent recent
	calls  sync.WaitGroup
	busy   atomic.Int64 // slots with a lease, a call, or the pause after one

	mu      sync.Mutex
	spec    spec
	targets map[string]*target
	changed context.CancelFunc // makes run open a new intake
	closed  bool
}

func newPool(w *Worker, s spec, targets map[string]*target) *pool {
	return &pool{worker: w, shown: s.shown, slots: make(chan struct{}, s.slots), spec: s, targets: targets, changed: func() {}}
}

// update gives the pool other routes.
func (p *pool) update(s spec, targets map[string]*target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec, p.targets = s, targets
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

// serve leases from one intake until ctx ends, and looks after the model servers meanwhile.
func (p *pool) serve(ctx context.Context, routes []*inference.Route, targets map[string]*target) {
	var watching sync.WaitGroup
	defer watching.Wait()
	seen := make(map[Upstream]bool, len(targets))
	for _, t := range targets {
		if !seen[t.upstream] {
			seen[t.upstream] = true
			watching.Go(func() {
				if err := t.upstream.Run(ctx); err != nil {
					p.worker.deps.Logger.Error("watching a model server", "route", t.route.Name, "error", err)
				}
			})
		}
	}
	in := p.worker.deps.Queue.Intake(routes)
	defer in.Close()
	for {
		select {
		case p.slots <- struct{}{}: // one slot is free, and ours
		case <-ctx.Done():
			return
		}
		free := cap(p.slots) - len(p.slots) + 1
		leased, err := in.Lease(ctx, free)
		<-p.slots // each delivery takes its own
		if err != nil {
			return
		}
		for _, d := range leased {
			p.slots <- struct{}{}                                    // only this goroutine takes slots, so these are free
			p.calls.Go(func() { p.serveOne(d, targets[d.Route()]) }) //nolint:contextcheck // a claim outlives the intake
		}
	}
}

// serveOne runs one leased request in a slot that it frees at the end.
func (p *pool) serveOne(d Delivery, t *target) {
	hold := time.Duration(0)
	p.busy.Add(1)
	defer func() {
		if hold > 0 {
			pause(p.worker.intake, hold)
		}
		p.busy.Add(-1)
		<-p.slots
	}()
	if t == nil { // a route of a newer configuration
		d.Return()
		return
	}
	ctx, claim, err := d.Claim(p.worker.work)
	if errors.Is(err, ErrNotClaimed) {
		return
	}
	if err != nil {
		p.log(t, "", "claim", err)
		return
	}
	began := time.Now()
	result, err := p.attempt(ctx, t, claim.Request())
	p.worker.deps.Attempted(t.route.Name, fault.CodeOf(err))
	took := time.Since(began)
	if err == nil {
		p.recent.add(took)
		result.Upstream = took
		if err := claim.Answer(ctx, result); err != nil {
			p.log(t, claim.Request().ID, "answer", err)
		}
		return
	}
	hold = p.recent.stillComputing(ctx, err, took)
	p.settle(ctx, t, claim, err)
}

// settle ends a failed claim.
func (p *pool) settle(ctx context.Context, t *target, claim Claim, err error) {
	id := claim.Request().ID
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.DeadlineExceeded) {
		f, stopped := errors.AsType[*fault.Error](cause)
		if !stopped {
			claim.Drop() // the caller has gone
			return
		}
		err = f
	}
	f := fault.From(err)
	p.log(t, id, "attempt", claim.Fail(ctx, f))
}

// attempt makes one call to the model server.
func (p *pool) attempt(ctx context.Context, t *target, req *inference.Request) (*inference.Result, error) {
	call, err := t.provider.Encode(t.route, req)
	if err != nil {
		return nil, err
	}
	call.Once = req.Once
	ctx, cancel := context.WithTimeout(ctx, t.route.Timeout)
	defer cancel()
	reply, release, err := t.upstream.Do(ctx, call, t.route.MaxReply)
	if err != nil {
		return nil, err
	}
	result, err := t.provider.Decode(t.route, req, reply)
	if err != nil {
		release()
		return nil, err
	}
	result.OnRelease(release)
	return result, nil
}

// log writes one line for one failure, with what a person needs to act on it. step is what failed: the claim,
// the attempt, or the answer, whose caller then gets 503.
func (p *pool) log(t *target, id, step string, err error) {
	if err == nil {
		return
	}
	log := p.worker.deps.Logger.With("route", t.route.Name, "server", p.shown, "request_id", id, "step", step, "error", err)
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
		fault.Conflict, fault.KeyReused, fault.Gone, fault.JobFailed:
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
