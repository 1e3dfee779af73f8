package records

import (
	"encoding/json"
	"fmt"
	"time"

	"headrace/internal/job"
)

const (
	// SubjectQueuesAsk requests a report at once.
	SubjectQueuesAsk = "hr.job.queues.ask"
	// SubjectQueues is where the sweeper reports what waits.
	SubjectQueues = "hr.job.queues"
	// QueuesEvery is the interval of reports.
	QueuesEvery = 500 * time.Millisecond
	// QueuesStale is the age from which a report counts as unknown.
	QueuesStale = 5 * time.Second
)

const (
	// reportPart is how long one message of a report may be, in bytes: far less than any server takes.
	reportPart = 128 << 10
	// laneText is how long a lane is in a report, without its route; itemText is the same for what has fewer fields.
	laneText, itemText = 320, 64
	// letterText is how many bytes one byte of a name may take in JSON.
	letterText = 6
	// maxReportParts and maxReporters bound what a reader keeps of reports that are not whole yet.
	maxReportParts, maxReporters = 4096, 16
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

// Messages gives the messages that tell the report, in the order in which they are to be sent. None is longer than 128 KiB,
// but for a report whose Full is.
func (r *Report) Messages() ([][]byte, error) {
	var parts []*Report
	room := 0
	put := func(name string, fixed int) *Report {
		size := fixed + letterText*len(name)
		if len(parts) == 0 || room < size {
			part := &Report{From: r.From, Number: r.Number, Part: len(parts), Full: r.Full, Counting: r.Counting}
			parts = append(parts, part)
			room = reportPart - laneText - letterText*(len(r.From)+len(r.Full))
		}
		room -= size
		return parts[len(parts)-1]
	}
	put("", 0)
	for _, lane := range r.Lanes {
		part := put(lane.Route, laneText)
		part.Lanes = append(part.Lanes, lane)
	}
	for _, route := range r.Paused {
		part := put(route, itemText)
		part.Paused = append(part.Paused, route)
	}
	for _, lane := range r.Wake {
		part := put(lane.Route, itemText)
		part.Wake = append(part.Wake, lane)
	}
	messages := make([][]byte, len(parts))
	for i, part := range parts {
		var err error
		if part.Parts = len(parts); part.Parts > maxReportParts {
			return nil, fmt.Errorf("a report of queues would have %d parts, more than %d", part.Parts, maxReportParts)
		}
		if messages[i], err = json.Marshal(part); err != nil {
			return nil, fmt.Errorf("a report of queues: %w", err)
		}
	}
	return messages, nil
}

// Reports joins the parts of reports. Its zero value is ready; one goroutine at a time may use it.
type Reports struct {
	begun map[string]*Report // by the sweeper; Part is the one that comes next
}

// Take takes a message of a report, and gives the report when it is whole. A report of which a part was lost is never given:
// its sweeper tells the next one in half a second.
func (r *Reports) Take(text []byte) (*Report, error) {
	part := new(Report)
	if err := json.Unmarshal(text, part); err != nil {
		return nil, fmt.Errorf("a report of queues: %w", err)
	}
	if part.Part < 0 || part.Parts < 0 || part.Part > 0 && part.Part >= part.Parts || part.Parts > maxReportParts {
		return nil, fmt.Errorf("a report of queues: part %d of %d", part.Part, part.Parts)
	}
	whole := r.begun[part.From]
	switch {
	case part.Part == 0:
		whole = part
	case whole == nil || whole.Number != part.Number || whole.Part != part.Part:
		delete(r.begun, part.From)
		return nil, nil //nolint:nilnil // a part before it was lost
	default:
		whole.Lanes, whole.Paused, whole.Wake = append(whole.Lanes, part.Lanes...), append(whole.Paused, part.Paused...), append(whole.Wake, part.Wake...)
	}
	if part.Part+1 >= part.Parts {
		delete(r.begun, part.From)
		return whole, nil
	}
	if r.begun == nil || len(r.begun) >= maxReporters {
		r.begun = make(map[string]*Report)
	}
	whole.Part = part.Part + 1
	r.begun[part.From] = whole
	return nil, nil //nolint:nilnil // more is to come
}
