package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/sse"
)

// headerStream says how a stream was made: "whole" for a model that cannot stream, whose answer comes at once.
const headerStream = "Headrace-Stream"

// outcome is how a call ended.
type outcome struct {
	res *inference.Result
	err error
}

// stream answers a call with a stream. The model cannot stream: its whole answer is one. Until it is there nothing is
// written for a while, so that an error has a status of its own; then comments say that the call is still running.
func (k *callDesk) stream(ctx context.Context, c *call, speaks dialect.Dialect, a *dialect.Asked) error {
	streamer, ok := speaks.(dialect.Streamer)
	if !ok {
		return fault.New(fault.NotImplemented, "this path has no streams")
	}
	answered := make(chan outcome, 1)
	go func() {
		res, err := k.broker.Call(ctx, a.Route, a.Request)
		answered <- outcome{res, err}
	}()
	s := &answerStream{w: c.w}
	beat := time.NewTicker(k.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if c.path.voice != problem.MLflow { // its clients fail at every line that is no data
				s.send(sse.AppendComment(nil, "waiting"))
			}
		case o := <-answered:
			return k.finish(ctx, c, s, streamer, a, o)
		}
	}
}

// finish writes the answer, or the error.
func (k *callDesk) finish(ctx context.Context, c *call, s *answerStream, streamer dialect.Streamer, a *dialect.Asked, o outcome) error {
	var out dialect.Output
	err := o.err
	if err == nil {
		defer o.res.Release()
		c.seen.ran(o.res)
		if s.begun {
			if len(o.res.Dropped) > 0 {
				s.send(sse.AppendComment(nil, headerDropped+": "+strings.Join(o.res.Dropped, ", ")))
			}
		} else {
			dropped(c.w.Header(), o.res.Dropped...)
			c.w.Header().Set("Server-Timing", serverTiming(o.res))
		}
		err = streamer.Stream(&out, a, o.res)
	} else {
		err = ended(ctx, err)
	}
	if err != nil {
		if !s.begun {
			return err
		}
		c.broken = err
		k.logInside(ctx, c, err)
		out.Reset()
		streamer.Broken(&out, a, k.brokenBody(c, err))
	}
	s.begin()
	_, _ = out.WriteTo(c.w) // an error means that the caller has gone
	s.flush()
	return nil
}

// logInside logs an error that is our own fault, as fail does for those that have a status.
func (k *callDesk) logInside(ctx context.Context, c *call, err error) {
	if fault.CodeOf(err) == fault.Internal {
		k.log.ErrorContext(ctx, "internal error while answering a request", "request_id", c.w.id, "path", c.r.URL.Path, "error", err)
	}
}

// brokenBody is an error as OpenAI's clients read it in a stream.
func (k *callDesk) brokenBody(c *call, err error) []byte {
	_, body := problem.Body(problem.OpenAI, fault.From(err), c.w.id)
	return problem.Encode(body)
}

// answerStream is a reply that is a stream of events.
type answerStream struct {
	w     *replyWriter
	begun bool
}

// begin writes the status and the headers, once.
func (s *answerStream) begin() {
	if s.begun {
		return
	}
	s.begun = true
	header := s.w.Header()
	header.Set("Content-Type", sse.ContentType)
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Accel-Buffering", "no") // proxies would hold it back
	header.Set(headerStream, "whole")
	s.w.WriteHeader(http.StatusOK)
}

// send writes bytes and sends them at once.
func (s *answerStream) send(bytes []byte) {
	s.begin()
	// Recorders of tests have no deadlines; connections do.
	_ = http.NewResponseController(s.w.ResponseWriter).SetWriteDeadline(time.Now().Add(writePatience))
	_, _ = s.w.Write(bytes) // the caller has gone: the call's context ends
	s.flush()
}

func (s *answerStream) flush() { _ = http.NewResponseController(s.w.ResponseWriter).Flush() }
