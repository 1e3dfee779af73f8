package worker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
	"headrace/worker/batch"
	"headrace/worker/learned"
	"headrace/worker/target"
)

// prover makes the calls that show whether rows of a route are answered alike in company.
type prover struct{ pool *pool }

// trial is a merged call whose parts are compared with what requests were answered alone. It holds nothing of the
// requests, which have ended by then: what it keeps itself counts as parts of lists do.
type trial struct {
	target *target.Target
	kind   inference.Type
	call   provider.Call
	rows   []int    // of each request
	alone  [][]byte // the body of each reply
	held   int64    // bytes of call and alone
	full   bool     // there was no room for all of it
}

// keep reserves room for n bytes of a trial; false: there is none.
func (v prover) keep(t *trial, n int64) bool {
	if t.full || !v.pool.worker.parts.TryReserve(n) {
		t.full = true
		return false
	}
	t.held += n
	return true
}

// probe asks each request of a load alone and answers it so, and then all of them in one call, to learn whether rows
// are answered alike in company.
func (v prover) probe(l *load) {
	p := v.pool
	first := l.requests[0]
	t := &trial{target: first.target, kind: first.claim.Request().Type}
	var rows [][]byte
	size := int64(0)
	for _, r := range l.requests {
		rows = append(rows, r.rows.Values...)
		t.rows = append(t.rows, r.item.Rows)
		size += r.item.Bytes
	}
	if v.keep(t, size) {
		t.call = t.target.Merger.Merge(first.rows, rows)
	}
	o := batch.Outcome{Alone: true}
	for i := range l.requests {
		body, err := v.probeOne(&load{requests: l.requests[i : i+1]}, t)
		t.alone = append(t.alone, body)
		o.Alone = o.Alone && err == nil
		o.Void = o.Void || err != nil && !judged(err)
	}
	o.Void = o.Void || t.full
	if o.Alone && !o.Void {
		o = v.compare(t)
	}
	p.worker.parts.Release(t.held)
	p.desk.learn(func(s *learned.Server) { s.Route(t.target.Route.Name).Proof.Probed(o, time.Now()) })
	p.desk.free()
	p.pump()
}

// probeOne asks one request alone, answers it, and gives what the model server said; nil where a trial has no room for it.
func (v prover) probeOne(l *load, t *trial) (body []byte, err error) {
	p, r := v.pool, l.requests[0]
	if r.over() {
		p.left(r)
		return nil, errAllGone
	}
	began := time.Now()
	reply, release, err := p.ask(r)
	took := time.Since(began)
	var result *inference.Result
	if err == nil {
		if v.keep(t, int64(len(reply.Body))) {
			body = bytes.Clone(reply.Body)
		}
		if result, err = r.target.Provider.Decode(r.target.Route, r.claim.Request(), reply); err != nil {
			release()
		}
	}
	p.worker.deps.Attempted(r.target.Route.Name, fault.CodeOf(err))
	if err != nil {
		hold := p.recent.stillComputing(r.ctx, err, took)
		p.failed(r, err)
		if hold > 0 {
			pause(p.worker.intake, hold)
		}
		return nil, err
	}
	p.recent.add(took)
	p.worker.deps.Batched(r.target.Route.Name, 1, r.item.Rows)
	p.desk.learn(func(s *learned.Server) {
		route := s.Route(r.item.Key.Route)
		route.Count(1, r.item.Rows)
		if !s.Trial() {
			route.Learner.Record(batch.Load{Rows: r.item.Rows, Length: r.item.Length}, took, 0, time.Now())
		}
	})
	result.OnRelease(release)
	result.Upstream = took
	p.answer(r, result, l)
	return body, nil
}

// judged says that an error is the model server's word on a call, and not its absence.
func judged(err error) bool {
	if _, refused := errors.AsType[*refusal](err); refused {
		return true
	}
	code := fault.CodeOf(err)
	return code == fault.UpstreamError || code == fault.UpstreamBadResponse
}

// compare makes the merged call of a trial.
func (v prover) compare(t *trial) batch.Outcome {
	p := v.pool
	o := batch.Outcome{Alone: true}
	ctx, cancel := context.WithTimeout(p.worker.work, t.target.Route.Timeout)
	defer cancel()
	reply, release, err := t.target.Upstream.Do(ctx, t.call, t.target.Route.MaxReply)
	if err == nil {
		defer release()
		if reply.Status >= 400 {
			err = &refusal{reply}
		}
	}
	p.worker.deps.Attempted(t.target.Route.Name, codeOf(err))
	if err != nil {
		o.Void = !judged(err)
		o.Reason = "it was refused"
		return o
	}
	n := 0
	for _, k := range t.rows {
		n += k
	}
	rows, err := t.target.Merger.Cut(t.target.Route, t.kind, n, reply)
	if err != nil {
		o.Reason = fault.From(err).Message
		return o
	}
	o.Merged, o.Equal = true, true
	compared := 0
	for i, k := range t.rows {
		whole, ok := t.target.Merger.Whole(t.kind, reply, rows[:k])
		rows = rows[k:]
		if !ok {
			continue // it would be asked alone
		}
		compared++
		if same, why := splice.Same(t.alone[i], whole.Body); !same {
			o.Equal, o.Reason = false, why
			return o
		}
	}
	o.Alone = compared > 0
	return o
}

// shadowed asks one request of a shared call alone as well, and says whether both answers are the same.
func (v prover) shadowed(l *load, s *shared) bool {
	p := v.pool
	from := 0
	for _, r := range l.requests {
		if r.item.Kind == batch.Call && r.list == nil && !r.over() {
			whole, ok := s.target.Merger.Whole(r.claim.Request().Type, s.reply, s.rows[from:from+r.item.Rows])
			reply, release, err := p.ask(r)
			if err == nil {
				defer release()
			}
			p.worker.deps.Attempted(s.target.Route.Name, fault.CodeOf(err))
			if !ok || err != nil || reply.Status >= 400 {
				return true // nothing is proven
			}
			same, why := splice.Same(reply.Body, whole.Body)
			p.desk.learn(func(known *learned.Server) {
				known.Route(s.target.Route.Name).Proof.Shadowed(batch.Outcome{Alone: true, Merged: true, Equal: same, Reason: why})
			})
			return same
		}
		from += r.item.Rows
	}
	return true
}
