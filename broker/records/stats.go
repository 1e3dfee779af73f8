package records

import (
	"maps"
	"sync"
	"time"
)

// Count names what is counted of a route's jobs.
type Count struct {
	Route string
	What  string // priority of an accepted job, outcome of an attempt
}

// Counts counts. Routes are configured, so their number is bounded.
type Counts struct {
	mu sync.Mutex
	n  map[Count]uint64
}

func (c *Counts) Add(route, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[Count]uint64)
	}
	c.n[Count{route, what}]++
}

func (c *Counts) All() map[Count]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// StoreTimer is told how long each use of the jobs' store took, failed ones too. It may be called concurrently.
type StoreTimer func(operation string, took time.Duration)

// Operations of the store that a StoreTimer is told of.
const (
	storeRead    = "read"    // a record
	storeWrite   = "write"   // a record, on a condition
	storeEnqueue = "enqueue" // a place in a work queue
	storeBody    = "body"    // an input or a result that does not fit into its record, written or read
)

// timed is to be deferred: defer s.timed(operation)().
func (s *Store) timed(operation string) func() {
	if s.timer == nil {
		return func() {}
	}
	began := time.Now()
	return func() { s.timer(operation, time.Since(began)) }
}
