package broker

import (
	"fmt"
	"time"

	"headrace/internal/inference"
)

// version is the first byte of every envelope. A worker returns messages of a version it does not know, so
// that a newer worker beside it can take them.
const version = 1

// parcelRef names bytes that their holder keeps until somebody has pulled them.
type parcelRef struct {
	holder string
	id     uint64
	size   int64
	digest uint32 // CRC-32C
}

func (w *writer) ref(p *parcelRef) {
	w.string(p.holder)
	w.uint(p.id)
	w.uint(uint64(p.size))
	w.uint(uint64(p.digest))
}

func (r *reader) ref() *parcelRef {
	p := &parcelRef{holder: r.string(), id: r.uint()}
	size := r.uint()
	if size > 1<<40 {
		r.fail(fmt.Errorf("parcel of %d bytes: %w", size, errTruncated))
	}
	p.size = int64(size & (1<<40 - 1))
	digest := r.uint()
	if digest > 1<<32-1 {
		r.fail(fmt.Errorf("digest %x: %w", digest, errTruncated))
	}
	p.digest = uint32(digest & (1<<32 - 1))
	return p
}

// envelope is a message of the sync lane: the request itself when it is small, else where to pull it from.
type envelope struct {
	frontEnd  string        // whose inbox gets the frames
	call      uint64        // the front end's number for the call
	remaining time.Duration // the caller's time left when it was published
	requestID string
	route     string
	kind      inference.Type
	parcel    *parcelRef // nil: the request follows inline
	request   [][]byte   // what writeRequest wrote, in segments; only when writing
	inline    []byte     // the same in one piece; only when reading
}

func (e *envelope) encode() []byte {
	var w writer
	w.tail = append(w.tail, version)
	w.string(e.frontEnd)
	w.uint(e.call)
	w.uint(uint64(max(e.remaining, 0) / time.Millisecond))
	w.string(e.requestID)
	w.string(e.route)
	w.string(string(e.kind))
	if e.parcel != nil {
		w.tail = append(w.tail, 1)
		w.ref(e.parcel)
		return w.tail
	}
	w.tail = append(w.tail, 0)
	return joined(w.tail, e.request)
}

func decodeEnvelope(data []byte) (*envelope, error) {
	r := reader{rest: data}
	if v := r.byte(); r.err == nil && v != version {
		return nil, fmt.Errorf("envelope version %d, this worker reads %d", v, version)
	}
	e := &envelope{frontEnd: r.string(), call: r.uint()}
	e.remaining = time.Duration(min(r.uint(), 1<<40)) * time.Millisecond
	e.requestID, e.route, e.kind = r.string(), r.string(), inference.Type(r.string())
	switch held := r.byte(); {
	case r.err != nil:
	case held == 1:
		e.parcel = r.ref()
		if err := r.done(); err != nil {
			return nil, fmt.Errorf("reading an envelope: %w", err)
		}
	case held == 0:
		e.inline = r.rest
	default:
		r.fail(fmt.Errorf("holding byte %d: %w", held, errTruncated))
	}
	if r.err != nil {
		return nil, fmt.Errorf("reading an envelope: %w", r.err)
	}
	if e.frontEnd == "" || e.route == "" {
		return nil, fmt.Errorf("reading an envelope: no front end or no route: %w", errTruncated)
	}
	return e, nil
}
