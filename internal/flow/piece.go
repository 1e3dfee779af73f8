package flow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"headrace/internal/inference"
)

// A stream's bytes are pieces one after the other, each with its length in front. Chunks cut them anywhere. A piece is its kind,
// its choice, a bit for each value that is there, the index of its call where it has one, and the values.

// values are those of a piece in the order of their bits.
func values(e *inference.Event) []*[]byte {
	all := []*[]byte{&e.Text, &e.Finish, &e.Usage, &e.Raw}
	if e.Call != nil {
		all = append(all, &e.Call.ID, &e.Call.Name, &e.Call.Arguments)
	}
	return all
}

// hasCall is the bit of a piece that has the call of a tool; those below it are of its values.
const hasCall = 1 << 7

// appendPiece writes a piece with its length.
func appendPiece(dst []byte, e *inference.Event) []byte {
	size, bits := 0, byte(0)
	for i, v := range values(e) {
		if *v != nil {
			bits |= 1 << i
			size += len(*v) + binary.MaxVarintLen32
		}
	}
	piece := append(make([]byte, 0, size+2*binary.MaxVarintLen64), byte(e.Kind))
	piece = binary.AppendUvarint(piece, uint64(max(e.Choice, 0)))
	if e.Call == nil {
		piece = append(piece, bits)
	} else {
		piece = binary.AppendUvarint(append(piece, bits|hasCall), uint64(max(e.Call.Index, 0)))
	}
	for _, v := range values(e) {
		if *v != nil {
			piece = append(binary.AppendUvarint(piece, uint64(len(*v))), *v...)
		}
	}
	return append(binary.AppendUvarint(dst, uint64(len(piece))), piece...)
}

var errPiece = errors.New("reading a piece of a stream")

// readPiece reads a piece without its length. It refers to data.
func readPiece(data []byte) (*inference.Event, error) {
	r := cursor{rest: data}
	e := &inference.Event{Kind: inference.EventKind(r.number(uint64(inference.EventRaw)))}
	e.Choice = r.number(maxIndex)
	bits := r.byte()
	if bits&hasCall != 0 {
		e.Call = &inference.ToolCall{Index: r.number(maxIndex)}
	}
	for i, v := range values(e) {
		if bits&(1<<i) != 0 {
			*v = r.take(r.number(uint64(len(r.rest))))
		}
	}
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w of %d bytes", errPiece, len(data))
	}
	return e, nil
}

// maxIndex bounds choices and calls.
const maxIndex = 1 << 24

// cursor reads numbers and bytes; after a mistake it gives nothing.
type cursor struct {
	rest []byte
	bad  bool
}

// number reads one of most at most.
func (c *cursor) number(most uint64) int {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 || v > most {
		c.bad, c.rest = true, nil
		return 0
	}
	c.rest = c.rest[n:]
	return int(v)
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) take(n int) []byte {
	if n > len(c.rest) {
		c.bad, c.rest = true, nil
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}
