package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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

// queuesReport is what the sweeper tells.
type queuesReport struct {
	Lanes  []laneReport `json:"lanes"`
	Paused []string     `json:"paused,omitempty"` // routes
	Full   string       `json:"full,omitempty"`   // why the disk takes no more jobs
	Wake   []JobLane    `json:"wake,omitempty"`   // lanes that workers should pull from although nothing is queued
	// Counting says that the records of earlier lives are still being read: more may wait than Lanes say.
	Counting bool `json:"counting,omitempty"`
}

func readQueues(text []byte) (*queuesReport, error) {
	report := new(queuesReport)
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("a report of queues: %w", err)
	}
	return report, nil
}

// laneReport is one lane of it.
type laneReport struct {
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

// allRead notes that all records of a shard were read.
func (s *Sweeper) allRead(shard string) {
	s.mu.Lock()
	news := !s.countedAll[shard]
	s.countedAll[shard] = true
	all := news && len(s.countedAll) == jobShards
	s.mu.Unlock()
	if all {
		s.tellQueues()
	}
}

// tellQueues publishes what waits.
func (s *Sweeper) tellQueues() {
	var report queuesReport
	if s.disk != nil {
		if err := s.disk.DiskFull(); err != nil {
			report.Full = err.Error()
		}
	}
	s.mu.Lock()
	for subject, n := range s.counts {
		lane, ok := parseLane(subject)
		if !ok {
			continue
		}
		told := laneReport{Route: lane.Route, Priority: lane.Priority, Waiting: n.waiting(), Queued: n.queued, Running: n.running}
		if depth := s.depths[subject]; depth != nil {
			told.Measured, told.Delivered, told.Rate = true, depth.delivered, depth.rate()
			if !depth.oldest.IsZero() {
				told.Oldest = depth.oldest.UnixMilli()
			}
		}
		report.Lanes = append(report.Lanes, told)
	}
	told := s.told
	report.Wake = s.toWake()
	report.Counting = len(s.countedAll) < jobShards
	report.Paused = slices.Sorted(maps.Keys(s.paused))
	s.mu.Unlock()
	if !told {
		return // what is paused is not known yet
	}
	text, err := json.Marshal(report)
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
	at       time.Time // of the sweeper's latest word
	waiting  map[string]map[job.Priority]laneReport
	paused   map[string]bool
	accepted map[string]int
	full     string        // why the disk takes no more jobs
	counting bool          // not all that waits was counted yet
	news     chan struct{} // closed at the next word; nil while nobody waits for it
}

func (q *queues) note(msg *nats.Msg) error {
	report, err := readQueues(msg.Data)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.news != nil {
		close(q.news)
		q.news = nil
	}
	q.at, q.waiting, q.accepted = time.Now(), make(map[string]map[job.Priority]laneReport), make(map[string]int)
	q.paused, q.full, q.counting = make(map[string]bool, len(report.Paused)), report.Full, report.Counting
	for _, route := range report.Paused {
		q.paused[route] = true
	}
	for _, r := range report.Lanes {
		if q.waiting[r.Route] == nil {
			q.waiting[r.Route] = make(map[job.Priority]laneReport)
		}
		q.waiting[r.Route][r.Priority] = r
	}
	return nil
}

// learn notes what was just written, so that whoever wrote it sees it.
func (q *queues) learn(paused map[string]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.paused == nil {
		q.paused = make(map[string]bool)
	}
	maps.Copy(q.paused, paused)
}

// diskFull reports whether the broker said a moment ago that its disk is full.
func (q *queues) diskFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full != "" && time.Since(q.at) < queuesStale
}

// enter counts one more job of a route, or says that as many wait as may. What other front ends accepted since the
// sweeper's last word is not known, so the limit can be passed by as much as they accept in half a second.
func (q *queues) enter(route string, most int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full != "" && time.Since(q.at) < queuesStale {
		f := fault.New(fault.QueueFull, "no job is accepted: %s", q.full)
		f.RetryAfter = 10 * time.Second
		return f
	}
	waiting := q.accepted[route]
	if time.Since(q.at) < queuesStale {
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

// lane is what the sweeper last said of a lane; ok is false when that is too long ago.
func (q *queues) lane(route string, priority job.Priority) (lane laneReport, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane, ok = q.waiting[route][priority]
	return lane, ok && time.Since(q.at) < queuesStale
}

// countPatience is how long a caller waits for the first count after a start.
const countPatience = 2 * time.Second

// Counted returns when what Queue says is known. It is not in the first moments after a start, while the records are read:
// after a while that is a fault of code NoWorkers.
func (j *Jobs) Counted(ctx context.Context) error {
	if err := j.await(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(countPatience)
	defer timer.Stop()
	for {
		news, known := j.queues.counted()
		if known {
			return nil
		}
		select {
		case <-news:
		case <-timer.C:
			if f := j.refusal(); f != nil {
				return f
			}
			f := fault.New(fault.NoWorkers, "what waits is not known yet: the records are being read after a start; try again")
			f.RetryAfter = time.Second
			return f
		case <-ctx.Done():
			return endOf(ctx, fault.Deadline)
		}
	}
}

// counted reports whether all that waits was counted; if not, news is closed at the sweeper's next word.
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

// Queue is what waits of a route's jobs, by priority, a moment ago.
func (j *Jobs) Queue(route string) map[job.Priority]job.Lane {
	q := &j.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make(map[job.Priority]job.Lane)
	for _, priority := range job.Priorities() {
		told := q.waiting[route][priority]
		lane := job.Lane{Waiting: told.Waiting, Rate: told.Rate}
		if told.Oldest > 0 {
			lane.Oldest = time.UnixMilli(told.Oldest)
		}
		all[priority] = lane
	}
	return all
}
