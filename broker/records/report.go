package records

import (
	"time"

	"headrace/internal/job"
)

const (
	// SubjectQueuesAsk requests a report at once.
	SubjectQueuesAsk = "hr.job.queues.ask"
)

const (
	// SubjectQueues is where the sweeper reports what waits.
	SubjectQueues = "hr.job.queues"
	// QueuesEvery is the interval of reports.
	QueuesEvery = 500 * time.Millisecond
	// QueuesStale is the age from which a report counts as unknown.
	QueuesStale = 5 * time.Second
)

// Report is what a sweeper reports of all queues. A long one is sent in parts: see Messages and Reports.
type Report struct {
	From   string       `json:"from,omitempty"`   // the sweeper
	Number uint64       `json:"number,omitempty"` // of the report, growing
	Part   int          `json:"part,omitempty"`   // 0 is the first
	Parts  int          `json:"parts,omitempty"`  // 0 is 1
	Lanes  []LaneReport `json:"lanes"`
	Paused []string     `json:"paused,omitempty"` // routes
	Full   string       `json:"full,omitempty"`   // why the disk takes no more jobs
	Wake   []Lane       `json:"wake,omitempty"`   // lanes that workers should pull from although nothing is queued
	// Counting says that the sweeper is still reading the records: more jobs may wait than Lanes say.
	Counting bool `json:"counting,omitempty"`
}

// LaneReport is what waits in one lane.
type LaneReport struct {
	Route    string       `json:"route"`
	Priority job.Priority `json:"priority"`
	Waiting  int          `json:"waiting"`
	Queued   int          `json:"queued,omitempty"` // of these, that are in the work queue
	Running  int          `json:"running,omitempty"`
	Measured bool         `json:"measured,omitempty"` // what follows is known
	// Oldest is when the next job was queued, in unix milliseconds; 0 = not known.
	Oldest    int64   `json:"oldest,omitempty"`
	Delivered uint64  `json:"delivered,omitempty"` // number in the stream up to which workers have been given jobs
	Rate      float64 `json:"rate,omitempty"`      // of starts a second
}
