package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/api/dialect"
	"headrace/api/jobspec"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// callDesk answers calls.
type callDesk struct {
	*chassis

	limiter    Limiter  // nil: no limits are kept
	observe    Observer // nil: calls are not counted
	jobs       *jobDesk // nil: no call becomes a job
	complaints complaints
}

// call is one POST that asks a model.
type call struct {
	w    *replyWriter
	r    *http.Request
	path target
	name string // the route's or the split's, from the path; "" until the body, which names it elsewhere, was read
	seen Answered
	// broken is what ended a stream after its beginning.
	broken error
}

// target is what a path of a call fixes.
type target struct {
	voice problem.Voice
	// dialect speaks for a route; the body may say which one that is.
	dialect func(route *inference.Route) dialect.Dialect
	// wants is the type of route the path is for, where the body names the route.
	wants inference.Type
	// limited paths count against the route's limit.
	limited bool
}

// invoke is the way of every call: gate, deadline, body, dialect, limit, broker, reply.
func (k *callDesk) invoke(c *call) error {
	table := k.table.Load()
	key, err := jobspec.KeyOf(c.r.Header)
	if err != nil {
		return err
	}
	route, split := named(table, c.name, key)
	if route == nil && c.name != "" {
		return problem.NoRoute(c.path.voice, c.name) // taken away since the path was matched
	}
	body, done, err := k.receive(c.w, c.r, k.patience(route))
	defer done()
	if err != nil {
		return err
	}
	c.seen.Asked = int64(len(body.bytes))
	text, err := dialect.Parse(body.bytes, c.r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if c.name == "" {
		if route, c.name, err = k.lookup(c.r, table, text, c.path.wants); err != nil {
			return err
		}
	}
	wait, err := patience(c.r, k.patience(route))
	if err != nil {
		return err
	}
	c.seen.Route = route.Name
	speaks := c.path.dialect(route)
	a, err := speaks.Read(route, text)
	if err != nil {
		return err
	}
	a.Request.ID = c.w.id
	dropped(c.w.Header(), a.Dropped...)
	o, prefers, err := k.orderOfCall(c, a, speaks, body.bytes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(c.r.Context(), body.began.Add(wait))
	defer cancel()
	if c.path.limited && split == nil { // MLflow limits no traffic route, nor its endpoints through it
		if err := k.limit(ctx, c.r, route); err != nil {
			return err
		}
	}
	if o != nil {
		return k.jobs.submit(c.r.Context(), c, o, prefers)
	}
	return k.askAny(ctx, c, speaks, a, text)
}

// ask is the end of a call that waits for its answer.
func (k *callDesk) ask(ctx context.Context, c *call, speaks dialect.Dialect, a *dialect.Asked) error {
	if a.Refused != nil {
		return a.Refused
	}
	a.Request.Caller = digest(k.client(c.r))
	if a.Stream {
		return k.stream(ctx, c, speaks, a)
	}
	res, err := k.broker.Call(ctx, a.Route, a.Request)
	if err != nil {
		return ended(ctx, err)
	}
	defer res.Release()
	dropped(c.w.Header(), res.Dropped...)
	c.seen.ran(res)
	return k.respond(ctx, c.w, speaks, a, res)
}

// ran notes what is known of a call that the model server has answered.
func (a *Answered) ran(res *inference.Result) {
	a.Queue, a.Gather, a.Upstream, a.Batch = res.Queue, res.Gather, res.Upstream, res.Batch
}

// answered is how a call ended, which err says unless it was a stream that had begun.
func (c *call) answered(began time.Time, err error) Answered {
	seen := c.seen
	seen.ID, seen.Path, seen.Began, seen.Took = c.w.id, c.r.URL.Path, began, time.Since(began)
	seen.Status, seen.Sent, seen.Job = c.w.status, c.w.sent, c.w.Header().Get("Job-Id")
	failed := cmp.Or(err, c.broken)
	if failed == nil {
		return seen
	}
	f := fault.From(failed)
	if seen.Code = f.Code; f.Code != fault.Internal {
		seen.Message = f.Message
	}
	if err != nil {
		seen.Status = problem.MeaningOf(c.path.voice, f).Status
	}
	return seen
}

// lookup finds the route a body names, of the type that the path is for, and the name it stands under there.
func (k *callDesk) lookup(r *http.Request, table *inference.Table, body dialect.Body, want inference.Type) (*inference.Route, string, error) {
	name, err := dialect.ModelOf(body)
	if err != nil {
		return nil, "", err
	}
	route, _ := named(table, name, r.Header.Get(jobspec.HeaderKey))
	if route == nil {
		return nil, "", problem.NoModel(name)
	}
	if route.Type != want {
		e := fault.New(fault.Invalid, "Endpoint '%s' is not %s endpoint.", name, kindOf(want))
		e.Param = "model"
		return nil, "", e
	}
	return route, name, nil
}

// kindOf names what an endpoint is, as MLflow's texts do.
func kindOf(t inference.Type) string {
	switch t {
	case inference.Completions:
		return "a completions"
	case inference.Chat:
		return "a chat"
	case inference.Embeddings:
		return "an embeddings"
	case inference.Raw:
	}
	return "such an"
}

// patience is the most that a call on route may take; a route that is not known yet gets the front end's time.
func (k *callDesk) patience(route *inference.Route) time.Duration {
	if route != nil && route.SyncTimeout > 0 {
		return route.SyncTimeout
	}
	return k.cfg.SyncTimeout
}

// ended is what a failed call failed of, when its context tells it better than the broker can.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if f, ok := errors.AsType[*fault.Error](cause); ok {
			return f
		}
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(fault.Deadline, err, "the time of the call ran out")
	}
	return err
}

