package calls

import (
	"sync"
	"time"

	"headrace/broker/link"
	"headrace/broker/waiting"
	"headrace/internal/flow"
	"headrace/internal/inference"
)

// callState is where a call of this front end stands. It moves forward only:
//
//	state      a claim                 an outcome    the caller leaves
//	withdrawn  refused                 ignored       (it has left)
//	waiting    granted: claimed        ended         withdrawn
//	claimed    granted to its holder   ended         withdrawn
//	ended      refused                 ignored       withdrawn
type callState int

const (
	callWaiting   callState = iota // published, no worker has claimed it
	callClaimed                    // a worker runs it
	callEnded                      // its outcome is known, and its caller has not taken it yet
	callWithdrawn                  // the caller has gone; kept until its publish is acknowledged, to delete the message
)

// outcome ends a call. Exactly one of result, offer and err is set.
type outcome struct {
	result *inference.Result // its bytes are in a budget
	offer  *link.ParcelRef
	err    error
}

// call is one synchronous request on its way. Its fields below mu are guarded by it.
type call struct {
	id       uint64
	route    *inference.Route
	caller   string
	lane     link.Lane
	size     int64
	deadline time.Time // of the caller
	began    time.Time
	outcome  chan outcome  // capacity 1: the first outcome counts
	again    chan struct{} // capacity 1: the publish got lost or the hand-over failed: publish it
	streams  bool          // its caller takes the answer in pieces
	handed   bool          // given to a slot of this process and never published; owned by Call's goroutine

	mu        sync.Mutex
	state     callState
	worker    string // that claimed it; "" = none did, so the call has not run
	claimedAt time.Time
	published time.Time      // when last
	sequence  uint64         // of the message in its stream; 0 until the publish is acknowledged
	flow      *flow.In       // of the answer that comes in pieces; nil: none does
	missing   int            // how often in a row the worker said that it does not hold the call
	place     *waiting.Place // among the waiting; nil once given back
}

// settle gives the place among the waiting back, once. It must be called with mu held.
func (c *call) settle() {
	if c.place != nil {
		c.place.Leave()
		c.place = nil
	}
}

// queue notes that the call is about to wait in the work queue.
func (c *call) queue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = time.Now()
	if c.place != nil {
		c.place.Queue()
	}
}

// end offers an outcome. Only the first one counts, and none after the caller has gone: its bytes would never be given
// back. From then on no claim is granted: another copy of the message may still be on its way to a worker.
func (c *call) end(o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case callWaiting, callClaimed:
		c.state = callEnded
		c.outcome <- o // there is room: this is the first
	case callEnded, callWithdrawn:
		o.result.Release()
		if c.flow != nil && o.err != nil { // what its worker says after the beginning, or why nothing more will come
			c.flow.Fail(o.err)
		}
	}
}

// claim takes the call for worker, and says how much time is left. Only one worker gets it; while it runs the same one may
// ask again, because an answer can be lost with a connection.
func (c *call) claim(worker string, now time.Time) (left time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state == callWaiting:
		c.state, c.worker, c.claimedAt = callClaimed, worker, now
		c.settle()
	case c.state == callClaimed && c.worker == worker:
	default:
		return 0, false
	}
	left = c.deadline.Sub(now)
	return left, left > 0
}

// holder is the worker that claimed the call; "" when none did.
func (c *call) holder() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.worker
}

// lostAfter is how many pings in a row a worker may not know a call that it claimed: its answer may be on
// its way when the first one arrives.
const lostAfter = 2

// unknown counts one more ping at which its worker did not hold the call, and reports when that is enough.
func (c *call) unknown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing++
	return c.missing >= lostAfter
}

// callTable is every call that waits for frames. It is sharded because each frame looks one up.
type callTable [32]struct {
	mu    sync.Mutex
	calls map[uint64]*call
}

// newCallTable returns an empty table.
func newCallTable() *callTable {
	t := new(callTable)
	for i := range t {
		t[i].calls = make(map[uint64]*call)
	}
	return t
}

// put adds a call, which stays until remove.
func (t *callTable) put(c *call) {
	s := &t[c.id%uint64(len(t))]
	s.mu.Lock()
	s.calls[c.id] = c
	s.mu.Unlock()
}

// get returns a call; nil when its caller has its outcome and nothing is left to clean up.
func (t *callTable) get(id uint64) *call {
	s := &t[id%uint64(len(t))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

// remove forgets a call: frames that still come for it are ignored.
func (t *callTable) remove(id uint64) {
	s := &t[id%uint64(len(t))]
	s.mu.Lock()
	delete(s.calls, id)
	s.mu.Unlock()
}

// all copies the calls of this moment.
func (t *callTable) all() []*call {
	var all []*call
	for i := range t {
		t[i].mu.Lock()
		for _, c := range t[i].calls {
			all = append(all, c)
		}
		t[i].mu.Unlock()
	}
	return all
}
