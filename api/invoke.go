package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// call is one POST that asks a model.
type call struct {
	w    *replyWriter
	r    *http.Request
	path target
	name string // the route's or the split's, from the path; "" until the body, which names it elsewhere, was read
	seen Answered
}

// target is what a path of a call fixes.
type target struct {
	voice voice
	// dialect speaks for a route; the body may say which one that is.
	dialect func(route *inference.Route) dialect
	// wants is the type of route the path is for, where the body names the route.
	wants inference.Type
	// limited paths count against the route's limit.
	limited bool
}

// invoke is the way of every call: gate, deadline, body, dialect, limit, broker, reply.
func (s *Server) invoke(c *call) error {
	if !s.gate.enter() {
		c.w.Header().Set("Connection", "close")
		return errShutdown()
	}
	defer s.gate.leave()
	table := s.table.Load()
	key, err := keyOf(c.r.Header)
	if err != nil {
		return err
	}
	route, split := named(table, c.name, key)
	if route == nil && c.name != "" {
		return noRoute(c.path.voice, c.name) // taken away since the path was matched
	}
	began := time.Now()
	wait, err := s.patience(c.r, route)
	if err != nil {
		return err
	}
	body, err := s.readBody(c.w, c.r, began.Add(wait))
	defer s.release(body)
	if err != nil {
		return err
	}
	text, err := parse(body.bytes, c.r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if c.name == "" {
		if route, c.name, err = s.lookup(c.r, table, text, c.path.wants); err != nil {
			return err
		}
		if wait, err = s.patience(c.r, route); err != nil {
			return err
		}
	}
	c.seen.Route = route.Name
	speaks := c.path.dialect(route)
	a, err := speaks.read(route, text)
	if err != nil {
		return err
	}
	a.request.ID = c.w.id
	dropped(c.w.Header(), a.dropped...)
	o, prefers, err := s.orderOfCall(c, a, speaks, body.bytes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(c.r.Context(), began.Add(wait))
	defer cancel()
	if c.path.limited && split == nil { // MLflow limits no traffic route, nor its endpoints through it
		if err := s.limit(ctx, c.r, route); err != nil {
			return err
		}
	}
	if o != nil {
		return s.submit(c.r.Context(), c, o, prefers)
	}
	return s.ask(ctx, c, speaks, a)
}

// ask is the end of a call that waits for its answer.
func (s *Server) ask(ctx context.Context, c *call, speaks dialect, a *asked) error {
	if a.refused != nil {
		return a.refused
	}
	res, err := s.broker.Call(ctx, a.route, a.request)
	if err != nil {
		return ended(ctx, err)
	}
	defer res.Release()
	c.seen.Queue, c.seen.Upstream = res.Queue, res.Upstream
	return s.respond(ctx, c.w, speaks, a, res)
}

// patience is how long a call on route may take; a route that is not known yet gets the front end's time.
func (s *Server) patience(r *http.Request, route *inference.Route) (time.Duration, error) {
	if route != nil && route.SyncTimeout > 0 {
		return patience(r, route.SyncTimeout)
	}
	return patience(r, s.cfg.SyncTimeout)
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
func (s *Server) limit(ctx context.Context, r *http.Request, route *inference.Route) error {
	if route.Limit == nil || s.limiter == nil {
		return nil
	}
	ok, after, err := s.limiter.Take(ctx, route, s.client(r)+r.URL.Path)
	if err != nil {
		s.log.WarnContext(ctx, "the limit could not be kept", "route", route.Name, "error", err)
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
func (s *Server) respond(ctx context.Context, w *replyWriter, speaks dialect, a *asked, res *inference.Result) error {
	out, ok := s.buffers.Get().(*output)
	if !ok {
		out = new(output)
	}
	defer func() {
		out.reset()
		s.buffers.Put(out)
	}()
	if err := speaks.answer(out, a, res); err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(out.length()))
	header.Set("Server-Timing", serverTiming(res))
	w.WriteHeader(http.StatusOK)
	write := func() error { return out.writeTo(w) }
	if n := out.length(); n >= spliced/2 && n <= gathered-maxHead {
		_ = s.wires.gather(ctx, w, write) // the caller has gone: there is nobody to tell
		return nil
	}
	_ = write()
	return nil
}

// serverTiming is in milliseconds.
func serverTiming(res *inference.Result) string {
	b := append(make([]byte, 0, 48), "queue;dur="...)
	b = strconv.AppendFloat(b, float64(res.Queue.Microseconds())/1000, 'f', -1, 64)
	b = append(b, ", upstream;dur="...)
	return string(strconv.AppendFloat(b, float64(res.Upstream.Microseconds())/1000, 'f', -1, 64))
}
