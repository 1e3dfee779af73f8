package batch

import (
	"math/bits"
	"time"
)

// Kind says which lane an item came from.
type Kind uint8

// The kinds. A caller waits for a Call; a Job waits by itself.
const (
	Call Kind = iota
	Job
)

// Key says what may share a call. Rows is provider.Rows.Key: form of request, parameters, columns and kinds of values.
type Key struct{ Route, Rows string }

// Item is one request that waits, or one part of a long one.
type Item struct {
	ID   uint64 // the caller's own; this package only hands it back
	Key  Key
	Solo bool // it must not share a call: chat, a poisoned request, a route whose proof failed
	Kind Kind
	// Caller is who is served fairly: an address or a key.
	Caller string
	Rows   int   // at least 1
	Length int   // bytes of the longest row
	Bytes  int64 // of all rows
	// Arrival orders items. Deadline is when the answer must be there; zero: never.
	Arrival, Deadline time.Time
}

// Load is what one call asks of a model server: so many rows, all padded to the longest.
type Load struct{ Rows, Length int }

// with is the load with one more item in the call.
func (l Load) with(it Item) Load { return Load{l.Rows + it.Rows, max(l.Length, it.Length)} }

const (
	classes = 16 // of lengths, by powers of two; the last is everything from 16 KiB
	steps   = 13 // of sizes: 1, 2, 4, ... 4,096 rows
)

// classOf sorts a length: lengths of one class differ by less than a factor of two.
func classOf(length int) int { return min(bits.Len(uint(max(length, 0))), classes-1) }

// stepOf is the step nearest to a number of rows, in proportion: 5 is nearer to 4, 6 to 8.
func stepOf(rows int) int {
	s := bits.Len(uint(max(rows, 1))) - 1
	if low := 1 << s; rows*rows > 2*low*low {
		s++
	}
	return min(s, steps-1)
}
