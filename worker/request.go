package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/internal/provider"
	"headrace/worker/batch"
	"headrace/worker/learned"
	"headrace/worker/target"
)

// request is one that was claimed. It waits in a desk, runs in a call, and is ended once.
type request struct {
	target *target.Target
	ctx    context.Context //nolint:containedctx // of the claim; it ends when the caller leaves or its time is over
	claim  lease.Claim
	rows   provider.Rows
	list   *list      // that it is a part of; nil
	merges bool       // its rows can share a call
	alone  bool       // and must not: it, or what was in a call with it, has ended badly
	item   batch.Item // without Solo, which is decided when a batch is formed
	sent   atomic.Bool
	ended  atomic.Bool
	watch  func() bool // stops watching for the caller
}

const (
	// bulk is from how many rows on a request counts as one of another caller: who asks much at a time and little beside it
	// gets equal shares for both. It also tells those apart who come from one address.
	bulk     = 16
	bulkMark = "+"
)

// newRequest takes a claimed request apart as far as it may share a call.
func newRequest(ctx context.Context, t *target.Target, c lease.Claim, leased time.Time) *request {
	req := c.Request()
	r := &request{target: t, ctx: ctx, claim: c, alone: req.Alone, watch: func() bool { return true }}
	r.item = batch.Item{Key: batch.Key{Route: t.Route.Name}, Rows: 1, Length: int(req.Size()), Bytes: req.Size(), Arrival: leased, Caller: req.Caller}
	if req.Once {
		r.item.Kind = batch.Job
	}
	r.item.Deadline, _ = ctx.Deadline()
	if t.Merger == nil || !t.Route.Batch.Shares() || t.Native() {
		return r
	}
	if r.rows, r.merges = t.Merger.Rows(t.Route, req); r.merges {
		r.item.Key.Rows, r.item.Rows, r.item.Length = r.rows.Key, len(r.rows.Values), 0
		for _, row := range r.rows.Values {
			r.item.Length = max(r.item.Length, len(row))
		}
		if r.item.Rows >= bulk {
			r.item.Caller += bulkMark
		}
	}
	return r
}

// take makes the one who calls it first the only one who ends the request.
func (r *request) take() bool { return r.ended.CompareAndSwap(false, true) }

// over says that the request has ended, or is about to.
func (r *request) over() bool { return r.ended.Load() || r.ctx.Err() != nil }

// late is the error of a request whose time is over.
func (r *request) late() *fault.Error {
	if r.sent.Load() {
		return fault.New(fault.UpstreamTimeout,
			"the model server did not answer in time; send less at a time, or raise the route's timeout")
	}
	return fault.New(fault.Deadline, "the time for the call was over before a slot was free")
}

// probes says that a request may be part of a probe. A job may not: each of its runs is recorded.
func (r *request) probes() bool {
	return r.merges && !r.alone && r.list == nil && r.item.Kind == batch.Call && !r.over()
}

// long says that a request is to be asked in parts. A job is not: its time runs, and callers would go before its parts.
func (r *request) long(route *learned.Route, now time.Time) bool {
	return r.merges && !r.alone && r.list == nil && r.item.Kind == batch.Call && route.Proof.May() &&
		route.Learner.Long(r.item.Rows, r.item.Length, now)
}

// itemFor is what the batch package sees of a request.
func (r *request) itemFor(route *learned.Route) batch.Item {
	it := r.item
	it.Solo = !r.merges || r.alone || !route.Proof.May()
	return it
}

// left ends a request whose context has ended: its caller has gone, its time is over, or the worker stops.
func (p *pool) left(r *request) {
	if !r.take() {
		return
	}
	defer p.calls.Done()
	defer p.desk.forget(r)
	cause := context.Cause(r.ctx)
	f, told := errors.AsType[*fault.Error](cause) // the worker stops
	if errors.Is(cause, context.DeadlineExceeded) {
		// A job that has not run is given back like one whose worker stops: it has lost nothing.
		f, told = r.late(), r.sent.Load() || r.item.Kind == batch.Call
	}
	if !told {
		r.claim.Drop()
		return
	}
	p.log(r.target, r.claim.Request().ID, "attempt", r.claim.Fail(r.ctx, f))
}

// fail ends a request with an error.
func (p *pool) fail(r *request, err error) {
	if r.ctx.Err() != nil {
		p.left(r)
		return
	}
	if r.take() {
		r.watch()
		defer p.calls.Done()
		p.log(r.target, r.claim.Request().ID, "attempt", r.claim.Fail(r.ctx, fault.From(err)))
	}
}

// answer ends a request with the result of a load.
func (p *pool) answer(r *request, result *inference.Result, l *load) {
	if r.item.Kind == batch.Call {
		result.Gather, result.Batch = l.gathered, len(l.requests)
	}
	p.hand(r, result)
}

// hand ends a request with a result.
func (p *pool) hand(r *request, result *inference.Result) {
	if !r.take() {
		result.Release()
		return
	}
	r.watch()
	defer p.calls.Done()
	if err := r.claim.Answer(r.ctx, result); err != nil {
		p.log(r.target, r.claim.Request().ID, "answer", err)
	}
}

// giveBack ends jobs, which go back to the queue to run alone: each of their runs is recorded.
func (p *pool) giveBack(r *request) {
	if r.ctx.Err() != nil {
		p.left(r)
		return
	}
	if r.take() {
		r.watch()
		defer p.calls.Done()
		if err := r.claim.RunAlone(r.ctx); err != nil {
			p.log(r.target, r.claim.Request().ID, "return", err)
		}
	}
}
