package api

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// firstStep is how much is reserved first for a body of unknown length; each further step doubles it.
const firstStep = 64 << 10

// held is a body and what is reserved for it.
type held struct {
	bytes    []byte
	reserved int64
	began    time.Time // when the reading began
}

// receive lets a request in and reads its body, within the time that its caller gives it, at most for most. done gives
// back what the body has reserved and lets the request out of the gate; it is never nil and is to be called at the end of
// the request, also after an error.
func (c *chassis) receive(w http.ResponseWriter, r *http.Request, most time.Duration) (body held, done func(), err error) {
	if !c.gate.enter() {
		w.Header().Set("Connection", "close")
		return held{}, func() {}, errShutdown()
	}
	began := time.Now()
	wait, err := patience(r, most)
	if err == nil {
		body, err = c.readBody(w, r, began.Add(wait))
	}
	body.began = began
	return body, func() {
		c.release(body)
		c.gate.leave()
	}, err
}

// readBody reads a whole body within the budget, and until the deadline. What the returned body has reserved
// is given back by s.release, also after an error.
func (c *chassis) readBody(w http.ResponseWriter, r *http.Request, deadline time.Time) (held, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return held{}, nil
	}
	if r.ContentLength > c.cfg.MaxBody {
		w.Header().Set("Connection", "close")
		return held{}, c.tooLarge()
	}
	if problem.VoiceOf(r.URL.Path) != problem.MLflow { // MLflow's gateway takes every body as it comes
		if err := decompress(r, c.cfg.MaxBody); err != nil {
			w.Header().Set("Connection", "close")
			w.Header().Set("Accept-Encoding", "gzip")
			return held{}, err
		}
	}
	// Only connections have deadlines, test recorders do not: errors tell nothing else.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(deadline)
	read := c.readUnknown
	if r.ContentLength > 0 {
		read = c.readKnown
	}
	h, err := read(r)
	if err != nil {
		// What is left of the body is not waited for.
		w.Header().Set("Connection", "close")
		_ = control.SetReadDeadline(time.Now())
		return h, err
	}
	// The connection is watched for the caller's leaving from here on; that does not end at the deadline.
	_ = control.SetReadDeadline(time.Time{})
	return h, nil
}

func (c *chassis) release(h held) { c.budget.Release(h.reserved) }

func (c *chassis) readKnown(r *http.Request) (held, error) {
	if !c.budget.TryReserve(r.ContentLength) {
		return held{}, c.noRoom()
	}
	h := held{bytes: make([]byte, r.ContentLength), reserved: r.ContentLength}
	if _, err := io.ReadFull(r.Body, h.bytes); err != nil {
		return h, cutShort(err)
	}
	return h, nil
}

func (c *chassis) readUnknown(r *http.Request) (held, error) {
	var h held
	for step := int64(firstStep); ; step *= 2 {
		step = min(step, c.cfg.MaxBody+1-h.reserved) // one more, to see that there is more
		if step <= 0 {
			return h, c.tooLarge()
		}
		if !c.budget.TryReserve(step) {
			return h, c.noRoom()
		}
		h.reserved += step
		grown := make([]byte, h.reserved)
		filled := copy(grown, h.bytes)
		n, err := io.ReadFull(r.Body, grown[filled:])
		h.bytes = grown[:filled+n]
		switch {
		case int64(len(h.bytes)) > c.cfg.MaxBody:
			return h, c.tooLarge()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && n < len(grown)-filled && complete(r):
			return h, nil
		case err != nil:
			return h, cutShort(err)
		}
	}
}

// complete tells that a body of unknown length has really ended, and not with its connection.
func complete(r *http.Request) bool {
	n, err := r.Body.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

func (c *chassis) tooLarge() error {
	return fault.New(fault.TooLarge, "the body is larger than %d bytes, the most this gateway takes (max_body)", c.cfg.MaxBody)
}

func (c *chassis) noRoom() error {
	return fault.New(fault.QueueFull, "the memory for request bodies is full (api.max_inflight_bytes); try again")
}

// cutShort says why a body did not come.
func cutShort(err error) error {
	if errors.Is(err, errNotGzip) {
		return fault.Wrap(fault.Invalid, err, "the header Content-Encoding says gzip, but the body is not a complete gzip stream")
	}
	if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fault.Wrap(fault.TooLarge, err, "the body is larger than %d bytes even compressed, the most this gateway takes (max_body)", over.Limit)
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Wrap(fault.Deadline, err, "the body did not arrive within the time of the call")
	}
	return fault.Wrap(fault.Invalid, err, "the body ended before its announced length")
}
