package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"headrace/internal/inference"
)

// ParcelRef names the bytes of a parcel, which their holder keeps until the receiver has pulled them.
type ParcelRef struct {
	Holder string
	ID     uint64
	Size   int64
	Digest uint32 // CRC-32C
}

// Ref appends a parcel's name.
func (w *Writer) Ref(p *ParcelRef) {
	w.String(p.Holder)
	w.Uint(p.ID)
	w.Uint(uint64(p.Size))
	w.Uint(uint64(p.Digest))
}

// Ref reads a parcel's name.
func (r *Reader) Ref() *ParcelRef {
	p := &ParcelRef{Holder: r.String(), ID: r.Uint()}
	size := r.Uint()
	if size > 1<<40 {
		r.Fail(fmt.Errorf("parcel of %d bytes: %w", size, ErrTruncated))
	}
	p.Size = int64(size & (1<<40 - 1))
	digest := r.Uint()
	if digest > 1<<32-1 {
		r.Fail(fmt.Errorf("digest %x: %w", digest, ErrTruncated))
	}
	p.Digest = uint32(digest & (1<<32 - 1))
	return p
}

// Calls reads a list of call numbers; nil after a mistake.
func (r *Reader) Calls() []uint64 {
	n := r.count()
	calls := make([]uint64, 0, n)
	for range n {
		calls = append(calls, r.Uint())
	}
	if r.Err != nil {
		return nil
	}
	return calls
}

// ErrTruncated reports bytes that end too early or lie about a length.
var ErrTruncated = errors.New("truncated message")

// MaxParts bounds how many items one message may announce, so that a damaged length cannot make a reader allocate much.
const MaxParts = 1 << 24

// Writer builds a message out of segments. It keeps long byte slices by reference, so that a body of many megabytes is
// not copied before it has to be: the caller must not change them until the message was sent.
type Writer struct {
	segments [][]byte
	Tail     []byte // what was appended since the last segment
	size     int64
}

// copyBelow is the length up to which copying a slice is cheaper than keeping one more segment.
const copyBelow = 4 << 10

// Uint appends a number in one to ten bytes.
func (w *Writer) Uint(n uint64) { w.Tail = binary.AppendUvarint(w.Tail, n) }

// Bytes appends a length and b.
func (w *Writer) Bytes(b []byte) {
	w.Uint(uint64(len(b)))
	if len(b) <= copyBelow {
		w.Tail = append(w.Tail, b...)
		return
	}
	w.flush()
	w.segments = append(w.segments, b)
	w.size += int64(len(b))
}

func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.Tail = append(w.Tail, s...)
}

func (w *Writer) flush() {
	if len(w.Tail) > 0 {
		w.segments = append(w.segments, w.Tail)
		w.size += int64(len(w.Tail))
		w.Tail = nil
	}
}

// Finish ends the message and returns its segments and the sum of their lengths in bytes.
func (w *Writer) Finish() ([][]byte, int64) {
	w.flush()
	return w.segments, w.size
}

// Joined appends all segments to dst.
func Joined(dst []byte, segments [][]byte) []byte {
	for _, s := range segments {
		dst = append(dst, s...)
	}
	return dst
}

// Reader reads a message that a Writer built. The first mistake stays in Err, and everything read after it is zero. The
// slices it returns alias the message.
type Reader struct {
	Rest []byte // not read yet
	Err  error  // the first mistake
}

// Fail records the first mistake; later ones are ignored.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err, r.Rest = err, nil
	}
}

// Uint reads a number.
func (r *Reader) Uint() uint64 {
	n, k := binary.Uvarint(r.Rest)
	if k <= 0 {
		r.Fail(ErrTruncated)
		return 0
	}
	r.Rest = r.Rest[k:]
	return n
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.Rest) == 0 {
		r.Fail(ErrTruncated)
		return 0
	}
	b := r.Rest[0]
	r.Rest = r.Rest[1:]
	return b
}

