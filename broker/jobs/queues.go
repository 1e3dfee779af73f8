package jobs

import (
	"cmp"
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// Place returns where a queued job stands. It costs one read. ok is false when that is not known.
func (j *Desk) Place(ctx context.Context, r *job.Record) (p job.Place, ok bool) {
	if r.State != job.Queued || j.Ready() != nil {
		return p, false
	}
	lane, known := j.queues.lane(r.Route, r.Priority)
	if !known || !lane.Measured {
		return p, false
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	stream, err := j.store.Stream(ctx, records.QueueStream+strconv.Itoa(link.ShardOf(r.Route)))
	if err != nil {
		return p, false
	}
	msg, err := stream.GetLastMsgForSubject(ctx, records.QueueSubject(r))
	if err != nil || msg.Sequence <= lane.Delivered {
		return p, false // a worker is about to have it
	}
	// Other routes and priorities share the stream's numbers, so their difference may be too large.
	p.Ahead = int(min(msg.Sequence-lane.Delivered, uint64(cmp.Or(lane.Waiting, 1))))
	if lane.Rate > 0 {
		p.Wait = time.Duration(float64(p.Ahead) / lane.Rate * float64(time.Second))
	}
	return p, true
}

// queues is what one front end knows of waiting jobs: the sweeper's latest report, and what was accepted here since.
type queues struct {
	reports records.Reports // owned by note

	mu       sync.Mutex
	at       time.Time // of the sweeper's latest report
	waiting  map[string]map[job.Priority]records.LaneReport
	paused   map[string]bool
	accepted map[string]int
	full     string        // why the disk takes no more jobs
	counting bool          // the sweeper has not counted all jobs yet
	news     chan struct{} // closed at the next report; nil while no goroutine waits for it
}

func (q *queues) note(msg *nats.Msg) error {
	report, err := q.reports.Take(msg.Data)
	if err != nil || report == nil {
		return err
	}
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
	return nil
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

// countPatience is how long a caller waits for the first count after a start.
const countPatience = 2 * time.Second

// Counted returns when the counts of Queue are complete. In the first moments after a start they are not, because the
// records are still being read; after countPatience that is a fault of code NoWorkers.
func (j *Desk) Counted(ctx context.Context) error {
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
			return link.EndOf(ctx, fault.Deadline)
		}
	}
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

// Queue returns what waits of a route's jobs, by priority, as of the latest report.
func (j *Desk) Queue(route string) map[job.Priority]job.Lane {
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
