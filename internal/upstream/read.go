package upstream

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/provider"
)

// unreserved is how much of a reply of unknown length is read before the budget is used.
const unreserved = 1 << 20

// errTooLarge ends the reading of a reply over its limit.
var errTooLarge = errors.New("the reply is too large")

// errEncoding ends the reading of a reply in an unknown or wrong Content-Encoding.
var errEncoding = errors.New("the reply is compressed in an unknown or wrong way")

// errNoRoom ends the wait for room in the budget.
var errNoRoom = errors.New("no room for the reply")

// read reads a reply whole and closes it.
func (c *Client) read(ctx context.Context, r *replica, resp *http.Response, maxReply int64) (provider.Reply, func(), error) {
	defer func() { _ = resp.Body.Close() }()
	limit, setting := maxReply, "worker.max_reply"
	if c.cfg.Budget != nil && c.cfg.Budget.Limit() < limit {
		limit, setting = c.cfg.Budget.Limit(), "worker.max_inflight_bytes"
	}
	h := &held{budget: c.cfg.Budget}
	body, err := readBody(ctx, resp, limit, h)
	if err != nil {
		h.release()
		if errors.Is(err, errTooLarge) {
			err = fault.New(fault.UpstreamBadResponse, "the model server %s answered with more than %d bytes, the limit that %s sets; "+
				"raise it, or ask for less at a time", r.shown, limit, setting)
		}
		return provider.Reply{}, nil, broken(ctx, r, err)
	}
	reply := headOf(r, resp)
	reply.Body = body
	return reply, sync.OnceFunc(h.release), nil
}

// headOf is a reply without its body.
func headOf(r *replica, resp *http.Response) provider.Reply {
	return provider.Reply{
		Status:      resp.StatusCode,
		Reason:      strings.TrimSpace(strings.TrimPrefix(resp.Status, strconv.Itoa(resp.StatusCode))),
		ContentType: resp.Header.Get("Content-Type"),
		RetryAfter:  retryAfter(resp.Header.Get("Retry-After"), time.Now()),
		Server:      r.shown,
	}
}

// maxRetryAfter is the longest Retry-After that is trusted.
const maxRetryAfter = time.Hour

// retryAfter reads the header: a number of seconds or a date (RFC 9110, 10.2.3). A value that cannot be read counts as absent.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// held is what one reply has reserved.
type held struct {
	budget *budget.Bytes
	bytes  int64
}

func (h *held) reserve(ctx context.Context, n int64) error {
	if h.budget == nil {
		return nil
	}
	if err := h.budget.Reserve(ctx, n); err != nil {
		return errors.Join(errNoRoom, err)
	}
	h.bytes += n
	return nil
}

// shrink gives back what is beyond n.
func (h *held) shrink(n int64) {
	if over := h.bytes - n; over > 0 {
		h.bytes = n
		h.budget.Release(over)
	}
}

func (h *held) release() { h.shrink(0) }

func readBody(ctx context.Context, resp *http.Response, limit int64, h *held) ([]byte, error) {
	plain, known, err := decoded(resp)
	if err != nil {
		return nil, err
	}
	if !known {
		return readUnknown(ctx, plain, limit, h)
	}
	if resp.ContentLength > limit {
		return nil, errTooLarge
	}
	if err := h.reserve(ctx, resp.ContentLength); err != nil {
		return nil, err
	}
	body := make([]byte, resp.ContentLength)
	_, err = io.ReadFull(plain, body)
	return body, err
}

// readUnknown reads a reply whose length is not known: a little without a reservation, then with as much reserved as it may need
// at most. No reader waits for the budget while it holds a part of it, so readers cannot wait for each other for ever.
func readUnknown(ctx context.Context, in io.Reader, limit int64, h *held) ([]byte, error) {
	free := min(limit, unreserved)
	body, err := io.ReadAll(io.LimitReader(in, free+1))
	if err != nil || int64(len(body)) <= free {
		return body, err
	}
	if free == limit {
		return nil, errTooLarge
	}
	if err := h.reserve(ctx, limit); err != nil {
		return nil, err
	}
	in = io.LimitReader(in, limit-int64(len(body))+1)
	for {
		if len(body) == cap(body) {
			bigger := make([]byte, len(body), min(2*int64(cap(body)), limit+1))
			copy(bigger, body)
			body = bigger
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			h.shrink(int64(cap(body)))
			return body, nil
		case err != nil:
			return nil, err
		}
	}
}

// decoded undoes the Content-Encoding; known reports that the length is the announced one.
func decoded(resp *http.Response) (body io.Reader, known bool, err error) {
	encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	if !compressed(encoding) || resp.ContentLength == 0 {
		return resp.Body, resp.ContentLength >= 0, nil
	}
	d := &decoding{src: source{in: resp.Body}}
	switch encoding {
	case "gzip", "x-gzip":
		d.out, err = gzip.NewReader(&d.src)
	case "deflate":
		d.out, err = inflate(&d.src)
	default:
		return nil, false, errEncoding
	}
	if err != nil {
		return nil, false, d.blame(err)
	}
	return d, false, nil
}

// compressed recognises the codings of RFC 9110 and similar ones. Any other Content-Encoding, "utf-8" for example, is a mistake
// of the server and says nothing about the body.
func compressed(encoding string) bool {
	switch encoding {
	case "gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd":
		return true
	}
	return strings.Contains(encoding, ",") // one after the other
}

// inflate reads "deflate", which some servers take for a zlib stream and others for a raw one.
func inflate(in io.Reader) (io.Reader, error) {
	b := bufio.NewReader(in)
	head, err := b.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// decoding reads a compressed body and separates its own errors from those of the connection.
type decoding struct {
	src source
	out io.Reader
}

func (d *decoding) Read(p []byte) (int, error) {
	n, err := d.out.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.blame(err)
	}
	return n, err
}

// blame returns the connection's error when there was one; otherwise the compressed form is at fault.
func (d *decoding) blame(err error) error {
	if d.src.err != nil && !errors.Is(d.src.err, io.EOF) {
		return d.src.err
	}
	return errors.Join(errEncoding, err)
}

// source remembers how a body ended.
type source struct {
	in  io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	s.err = err
	return n, err
}

// broken says why a reply could not be read.
func broken(ctx context.Context, r *replica, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	switch {
	case errors.Is(err, errEncoding):
		return fault.Wrap(fault.UpstreamBadResponse, err,
			"the model server %s sent a reply whose Content-Encoding cannot be undone; gzip and deflate are understood", r.shown)
	case errors.Is(err, errNoRoom) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.Wrap(fault.QueueFull, err,
			"the model server answered, but there was no room for the reply in time: worker.max_inflight_bytes is used up; try again later")
	}
	return failed(ctx, r, err)
}
