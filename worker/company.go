package worker

import (
	"errors"
	"net"
	"time"

	"headrace/internal/fault"
	"headrace/worker/batch"
)

// sendAll runs the requests of a load in one call.
func (p *pool) sendAll(l *load) {
	began := time.Now()
	s, err := p.together(l.requests)
	took := time.Since(began)
	route := l.requests[0].target.route.Name
	p.worker.deps.Attempted(route, codeOf(err))
	switch {
	case err != nil && len(l.requests) == 1: // a part of a list
		r := l.requests[0]
		hold := p.recent.stillComputing(r.ctx, err, took)
		p.failed(r, own(err)) // first, so that no other part of the list takes the slot
		p.release(hold, func() {})
		return
	case err != nil:
		p.isolate(l, err, took)
		return
	}
	p.recent.add(took)
	p.worker.deps.Batched(route, len(l.requests), l.batch.Load.Rows)
	good := !l.shadow || p.shadowed(l, s)
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
	for _, r := range requests {
		result, ok := s.part(r, from)
		if ok && s.refuted {
			result, ok = nil, false
		}
		from += r.item.Rows
		switch {
		case !ok && r.list != nil:
			s.done()
			p.fail(r, fault.New(fault.UpstreamBadResponse, "a part of a list was not answered as it would be alone"))
		case !ok && r.item.Kind == batch.Job:
			s.done()
			p.giveBack(r)
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

// isolate finds out which requests of a failed call can be answered. Groups are halved until they succeed; what is
// asked alone speaks for itself. Jobs go back to the queue and come again alone.
func (p *pool) isolate(l *load, err error, took time.Duration) {
	v := batch.Judge(ended(err, len(l.requests)))
	if v.Shrink {
		p.desk.shrink(l)
	}
	hold := time.Duration(0)
	if v.Hold {
		hold = holdAfterTimeout(p.recent.median())
	} else if errors.Is(err, errAllGone) {
		hold = holdAfterAbort(p.recent.median(), took)
	}
	var calls []*request
	for _, r := range l.requests {
		switch {
		case r.over():
			p.left(r)
		case v.Step == batch.Fail || v.Step == batch.Again: // other replicas were tried already
			p.fail(r, own(err))
		case r.item.Kind == batch.Job:
			p.calls.Go(func() { p.giveBack(r) })
		default:
			calls = append(calls, r)
		}
	}
	if hold > 0 {
		pause(p.worker.intake, hold)
	}
	p.halve(l, calls)
	p.desk.free()
	p.pump()
}

// own is the error as each caller may see it.
func own(err error) error {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.told()
	}
	return err
}

// halve asks groups of requests again, in the slot of the call that failed.
func (p *pool) halve(l *load, requests []*request) {
	if len(requests) == 0 {
		return
	}
	if len(requests) == 1 {
		p.askAgain(l, requests)
		return
	}
	all := make([]int, len(requests))
	for i := range all {
		all[i] = i
	}
	i := batch.Isolate(all)
	for group := i.Next(); group != nil; group = i.Next() {
		var some []*request
		var kept []int
		for _, k := range group {
			if r := requests[k]; r.over() {
				p.left(r)
			} else {
				some, kept = append(some, r), append(kept, k)
			}
		}
		if len(some) > 0 && !p.askAgain(l, some) {
			i.Failed(kept)
		}
	}
}

// askAgain asks one group; false: it has to be halved.
func (p *pool) askAgain(l *load, some []*request) bool {
	route := some[0].target.route.Name
	began := time.Now()
	if len(some) > 1 || some[0].list != nil {
		s, err := p.together(some)
		took := time.Since(began)
		p.worker.deps.Attempted(route, codeOf(err))
		p.desk.isolated(l, took, 0)
		if err != nil && len(some) == 1 {
			p.failed(some[0], own(err))
			return true
		}
		if err != nil {
			return false
		}
		p.handOut(l, some, s, took)
		return true
	}
	r := some[0]
	result, err := p.attempt(r)
	took := time.Since(began)
	p.worker.deps.Attempted(route, fault.CodeOf(err))
	if err == nil {
		p.desk.isolated(l, took, 0)
		result.Upstream = took
		p.answer(r, result, &load{requests: some, gathered: l.gathered})
		return true
	}
	p.desk.isolated(l, took, r.item.Rows)
	hold := p.recent.stillComputing(r.ctx, err, took)
	p.failed(r, err)
	if hold > 0 {
		pause(p.worker.intake, hold)
	}
	return true
}
