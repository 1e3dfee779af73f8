package worker

import (
	"cmp"
	"context"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/internal/provider"
)

const (
	// defaultIdle and defaultMax bound the streams of routes that do not say.
	defaultIdle = time.Minute
	defaultMax  = 10 * time.Minute
	// lastWords is how long the end of a complete stream is waited for, so that its connection can be used again.
	lastWords = 50 * time.Millisecond
)

// streaming is the claim of a request that may be answered in pieces; false for every other.
func (r *request) streaming() (lease.Streaming, bool) {
	s, ok := r.claim.(lease.Streaming)
	return s, ok && r.claim.Request().Stream && r.target.Streamer != nil
}

// streamer sends for a pool what is answered in pieces.
type streamer struct{ *pool }

// send runs a request whose caller takes the answer in pieces. The stream has its slot to its end. A model server that
// answers whole all the same is not asked again.
func (s streamer) send(l *load, claim lease.Streaming, began time.Time) {
	p, r := s.pool, l.requests[0]
	ctx, cut := context.WithCancelCause(r.ctx)
	defer cut(nil)
	first := time.AfterFunc(r.target.Route.Timeout, func() {
		cut(fault.New(fault.UpstreamTimeout, "the model server did not begin to answer in time; send less at a time, or raise the route's timeout"))
	})
	defer first.Stop()
	reply, release, err := r.target.Ask(ctx, r.claim.Request())
	if err != nil || reply.Events == nil {
		var result *inference.Result
		if err == nil {
			result, err = r.decoded(reply, release)
		}
		finished(p, l, result, err, began)
		return
	}
	defer release()
	x := stream{request: r, claim: claim, reply: reply, began: began, first: first, cut: cut, opened: p.worker.deps.Streamed, ended: func() {}}
	err = x.pass(ctx)
	p.worker.deps.Attempted(r.target.Route.Name, fault.CodeOf(err))
	p.desk.free()
	p.pump()
	if err != nil {
		p.failed(r, err)
		return
	}
	if r.take() {
		defer p.calls.Done()
		p.log(r.target, r.claim.Request().ID, "answer", claim.Complete(r.ctx))
	}
	_, _, _ = reply.Events.Next(lastWords) //nolint:dogsled // the stream is complete, whatever it says
}

// stream is an answer on its way from a model server to its caller.
type stream struct {
	request *request
	claim   lease.Streaming
	reply   provider.Reply
	began   time.Time
	first   *time.Timer // ends it unless a piece comes in time
	cut     context.CancelCauseFunc
	begun   bool
	opened  func(route string, first time.Duration) (ended func())
	ended   func()
}

// pass hands pieces over as they come, and returns nil when the answer is complete. The first one begins the stream: an error before
// it is an error of the call.
func (s *stream) pass(ctx context.Context) error {
	route := s.request.target.Route
	idle, most := cmp.Or(route.StreamIdle, defaultIdle), cmp.Or(route.StreamMax, defaultMax)
	over := time.AfterFunc(most-time.Since(s.began), func() {
		s.cut(fault.New(fault.UpstreamTimeout, "the answer took longer than %s in all, the limit that stream_max sets; raise it, or ask for less", most))
	})
	defer over.Stop()
	pieces := s.request.target.Streamer.Pieces(route, s.request.claim.Request(), s.reply)
	patience := most
	for {
		name, data, err := s.reply.Events.Next(patience)
		if err != nil {
			return err //nolint:wrapcheck // it is a fault or the context's cause
		}
		got, done, err := pieces.Read(name, data)
		if err != nil {
			return err //nolint:wrapcheck // it is a fault
		}
		if !s.begun && (len(got) > 0 || done) {
			s.first.Stop()
			s.begun, patience = true, idle
			s.ended = s.opened(route.Name, time.Since(s.began))
			if err := s.claim.Begin(ctx, &inference.Result{Dropped: s.reply.Dropped, Upstream: time.Since(s.began)}); err != nil {
				return err //nolint:wrapcheck // it says why the caller could not be told
			}
		}
		if err := s.claim.Send(ctx, got); err != nil {
			return err //nolint:wrapcheck // likewise
		}
		if done {
			return nil
		}
	}
}
