package records

import (
	"maps"
	"sync"
	"time"
)

// Count is the key of one counter of a route's jobs.
type Count struct {
	Route string
	What  string // priority of an accepted job, outcome of an attempt
}

// Counts counts by route and reason. Routes are configured, so their number is bounded. It is safe for concurrent use.
type Counts struct {
	mu sync.Mutex
	n  map[Count]uint64
}

// Add counts one.
func (c *Counts) Add(route, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[Count]uint64)
	}
	c.n[Count{route, what}]++
}

// All returns a copy of all counters.
func (c *Counts) All() map[Count]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// StoreTimer gets how long each use of the jobs' store took, failed ones included. It may be called concurrently.
type StoreTimer func(operation string, took time.Duration)

// The operations that a StoreTimer gets.
const (
	storeRead    = "read"    // a record
	storeWrite   = "write"   // a record, on a condition
	storeEnqueue = "enqueue" // a place in a work queue
	storeBody    = "body"    // an input or a result that does not fit into its record, written or read
)

// timed measures an operation: defer s.timed(operation)().
func (s *Store) timed(operation string) func() {
	if s.timer == nil {
		return func() {}
	}
	began := time.Now()
	return func() { s.timer(operation, time.Since(began)) }
}
