package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/provider"
	"headrace/internal/sse"
)

// freeEvent is how many bytes of an event are read before the budget is used.
const freeEvent = 64 << 10

// defaultMaxEvent is how many bytes an event may have where the call does not say.
const defaultMaxEvent = 4 << 20

// stream is a reply that is read piece by piece. It holds one event at most.
type stream struct {
	client *Client
	r      *replica
	ctx    context.Context //nolint:containedctx // of the call; its end closes the connection
	giveUp context.CancelCauseFunc
	resp   *http.Response
	events *sse.Reader
	status int
	took   time.Duration // until the head of the reply

	held     held
	read     int64 // bytes since the last event
	err      error // that ended the stream; nil while it goes on
	complete bool  // the connection can be used again
	closing  sync.Once
}

// streams says that a reply comes in pieces.
func streams(resp *http.Response) bool {
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return resp.StatusCode >= 200 && resp.StatusCode < 300 && strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// stream begins to read a reply in pieces.
func (c *Client) stream(ctx context.Context, giveUp context.CancelCauseFunc, r *replica, resp *http.Response, limits *provider.StreamLimits, took time.Duration) (*stream, error) {
	in, _, err := decoded(resp)
	if err != nil {
		_ = resp.Body.Close()
		return nil, broken(ctx, r, err)
	}
	s := &stream{
		client: c, r: r, ctx: ctx, giveUp: giveUp, resp: resp, status: resp.StatusCode, took: took,
		held: held{budget: c.cfg.Budget},
	}
	s.events = sse.NewReader(&metered{s, in}, int(cmp.Or(limits.MaxEvent, defaultMaxEvent)))
	return s, nil
}

// metered counts the bytes of an event against the budget.
type metered struct {
	stream *stream
	in     io.Reader
}

// Read is part of io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	s := m.stream
	n, err := m.in.Read(p)
	s.read += int64(n)
	if over := s.read - freeEvent - s.held.bytes; over > 0 {
		if short := s.held.reserve(s.ctx, over); short != nil {
			return n, short
		}
	}
	return n, err //nolint:wrapcheck // it stands for the reader that it wraps
}

// Next is part of provider.Events.
func (s *stream) Next(patience time.Duration) (name, data string, err error) {
	if s.err != nil {
		return "", "", s.err
	}
	s.held.release()
	s.read = 0
	silence := time.AfterFunc(patience, func() {
		s.giveUp(fault.New(fault.UpstreamTimeout,
			"the model server %s sent nothing for %s in the middle of its answer; raise stream_idle if it needs longer", s.r.shown, patience))
	})
	e, err := s.events.Next()
	silence.Stop()
	if err == nil {
		return e.Name, e.Data, nil
	}
	s.complete = errors.Is(err, io.EOF)
	s.err = s.why(err)
	return "", "", s.err
}

// why says how a stream ended.
func (s *stream) why(err error) error {
	if long, ok := errors.AsType[*sse.TooLongError](err); ok {
		return fault.New(fault.UpstreamBadResponse, "the model server %s sent an event of more than %d bytes in one piece, the limit that worker.stream_max_event sets; raise it",
			s.r.shown, long.Most)
	}
	if errors.Is(err, errNoRoom) {
		return fault.Wrap(fault.QueueFull, err, "there was no room for an event of the model server's stream: worker.max_inflight_bytes is used up; try again later")
	}
	if errors.Is(err, io.EOF) && s.ctx.Err() == nil {
		return fault.New(fault.UpstreamUnavailable, "the model server %s ended its stream before the answer was complete; its log may say why", s.r.shown)
	}
	return broken(s.ctx, s.r, err)
}

// Close is part of provider.Events.
func (s *stream) Close() {
	s.closing.Do(func() {
		if !s.complete {
			s.giveUp(context.Canceled) // closes the connection at once, which stops the model server
		}
		_ = s.resp.Body.Close()
		s.giveUp(nil)
		s.held.release()
		var judged error
		if fault.CodeOf(s.err) == fault.UpstreamUnavailable && !s.complete {
			judged = s.err
		}
		s.client.replicas.judge(s.r, s.status, judged, s.took)
		s.client.replicas.done(s.r)
		s.client.tidy()
	})
}