// limit takes one call out of the route's limit. A counter that fails lets the call pass: a limit protects
// the model, it is no lock.
func (k *callDesk) limit(ctx context.Context, r *http.Request, route *inference.Route) error {
	if route.Limit == nil || k.limiter == nil {
		return nil
	}
	ok, after, err := k.limiter.Take(ctx, route, k.client(r)+r.URL.Path)
	if err != nil {
		k.log.WarnContext(ctx, "the rate limit could not be checked; the call was let through", "route", route.Name, "error", err)
		return nil
	}
	if ok {
		return nil
	}
	e := fault.New(fault.RateLimited, "Rate limit exceeded: %s", limitText(route.Limit))
	e.RetryAfter = after
	return e
}

// limitText is "2 per 1 minute" for two calls each "minute".
func limitText(l *inference.Limit) string {
	period, _, _ := strings.Cut(strings.ToLower(l.Period), ";")
	words := strings.Fields(period)
	many, unit := "1", "period"
	if len(words) > 0 {
		unit = strings.TrimSuffix(words[len(words)-1], "s")
	}
	if len(words) > 1 {
		many = words[0]
	}
	return strconv.Itoa(l.Calls) + " per " + many + " " + unit
}

// respond writes the answer of a call that ran.
func (c *chassis) respond(ctx context.Context, w *replyWriter, speaks dialect.Dialect, a *dialect.Asked, res *inference.Result) error {
	out, ok := c.buffers.Get().(*dialect.Output)
	if !ok {
		out = new(dialect.Output)
	}
	defer func() {
		out.Reset()
		c.buffers.Put(out)
	}()
	if err := speaks.Answer(out, a, res); err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(out.Len()))
	header.Set("Server-Timing", serverTiming(res))
	if res.Batch > 0 {
		header.Set(headerBatch, strconv.Itoa(res.Batch))
	}
	w.WriteHeader(http.StatusOK)
	write := func() error { _, err := out.WriteTo(w); return err }
	if n := out.Len(); n >= dialect.Spliced/2 && n <= gathered-maxHead {
		_ = c.wires.gather(ctx, w, write) // an error means that the caller has gone
		return nil
	}
	_ = write()
	return nil
}

// serverTiming is in milliseconds. gather is the part of the queue in which a free slot waited for company.
func serverTiming(res *inference.Result) string {
	b := appendTiming(make([]byte, 0, 64), "queue;dur=", res.Queue)
	b = appendTiming(b, ", gather;dur=", res.Gather)
	return string(appendTiming(b, ", upstream;dur=", res.Upstream))
}

func appendTiming(b []byte, name string, took time.Duration) []byte {
	return strconv.AppendFloat(append(b, name...), float64(took.Microseconds())/1000, 'f', -1, 64)
}

// askAny asks the route of a call, and when that fails the routes that stand in for it, in their order. Each is asked what the
// caller's body says to it. One that cannot be asked that is passed over. The error is that of the last one asked.
func (k *callDesk) askAny(ctx context.Context, c *call, speaks dialect.Dialect, a *dialect.Asked, body dialect.Body) error {
	err := k.ask(ctx, c, speaks, a)
	table := k.table.Load()
	for _, name := range a.Route.Fallbacks {
		if !standsIn(err) || ctx.Err() != nil {
			return err
		}
		route := table.Route(name)
		if route == nil || route.Type != a.Route.Type {
			continue // taken away, or changed, since
		}
		other, unfit := speaks.Read(route, body)
		if unfit != nil || other.Refused != nil {
			continue
		}
		other.Request.ID = a.Request.ID
		header := c.w.Header()
		header.Del(headerDropped)
		dropped(header, other.Dropped...)
		header.Set(headerRoute, name)
		if err = k.ask(ctx, c, speaks, other); err != nil {
			header.Del(headerRoute)
		}
	}
	return err
}

// standsIn says whether another route may answer a call that failed of err: when no worker, no connection or no time was to be
// had, or the model server answered 408, 429 or 5xx. What the caller or the operator has to mend is told at once.
func standsIn(err error) bool {
	if err == nil {
		return false
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return false
	}
	switch f.Code {
	case fault.NoWorkers, fault.QueueFull, fault.UpstreamUnavailable, fault.UpstreamTimeout:
		return true
	case fault.UpstreamError:
		refused := f.Status == http.StatusBadGateway && f.Repeat == fault.RepeatVain // the gateway's own key
		return !refused && !f.Raised && (f.Status == http.StatusRequestTimeout || f.Status == http.StatusTooManyRequests || f.Status >= 500)
	case fault.Invalid, fault.NotFound, fault.MethodNotAllowed, fault.TooLarge, fault.RateLimited, fault.UpstreamBadResponse, fault.Deadline,
		fault.NotImplemented, fault.Conflict, fault.KeyReused, fault.Gone, fault.JobFailed, fault.Unauthorized, fault.ShuttingDown, fault.Internal:
	}
	return false
}
