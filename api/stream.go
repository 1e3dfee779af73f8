package api

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"headrace/api/dialect"
	"headrace/api/eventstream"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/sse"
)

// outcome is how a call ended, or how its answer begins.
type outcome struct {
	res *inference.Result
	err error
}

// stream answers a call with a stream. Until the answer has begun, or is there whole, nothing is written for a while, so that
// an error has a status of its own; then comments say that the call is still running.
func (k *callDesk) stream(ctx context.Context, c *call, speaks dialect.Dialect, a *dialect.Asked) error {
	streamer, ok := speaks.(dialect.Streamer)
	if !ok {
		return fault.New(fault.NotImplemented, "this path has no streams")
	}
	byPieces, ok := streamer.(dialect.PieceStreamer)
	a.Request.Stream = ok && a.Route.StreamMax > 0
	answered := make(chan outcome, 1)
	go func() {
		res, err := k.broker.Call(ctx, a.Route, a.Request)
		answered <- outcome{res, err}
	}()
	s := eventstream.New(c.w, c.w.ResponseWriter, writePatience)
	beat := time.NewTicker(k.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			// MLflow's clients fail at every line that is no data, and a vendor's own status is worth waiting for.
			if c.path.voice != problem.MLflow && (!a.Request.Stream || a.Route.Vendor == nil) {
				_ = s.Send(sse.AppendComment(nil, "waiting")) // an error means that the caller has gone: the call's context ends
			}
		case o := <-answered:
			if byPieces != nil && o.err == nil && o.res.Stream != nil {
				defer o.res.Release()
				return k.pass(c, s, byPieces, a, o.res) //nolint:contextcheck // ctx is for the beginning of the answer
			}
			return k.finish(ctx, c, s, streamer, a, o)
		}
	}
}

// pass writes an answer as its pieces come. It has no deadline here: the worker keeps the times of streams.
func (k *callDesk) pass(c *call, s *eventstream.Reply, streamer dialect.PieceStreamer, a *dialect.Asked, res *inference.Result) error {
	ctx := c.r.Context()
	k.announce(c, s, res)
	s.How = eventstream.Pieces
	_ = s.Send(nil) // an error means that the caller has gone, and shows at the first piece
	var out dialect.Output
	writer := streamer.Pieces(a)
	s.Quiet = c.path.voice == problem.MLflow
	for {
		piece, err := s.Next(ctx, res.Stream, k.cfg.Heartbeat)
		if err == nil {
			err = writer.Write(&out, piece)
		}
		last := err != nil
		if errors.Is(err, io.EOF) {
			err = writer.End(&out)
		}
		if err != nil {
			k.breakOff(ctx, c, streamer, a, &out, err)
		}
		if writing := s.Write(&out); writing != nil || last {
			return nil //nolint:nilerr // the caller has gone
		}
	}
}

// breakOff writes the event that ends a stream after an error.
func (k *callDesk) breakOff(ctx context.Context, c *call, streamer dialect.Streamer, a *dialect.Asked, out *dialect.Output, err error) {
	err = ended(ctx, err)
	c.broken = err
	k.logInside(ctx, c, err)
	out.Reset()
	_, body := problem.Body(problem.OpenAI, fault.From(err), c.w.id)
	streamer.Broken(out, a, problem.Encode(body)) // as OpenAI's clients read it
}

// announce tells in headers what is known of an answer, or in a comment once they are written.
func (k *callDesk) announce(c *call, s *eventstream.Reply, res *inference.Result) {
	c.seen.ran(res)
	if !s.Begun() {
		dropped(c.w.Header(), res.Dropped...)
		c.w.Header().Set("Server-Timing", serverTiming(res))
		return
	}
	if len(res.Dropped) > 0 {
		_ = s.Send(sse.AppendComment(nil, headerDropped+": "+strings.Join(res.Dropped, ", "))) // an error means that the caller has gone
	}
}

// finish writes the answer, or the error.
func (k *callDesk) finish(ctx context.Context, c *call, s *eventstream.Reply, streamer dialect.Streamer, a *dialect.Asked, o outcome) error {
	var out dialect.Output
	err := o.err
	if err == nil {
		defer o.res.Release()
		k.announce(c, s, o.res)
		err = streamer.Stream(&out, a, o.res)
	}
	if err != nil {
		if !s.Begun() {
			return ended(ctx, err)
		}
		k.breakOff(ctx, c, streamer, a, &out, err)
	}
	_ = s.Write(&out) // an error means that the caller has gone
	return nil
}

// logInside logs an error that is our own fault, as fail does for those that have a status.
func (k *callDesk) logInside(ctx context.Context, c *call, err error) {
	if fault.CodeOf(err) == fault.Internal {
		k.log.ErrorContext(ctx, "internal error while answering a request", "request_id", c.w.id, "path", c.r.URL.Path, "error", err)
	}
}
