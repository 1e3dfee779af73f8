package broker

import (
	"maps"
	"sync"
	"time"

	"headrace/internal/job"
)

// JobCount names what is counted of a route's jobs.
type JobCount struct {
	Route string
	What  string // priority of an accepted job, outcome of an attempt
}

// jobCounts counts. Routes are configured, so their number is bounded.
type jobCounts struct {
	mu sync.Mutex
	n  map[JobCount]uint64
}

func (c *jobCounts) add(route, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[JobCount]uint64)
	}
	c.n[JobCount{route, what}]++
}

func (c *jobCounts) all() map[JobCount]uint64 {
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
func (s *jobStore) timed(operation string) func() {
	if s.timer == nil {
		return func() {}
	}
	began := time.Now()
	return func() { s.timer(operation, time.Since(began)) }
}

// TimeStore sets who is told how long the store takes. It must be called before Run.
func (j *Jobs) TimeStore(timer StoreTimer) { j.timer = timer }

// Accepted is how many jobs were accepted here, by route and priority.
func (j *Jobs) Accepted() map[JobCount]uint64 { return j.accepted.all() }

// TimeStore sets who is told how long the store takes. It must be called before Run.
func (w *WorkerEnd) TimeStore(timer StoreTimer) { w.timer = timer }

// JobAttempts is how many attempts at jobs have ended here, by route and outcome.
func (w *WorkerEnd) JobAttempts() map[JobCount]uint64 { return w.attempts.all() }

// JobInterruptions is how many jobs were taken over from workers that were lost, by route.
func (w *WorkerEnd) JobInterruptions() map[JobCount]uint64 { return w.interruptions.all() }

// JobLeasesLost is how many leases this worker has lost while it ran a job, by route.
func (w *WorkerEnd) JobLeasesLost() map[JobCount]uint64 { return w.leasesLost.all() }

// countEnd counts an attempt by its outcome.
func (w *WorkerEnd) countEnd(r *job.Record) {
	if n := len(r.Attempts); n > 0 {
		w.attempts.add(r.Route, r.Attempts[n-1].Outcome)
	}
}
