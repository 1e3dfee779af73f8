package jobs

import (
	"maps"
	"sync"
	"time"

	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// queues is what one front end knows of waiting jobs: the sweeper's latest report, and what was accepted here since.
type queues struct {
	mu       sync.Mutex
	at       time.Time // of the sweeper's latest report
	waiting  map[string]map[job.Priority]records.LaneReport
	paused   map[string]bool
	accepted map[string]int
	full     string        // why the disk takes no more jobs
	counting bool          // the sweeper has not counted all jobs yet
	news     chan struct{} // closed at the next report; nil while no goroutine waits for it
}

// note takes a report.
func (q *queues) note(report *records.Report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.news != nil {
		close(q.news)
		q.news = nil
	}
	q.at, q.waiting, q.accepted = time.Now(), make(map[string]map[job.Priority]records.LaneReport), make(map[string]int)
	q.paused, q.full, q.counting = make(map[string]bool, len(report.Paused)), report.Full, report.Counting
	for _, route := range report.Paused {
		q.paused[route] = true
	}
	for _, r := range report.Lanes {
		if q.waiting[r.Route] == nil {
			q.waiting[r.Route] = make(map[job.Priority]records.LaneReport)
		}
		q.waiting[r.Route][r.Priority] = r
	}
}

// learn stores what the store says of paused queues, so that the caller of Pause sees its own change.
func (q *queues) learn(paused map[string]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.paused == nil {
		q.paused = make(map[string]bool)
	}
	maps.Copy(q.paused, paused)
}

// diskFull reports whether the latest report says that the disk is full.
func (q *queues) diskFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full != "" && time.Since(q.at) < records.QueuesStale
}

// enter counts one more job of a route, or refuses it because the route's limit is reached. What other front ends accepted
// since the sweeper's last report is not known, so the limit can be passed by as much as they accept in half a second.
func (q *queues) enter(route string, most int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full != "" && time.Since(q.at) < records.QueuesStale {
		f := fault.New(fault.QueueFull, "no job is accepted: %s", q.full)
		f.RetryAfter = 10 * time.Second
		return f
	}
	waiting := q.accepted[route]
	if time.Since(q.at) < records.QueuesStale {
		for _, n := range q.waiting[route] {
			waiting += n.Waiting
		}
	}
	if most > 0 && waiting >= most {
		f := fault.New(fault.QueueFull, "route %q has %d waiting jobs, the limit of jobs.max_waiting; try again later", route, waiting)
		f.RetryAfter = 5 * time.Second
		return f
	}
	if q.accepted == nil {
		q.accepted = make(map[string]int)
	}
	q.accepted[route]++
	return nil
}

// lane returns the latest report of a lane; ok is false when it is too old.
func (q *queues) lane(route string, priority job.Priority) (lane records.LaneReport, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane, ok = q.waiting[route][priority]
	return lane, ok && time.Since(q.at) < records.QueuesStale
}

// counted reports whether all waiting jobs were counted; if not, news is closed at the sweeper's next report.
func (q *queues) counted() (news <-chan struct{}, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.at.IsZero() && !q.counting {
		return nil, true
	}
	if q.news == nil {
		q.news = make(chan struct{})
	}
	return q.news, false
}
