package worker

import (
	"errors"
	"net"
	"time"

	"headrace/internal/fault"
	"headrace/worker/batch"
	"headrace/worker/learned"
)

// sendAll runs the requests of a load in one call.
func (p *pool) sendAll(l *load) {
	began := time.Now()
	s, err := p.together(l.requests)
	took := time.Since(began)
	route := l.requests[0].target.Route.Name
	p.worker.deps.Attempted(route, codeOf(err))
	switch {
	case err != nil && len(l.requests) == 1: // a part of a list
		r := l.requests[0]
		hold := p.recent.stillComputing(r.ctx, err, took)
		p.failed(r, own(err)) // first, so that no other part of the list takes the slot
		p.release(hold, func() {})
		return
	case err != nil:
		(&isolation{pool: p, load: l}).run(err, took)
		return
	}
	p.recent.add(took)
	p.worker.deps.Batched(route, len(l.requests), l.batch.Load.Rows)
	good := !l.shadow || prover{p}.shadowed(l, s)
	p.desk.answered(l, took)
	p.pump()
	if !good {
		s.refuted = true
	}
	p.handOut(l, l.requests, s, took)
}

// handOut answers each request with its own rows. One whose rows do not make up an answer is asked alone, and all are
// when the answers are not good.
func (p *pool) handOut(l *load, requests []*request, s *shared, took time.Duration) {
	var alone []*request
	from := 0
	// Another call that was in flight at the same time may have shown that rows are answered differently in company.
	refuted := s.refuted || !sharing(p.desk, l.route())
	for _, r := range requests {
		result, ok := s.part(r, from)
		if ok && refuted && r.list == nil { // a list finds out when it is put together
			result, ok = nil, false
		}
		from += r.item.Rows
		switch {
		case !ok && r.list != nil:
			s.done()
			p.fail(r, fault.New(fault.UpstreamBadResponse, "a part of a list was not answered as it would be alone"))
		case !ok && r.item.Kind == batch.Job:
			s.done()
			p.calls.Go(func() { p.giveBack(r) })
		case !ok:
			s.done()
			alone = append(alone, r)
		case r.item.Kind == batch.Job: // storing it takes a while
			result.Upstream = took
			p.calls.Go(func() { p.answer(r, result, l) })
		default:
			result.Upstream = took
			p.answer(r, result, l)
		}
	}
	if len(alone) > 0 {
		p.desk.again(alone)
		p.pump()
	}
}

// sharing says that requests of a route may share calls at this moment.
func sharing(d *desk, route string) (may bool) {
	d.learn(func(s *learned.Server) { may = s.Route(route).Proof.May() })
	return may
}

// codeOf is how a call ended, as metrics name it.
func codeOf(err error) fault.Code {
	if r, ok := errors.AsType[*refusal](err); ok {
		return fault.CodeOf(r.told())
	}
	return fault.CodeOf(err)
}

// ended is what batch.Judge is told of a failed call.
func ended(err error, members int) batch.Ended {
	e := batch.Ended{Failure: batch.Broken, Members: members}
	if r, ok := errors.AsType[*refusal](err); ok {
		e.Failure, e.Status = batch.Status, r.reply.Status
		return e
	}
	op, isNet := errors.AsType[*net.OpError](err)
	switch code := fault.CodeOf(err); {
	case code == fault.UpstreamTimeout:
		e.Failure = batch.TimedOut
	case code == fault.UpstreamBadResponse:
		e.Failure = batch.BadShape
	case code == fault.QueueFull, code == fault.ShuttingDown, isNet && op.Op == "dial":
		e.Failure = batch.Refused
	}
	return e
}

// own is the error as each caller may see it.
func own(err error) error {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.told()
	}
	return err
}
