package api

import (
	"io"
	"strconv"

	"headrace/api/schema"
)

const (
	// spliced is the size from which a raw value is written from where it lies instead of copied.
	spliced = 4 << 10
	// pooled is the largest buffer that is kept for the next reply.
	pooled = 64 << 10
)

// output collects a reply's body: glue and small values in its buffer, large values as they lie.
type output struct {
	buf   []byte
	mark  int      // buf[mark:] is not in parts yet
	parts [][]byte // earlier parts, in order
	size  int      // bytes in parts
}

func (o *output) text(s string) { o.buf = append(o.buf, s...) }

func (o *output) number(n int64) { o.buf = strconv.AppendInt(o.buf, n, 10) }

func (o *output) quoted(s string) { o.buf = schema.AppendString(o.buf, s) }

// raw adds a value. A large one must stay unchanged until the output was written.
func (o *output) raw(b []byte) {
	if len(b) < spliced {
		o.buf = append(o.buf, b...)
		return
	}
	o.flush()
	o.parts = append(o.parts, b)
	o.size += len(b)
}

func (o *output) flush() {
	if part := o.buf[o.mark:]; len(part) > 0 {
		o.parts = append(o.parts, part)
		o.size += len(part)
		o.mark = len(o.buf)
	}
}

// length is the number of bytes that writeTo will write.
func (o *output) length() int { return o.size + len(o.buf) - o.mark }

func (o *output) writeTo(w io.Writer) error {
	o.flush()
	for _, part := range o.parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// reset empties the output for another reply and lets go of what it held.
func (o *output) reset() {
	clear(o.parts)
	o.parts, o.buf, o.mark, o.size = o.parts[:0], o.buf[:0], 0, 0
	if cap(o.buf) > pooled {
		o.buf = nil
	}
}
