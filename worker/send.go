package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/worker/target"
)

// send runs a load in a slot, gives the slot back, and then answers: so the next call finds it free.
func (p *pool) send(l *load) {
	switch {
	case l.probe:
		prover{p}.probe(l)
	case len(l.requests) == 1 && l.requests[0].list == nil:
		p.sendOne(l)
	default:
		p.sendAll(l)
	}
}

// sendOne runs a request that has a call to itself.
func (p *pool) sendOne(l *load) {
	r := l.requests[0]
	if !r.watch() { // it has ended; from here on the call's own error speaks
		p.desk.free()
		p.pump()
		return
	}
	began := time.Now()
	if claim, ok := r.streaming(); ok {
		streamer{p}.send(l, claim, began)
		return
	}
	result, err := p.attempt(r)
	finished(p, l, result, err, began)
}

// finished gives the slot of a request's own call back, and ends the request.
func finished(p *pool, l *load, result *inference.Result, err error, began time.Time) {
	r, took := l.requests[0], time.Since(began)
	p.worker.deps.Attempted(r.target.Route.Name, fault.CodeOf(err))
	if err == nil {
		p.recent.add(took)
		p.worker.deps.Batched(r.target.Route.Name, 1, l.batch.Load.Rows)
		p.desk.answered(l, took)
		p.pump()
		result.Upstream = took
		p.answer(r, result, l)
		return
	}
	hold := p.recent.stillComputing(r.ctx, err, took)
	p.release(hold, func() { p.failed(r, err) })
}

// release gives a slot back after hold, and does something else before.
func (p *pool) release(hold time.Duration, do func()) {
	if hold <= 0 {
		p.desk.free()
		p.pump()
		do()
		return
	}
	do()
	pause(p.worker.intake, hold)
	p.desk.free()
	p.pump()
}

// failed ends a request whose own call failed.
func (p *pool) failed(r *request, err error) {
	if cause := context.Cause(r.ctx); r.ctx.Err() != nil && !errors.Is(cause, context.DeadlineExceeded) {
		p.left(r)
		return
	}
	if r.take() {
		defer p.calls.Done()
		p.log(r.target, r.claim.Request().ID, "attempt", r.claim.Fail(r.ctx, fault.From(err)))
	}
}

// attempt makes the call of one request.
func (p *pool) attempt(r *request) (*inference.Result, error) {
	reply, release, err := p.ask(r)
	if err != nil {
		return nil, err
	}
	return r.decoded(reply, release)
}

// decoded judges a whole reply.
func (r *request) decoded(reply provider.Reply, release func()) (*inference.Result, error) {
	result, err := r.target.Provider.Decode(r.target.Route, r.claim.Request(), reply)
	if err != nil {
		release()
		return nil, err
	}
	result.Dropped = reply.Dropped
	result.OnRelease(release)
	return result, nil
}

// ask is attempt without judging the reply.
func (p *pool) ask(r *request) (provider.Reply, func(), error) {
	t := r.target
	ctx, cancel := context.WithTimeout(r.ctx, t.Route.Timeout)
	defer cancel()
	req := r.claim.Request()
	if req.Stream { // in company, and in a check of it, answers are whole
		whole := *req
		whole.Stream = false
		req = &whole
	}
	return t.Ask(ctx, req)
}

// errAllGone ends a shared call that no caller waits for any more.
var errAllGone = errors.New("all callers have gone")

// together makes one call of the rows of several requests, and gives each its own.
func (p *pool) together(requests []*request) (*shared, error) {
	first := requests[0]
	t := first.target
	var rows [][]byte
	once := false
	for _, r := range requests {
		rows = append(rows, r.rows.Values...)
		once = once || r.claim.Request().Once
	}
	call := t.Merger.Merge(first.rows, rows)
	call.Once = once
	ctx, cancel := context.WithTimeout(p.worker.work, t.Route.Timeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var here atomic.Int64
	here.Store(int64(len(requests)))
	for _, r := range requests {
		stop := context.AfterFunc(r.ctx, func() {
			if here.Add(-1) == 0 {
				giveUp(errAllGone)
			}
		})
		defer stop()
	}
	reply, release, err := t.Upstream.Do(ctx, call, t.Route.MaxReply)
	if err != nil {
		return nil, err
	}
	s := &shared{target: t, reply: reply, release: release}
	if reply.Status >= 400 {
		release()
		return nil, &refusal{reply}
	}
	if s.rows, err = t.Merger.Cut(t.Route, first.claim.Request().Type, len(rows), reply); err != nil {
		release()
		return nil, err
	}
	s.left.Store(int64(len(requests)))
	return s, nil
}

// refusal is a status of 400 or more that several requests share. Its text is told to none of them: it may speak of any.
type refusal struct{ reply provider.Reply }

func (r *refusal) Error() string { return "the model server refused a call of several requests" }

// told is the refusal as a caller may see it.
func (r *refusal) told() *fault.Error {
	f := fault.New(fault.UpstreamError, "the model server answered %d", r.reply.Status)
	f.Status, f.RetryAfter = r.reply.Status, r.reply.RetryAfter
	return f
}

// shared is the reply to a call of several requests, cut into rows.
type shared struct {
	target  *target.Target
	reply   provider.Reply
	rows    [][]byte
	release func()
	left    atomic.Int64 // requests that have not given their part back
	refuted bool         // a check has shown that the rows are not what each request would have got alone
}

// part is what one request would have been answered alone, of rows[from:], and for a part of a list the rows. false:
// that cannot be known.
func (s *shared) part(r *request, from int) (*inference.Result, bool) {
	rows := s.rows[from : from+r.item.Rows]
	whole, ok := s.target.Merger.Whole(r.claim.Request().Type, s.reply, rows)
	if !ok {
		return nil, false
	}
	if r.list != nil {
		result := &inference.Result{Items: rows}
		result.OnRelease(s.done)
		return result, true
	}
	result, err := s.target.Provider.Decode(s.target.Route, r.claim.Request(), whole)
	if err != nil {
		return nil, false
	}
	result.OnRelease(s.done)
	return result, true
}

// done gives one part back; the reply's bytes count until the last one is.
func (s *shared) done() {
	if s.left.Add(-1) == 0 {
		s.release()
	}
}
