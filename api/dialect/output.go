package dialect

import (
	"io"
	"strconv"

	"headrace/api/schema"
)

const (
	// Spliced is the size from which a raw value is written from where it lies instead of being copied, in bytes.
	Spliced = 4 << 10
	// pooled is the largest buffer that is kept for the next reply.
	pooled = 64 << 10
)

// Output collects a reply's body: glue and small values in its buffer, large values as they lie.
// The zero value is ready.
type Output struct {
	buf   []byte
	mark  int      // buf[mark:] is not in parts yet
	parts [][]byte // earlier parts, in order
	size  int      // bytes in parts
}

func (o *Output) text(s string) { o.buf = append(o.buf, s...) }

func (o *Output) number(n int64) { o.buf = strconv.AppendInt(o.buf, n, 10) }

func (o *Output) quoted(s string) { o.buf = schema.AppendString(o.buf, s) }

// raw adds a value. A large one must stay unchanged until the output was written.
func (o *Output) raw(b []byte) {
	if len(b) < Spliced {
		o.buf = append(o.buf, b...)
		return
	}
	o.flush()
	o.parts = append(o.parts, b)
	o.size += len(b)
}

func (o *Output) flush() {
	if part := o.buf[o.mark:]; len(part) > 0 {
		o.parts = append(o.parts, part)
		o.size += len(part)
		o.mark = len(o.buf)
	}
}

// Len is the number of bytes that WriteTo will write.
func (o *Output) Len() int { return o.size + len(o.buf) - o.mark }

// WriteTo writes the whole reply; it can be written again until Reset.
func (o *Output) WriteTo(w io.Writer) (int64, error) {
	o.flush()
	var written int64
	for _, part := range o.parts {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Reset empties the output for another reply and lets go of what it held.
func (o *Output) Reset() {
	clear(o.parts)
	o.parts, o.buf, o.mark, o.size = o.parts[:0], o.buf[:0], 0, 0
	if cap(o.buf) > pooled {
		o.buf = nil
	}
}