// duration reads what Writer.Uint(uint64(d)) wrote; a negative duration cannot be written.
func (r *Reader) duration() time.Duration {
	n := r.Uint()
	if n > uint64(1<<62) {
		r.Fail(fmt.Errorf("duration %d: %w", n, ErrTruncated))
		return 0
	}
	return time.Duration(n)
}

// Bytes reads a length and as many bytes; nil when there are none.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if r.Err != nil || n == 0 {
		return nil
	}
	if n > uint64(len(r.Rest)) {
		r.Fail(ErrTruncated)
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

func (r *Reader) String() string { return string(r.Bytes()) }

// count reads the number of parts that follow, each of at least one byte.
func (r *Reader) count() int {
	n := r.Uint()
	if r.Err == nil && (n > MaxParts || n > uint64(len(r.Rest))) {
		r.Fail(fmt.Errorf("%d parts announced: %w", n, ErrTruncated))
		return 0
	}
	return int(n)
}

// Done returns the first mistake, or an error when bytes are left over.
func (r *Reader) Done() error {
	if r.Err == nil && len(r.Rest) > 0 {
		r.Fail(fmt.Errorf("%d bytes too many", len(r.Rest)))
	}
	return r.Err
}

// WriteRequest appends the parts of a request that differ from call to call; the envelope carries its id and route.
func WriteRequest(w *Writer, req *inference.Request) {
	w.Bytes(req.Params)
	w.Bytes(req.Body)
	w.Uint(uint64(len(req.Items)))
	for _, item := range req.Items {
		w.Bytes(item)
	}
}

// ReadRequest reads the parts that WriteRequest wrote into req.
func ReadRequest(data []byte, req *inference.Request) error {
	r := Reader{Rest: data}
	req.Params = r.Bytes()
	req.Body = r.Bytes()
	req.Items = r.items()
	return r.Done()
}

// items reads a list of byte strings; nil when it is empty.
func (r *Reader) items() [][]byte {
	n := r.count()
	if r.Err != nil || n == 0 {
		return nil
	}
	items := make([][]byte, n)
	for i := range items {
		items[i] = r.Bytes()
	}
	return items
}

// WriteResult appends a result.
func WriteResult(w *Writer, res *inference.Result) {
	w.Uint(uint64(max(res.Upstream, 0)))
	w.Uint(uint64(len(res.Groups)))
	for _, g := range res.Groups {
		w.Uint(uint64(max(g, 0)))
	}
	w.Bytes(res.Body)
	w.Uint(uint64(len(res.Items)))
	for _, item := range res.Items {
		w.Bytes(item)
	}
	if res.Batch > 1 || res.Gather > 0 || len(res.Dropped) > 0 { // else they are left out, as in results that older versions have stored
		w.Uint(uint64(max(res.Gather, 0)))
		w.Uint(uint64(max(res.Batch, 0)))
	}
	for _, name := range res.Dropped { // as many as there are; older versions have none
		w.String(name)
	}
}

// ReadResult reads what WriteResult wrote.
func ReadResult(data []byte) (*inference.Result, error) {
	r := Reader{Rest: data}
	res := &inference.Result{Upstream: r.duration()}
	if n := r.count(); r.Err == nil && n > 0 {
		res.Groups = make([]int, n)
		for i := range res.Groups {
			res.Groups[i] = int(min(r.Uint(), MaxParts))
		}
	}
	res.Body = r.Bytes()
	res.Items = r.items()
	if len(r.Rest) > 0 {
		res.Gather, res.Batch = r.duration(), int(min(r.Uint(), MaxParts))
	}
	for len(r.Rest) > 0 && r.Err == nil {
		res.Dropped = append(res.Dropped, r.String())
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	if res.Batch == 1 && res.Gather == 0 && len(res.Dropped) == 0 {
		res.Batch = 0 // a call that was shared with none, which WriteResult does not say
	}
	return res, nil
}
