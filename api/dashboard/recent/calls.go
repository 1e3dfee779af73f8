package recent

import (
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/fault"
)

const (
	// MaxCalls is the most calls that a ring remembers. With the longest texts they are 14 MB, and the figures 1 MB.
	MaxCalls = 20_000
	// maxMessage and maxPath bound the texts that are kept of a call, in bytes.
	maxMessage = 240
	maxPath    = 128
)

// Call is what is known of one call that was answered.
type Call struct {
	ID      string // of the request
	Route   string
	Path    string // that was called; it tells the dialect
	Job     string // that the call has placed; "" for none
	Message string // of the error, at most 240 bytes
	Code    fault.Code
	Began   time.Time
	// Took is the whole time. Queue, the part before the model server was asked, and Upstream are of a good call only;
	// Gather is the part of Queue in which a free slot waited for company.
	Took, Queue, Gather, Upstream time.Duration
	Batch                         int   // requests that shared the call to the model server; 0 = not known
	Status                        int   // over HTTP
	Asked, Sent                   int64 // bytes of both bodies; of an error, none are counted

	Turn uint64 // tells calls of one ring apart, and grows; the ring sets it
}

// Ended is when the call was answered.
func (c *Call) Ended() time.Time { return c.Began.Add(c.Took) }

// slot holds one call. Writers meet in a slot only when the whole ring has turned in between, so its lock is free.
type slot struct {
	mu   sync.Mutex
	turn uint64 // of the call; 0 = none yet
	call Call
}

// calls is the ring.
type calls struct {
	next  atomic.Uint64
	slots []slot
}

// add puts a call in, and the oldest out. It allocates nothing but shorter copies of long texts.
func (r *calls) add(c *Call) {
	if len(r.slots) == 0 {
		return
	}
	turn := r.next.Add(1)
	s := &r.slots[turn%uint64(len(r.slots))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn < turn {
		s.turn, s.call = turn, *c
		s.call.Turn = turn
	}
}

// newest yields the calls, the latest first. What is overwritten while it runs is left out.
func (r *calls) newest() iter.Seq[Call] {
	return func(yield func(Call) bool) {
		last := r.next.Load()
		for i := range min(last, uint64(len(r.slots))) {
			turn := last - i
			s := &r.slots[turn%uint64(len(r.slots))]
			s.mu.Lock()
			c, same := s.call, s.turn == turn
			s.mu.Unlock()
			if same && !yield(c) {
				return
			}
		}
	}
}

// short is at most so many bytes of a text, in memory of its own where it was cut.
func short(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
