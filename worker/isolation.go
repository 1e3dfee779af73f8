package worker

import (
	"errors"
	"time"

	"headrace/internal/fault"
	"headrace/worker/batch"
	"headrace/worker/learned"
)

// isolation is what follows a call of several requests that has failed: it finds out, in the slot of that call, which of them
// can be answered.
type isolation struct {
	pool *pool
	load *load
}

// run gives the slot back when it has finished. Groups are halved until they succeed; what is
// asked alone speaks for itself. Jobs go back to the queue and come again alone.
func (i *isolation) run(err error, took time.Duration) {
	p, l := i.pool, i.load
	v := batch.Judge(ended(err, len(l.requests)))
	if v.Shrink {
		p.desk.learn(func(s *learned.Server) {
			s.Route(l.route()).Learner.Shrink(l.batch.Load.Rows, time.Now())
		})
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
			p.calls.Go(func() { p.left(r) }) // what is written of jobs takes a while, and the slot is still taken
		case v.Step == batch.Fail || v.Step == batch.Again: // other replicas were tried already
			p.calls.Go(func() { p.fail(r, own(err)) })
		case r.item.Kind == batch.Job:
			p.calls.Go(func() { p.giveBack(r) })
		default:
			calls = append(calls, r)
		}
	}
	if hold > 0 {
		pause(p.worker.intake, hold)
	}
	i.halve(calls)
	p.desk.free()
	p.pump()
}

// halve asks groups of requests again, in the slot of the call that failed.
func (i *isolation) halve(requests []*request) {
	if len(requests) == 0 {
		return
	}
	if len(requests) == 1 {
		i.ask(requests)
		return
	}
	all := make([]int, len(requests))
	for k := range all {
		all[k] = k
	}
	groups := batch.Isolate(all)
	for group := groups.Next(); group != nil; group = groups.Next() {
		var some []*request
		var kept []int
		for _, k := range group {
			if r := requests[k]; r.over() {
				i.pool.left(r)
			} else {
				some, kept = append(some, r), append(kept, k)
			}
		}
		if len(some) > 0 && !i.ask(some) {
			groups.Failed(kept)
		}
	}
}

// ask asks one group; false: it has to be halved.
func (i *isolation) ask(some []*request) bool {
	p := i.pool
	route := some[0].target.Route.Name
	began := time.Now()
	if len(some) > 1 || some[0].list != nil {
		s, err := p.together(some)
		took := time.Since(began)
		p.worker.deps.Attempted(route, codeOf(err))
		i.note(took, 0)
		if err != nil && len(some) == 1 {
			p.failed(some[0], own(err))
			return true
		}
		if err != nil {
			return false
		}
		p.handOut(i.load, some, s, took)
		return true
	}
	r := some[0]
	result, err := p.attempt(r)
	took := time.Since(began)
	p.worker.deps.Attempted(route, fault.CodeOf(err))
	if err == nil {
		i.note(took, 0)
		result.Upstream = took
		p.answer(r, result, &load{requests: some, gathered: i.load.gathered})
		return true
	}
	i.note(took, r.item.Rows)
	hold := p.recent.stillComputing(r.ctx, err, took)
	p.failed(r, err)
	if hold > 0 {
		pause(p.worker.intake, hold)
	}
	return true
}

// note makes known that a call was made to isolate, and the rows that it found bad.
func (i *isolation) note(took time.Duration, bad int) {
	i.pool.desk.learn(func(s *learned.Server) { s.Isolated(i.load.route(), i.load.batch.Load.Rows, took, bad) })
}
