package broker

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// subjectQueues is where the sweeper tells what waits.
	subjectQueues = "hr.job.queues"
	// queuesEvery is how often it does.
	queuesEvery = 500 * time.Millisecond
	// queuesStale is the age from which a report says nothing any more.
	queuesStale = 5 * time.Second
)

// queueReport is one lane of what the sweeper tells.
type queueReport struct {
	Route    string       `json:"route"`
	Priority job.Priority `json:"priority"`
	Waiting  int          `json:"waiting"`
}

// tellQueues publishes what waits.
func (s *Sweeper) tellQueues() {
	reports := []queueReport{}
	for lane, n := range s.Waiting() {
		reports = append(reports, queueReport{lane.Route, lane.Priority, n})
	}
	text, err := json.Marshal(reports)
	if err != nil {
		return // strings and numbers always have a JSON form
	}
	if err := s.store.link.nc.Publish(subjectQueues, text); err != nil {
		s.log.Debug("telling what waits", "error", err)
	}
}

// queues is what one front end knows of waiting jobs: the sweeper's latest word, and what was accepted here since.
type queues struct {
	mu       sync.Mutex
	told     time.Time
	waiting  map[string]map[job.Priority]int
	accepted map[string]int
}

func (q *queues) note(msg *nats.Msg) error {
	var reports []queueReport
	if err := json.Unmarshal(msg.Data, &reports); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.told, q.waiting, q.accepted = time.Now(), make(map[string]map[job.Priority]int), make(map[string]int)
	for _, r := range reports {
		if q.waiting[r.Route] == nil {
			q.waiting[r.Route] = make(map[job.Priority]int)
		}
		q.waiting[r.Route][r.Priority] = r.Waiting
	}
	return nil
}

// enter counts one more job of a route, or says that as many wait as may. What other front ends accepted since the
// sweeper's last word is not known, so the limit can be passed by as much as they accept in half a second.
func (q *queues) enter(route string, most int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.accepted[route]
	if time.Since(q.told) < queuesStale {
		for _, n := range q.waiting[route] {
			waiting += n
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

// Queue is how many jobs of a route wait, by priority.
func (j *Jobs) Queue(route string) map[job.Priority]int {
	q := &j.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make(map[job.Priority]int)
	for _, priority := range job.Priorities() {
		all[priority] = q.waiting[route][priority]
	}
	return all
}
