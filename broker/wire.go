package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"headrace/internal/inference"
)

// errTruncated reports bytes that end too early or lie about a length.
var errTruncated = errors.New("truncated message")

// maxParts bounds how many items one message may announce, so that a broken length cannot make us allocate.
const maxParts = 1 << 24

// writer builds a message out of segments. Long byte slices are kept by reference, so a body of many
// megabytes is not copied before it has to be.
type writer struct {
	segments [][]byte
	tail     []byte
	size     int64
}

// copyBelow is the length up to which copying a slice is cheaper than keeping one more segment.
const copyBelow = 4 << 10

func (w *writer) uint(n uint64) { w.tail = binary.AppendUvarint(w.tail, n) }

func (w *writer) bytes(b []byte) {
	w.uint(uint64(len(b)))
	if len(b) <= copyBelow {
		w.tail = append(w.tail, b...)
		return
	}
	w.flush()
	w.segments = append(w.segments, b)
	w.size += int64(len(b))
}

func (w *writer) string(s string) {
	w.uint(uint64(len(s)))
	w.tail = append(w.tail, s...)
}

func (w *writer) flush() {
	if len(w.tail) > 0 {
		w.segments = append(w.segments, w.tail)
		w.size += int64(len(w.tail))
		w.tail = nil
	}
}

// finish ends the message and gives its segments and their length together.
func (w *writer) finish() ([][]byte, int64) {
	w.flush()
	return w.segments, w.size
}

// joined appends all segments to dst.
func joined(dst []byte, segments [][]byte) []byte {
	for _, s := range segments {
		dst = append(dst, s...)
	}
	return dst
}

// reader takes a message apart. The first mistake sticks; everything read after it is zero. The slices it
// returns alias the message.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.rest = err, nil
	}
}

func (r *reader) uint() uint64 {
	n, k := binary.Uvarint(r.rest)
	if k <= 0 {
		r.fail(errTruncated)
		return 0
	}
	r.rest = r.rest[k:]
	return n
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail(errTruncated)
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// duration reads what writer.uint(uint64(d)) wrote; negative values cannot be written.
func (r *reader) duration() time.Duration {
	n := r.uint()
	if n > uint64(1<<62) {
		r.fail(fmt.Errorf("duration %d: %w", n, errTruncated))
		return 0
	}
	return time.Duration(n)
}

// bytes is nil for an empty slice.
func (r *reader) bytes() []byte {
	n := r.uint()
	if r.err != nil || n == 0 {
		return nil
	}
	if n > uint64(len(r.rest)) {
		r.fail(errTruncated)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) string() string { return string(r.bytes()) }

// count reads the number of parts that follow, each of at least one byte.
func (r *reader) count() int {
	n := r.uint()
	if r.err == nil && (n > maxParts || n > uint64(len(r.rest))) {
		r.fail(fmt.Errorf("%d parts announced: %w", n, errTruncated))
		return 0
	}
	return int(n)
}

func (r *reader) done() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Errorf("%d bytes too many", len(r.rest)))
	}
	return r.err
}

// writeRequest appends what differs from call to call; id and route travel in the envelope.
func writeRequest(w *writer, req *inference.Request) {
	w.bytes(req.Params)
	w.bytes(req.Body)
	w.uint(uint64(len(req.Items)))
	for _, item := range req.Items {
		w.bytes(item)
	}
}

// readRequest fills the parts that writeRequest wrote.
func readRequest(data []byte, req *inference.Request) error {
	r := reader{rest: data}
	req.Params = r.bytes()
	req.Body = r.bytes()
	req.Items = r.items()
	return r.done()
}

// items reads a list of byte strings; nil when it is empty.
func (r *reader) items() [][]byte {
	n := r.count()
	if r.err != nil || n == 0 {
		return nil
	}
	items := make([][]byte, n)
	for i := range items {
		items[i] = r.bytes()
	}
	return items
}

func writeResult(w *writer, res *inference.Result) {
	w.uint(uint64(max(res.Upstream, 0)))
	w.uint(uint64(len(res.Groups)))
	for _, g := range res.Groups {
		w.uint(uint64(max(g, 0)))
	}
	w.bytes(res.Body)
	w.uint(uint64(len(res.Items)))
	for _, item := range res.Items {
		w.bytes(item)
	}
}

func readResult(data []byte) (*inference.Result, error) {
	r := reader{rest: data}
	res := &inference.Result{Upstream: r.duration()}
	if n := r.count(); r.err == nil && n > 0 {
		res.Groups = make([]int, n)
		for i := range res.Groups {
			res.Groups[i] = int(min(r.uint(), maxParts))
		}
	}
	res.Body = r.bytes()
	res.Items = r.items()
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	return res, nil
}
