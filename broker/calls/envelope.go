package calls

import (
	"fmt"
	"time"

	"headrace/broker/link"
	"headrace/internal/inference"
)

// version is the first byte of every envelope. A worker returns messages of a version it does not know, so
// that a newer worker beside it can take them.
const version = 1

// headerCaller is the header of a message that says whose request it is. It stands beside the envelope, so that workers
// that do not know it read the message as before.
const headerCaller = "Headrace-Caller"

// envelope is a message of the sync lane: the request itself when it is small, else where to pull it from.
type envelope struct {
	frontEnd  string        // whose inbox gets the frames
	call      uint64        // the front end's number for the call
	remaining time.Duration // the caller's time left when it was published
	requestID string
	route     string
	kind      inference.Type
	parcel    *link.ParcelRef // nil: the request follows inline
	request   [][]byte        // what writeRequest wrote, in segments; only when writing
	inline    []byte          // the same in one piece; only when reading
}

// encode returns the message. The request comes last and without a length, so that it is not copied twice.
func (e *envelope) encode() []byte {
	var w link.Writer
	w.Tail = append(w.Tail, version)
	w.String(e.frontEnd)
	w.Uint(e.call)
	w.Uint(uint64(max(e.remaining, 0) / time.Millisecond))
	w.String(e.requestID)
	w.String(e.route)
	w.String(string(e.kind))
	if e.parcel != nil {
		w.Tail = append(w.Tail, 1)
		w.Ref(e.parcel)
		return w.Tail
	}
	w.Tail = append(w.Tail, 0)
	return link.Joined(w.Tail, e.request)
}

// decodeEnvelope reads a message. What it returns refers to data. It returns an error for a version that this worker does not
// know, and for anything incomplete.
func decodeEnvelope(data []byte) (*envelope, error) {
	r := link.Reader{Rest: data}
	if v := r.Byte(); r.Err == nil && v != version {
		return nil, fmt.Errorf("envelope version %d, this worker reads %d", v, version)
	}
	e := &envelope{frontEnd: r.String(), call: r.Uint()}
	e.remaining = time.Duration(min(r.Uint(), 1<<40)) * time.Millisecond
	e.requestID, e.route, e.kind = r.String(), r.String(), inference.Type(r.String())
	switch held := r.Byte(); {
	case r.Err != nil:
	case held == 1:
		e.parcel = r.Ref()
		if err := r.Done(); err != nil {
			return nil, fmt.Errorf("reading an envelope: %w", err)
		}
	case held == 0:
		e.inline = r.Rest
	default:
		r.Fail(fmt.Errorf("holding byte %d: %w", held, link.ErrTruncated))
	}
	if r.Err != nil {
		return nil, fmt.Errorf("reading an envelope: %w", r.Err)
	}
	if e.frontEnd == "" || e.route == "" {
		return nil, fmt.Errorf("reading an envelope: no front end or no route: %w", link.ErrTruncated)
	}
	return e, nil
}
