package jobs

import (
	"cmp"
	"context"
	"errors"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// pausePatience is how long Pause waits for the sweeper's report to reach the workers.
	pausePatience = 2 * time.Second
	// countPatience is how long a caller waits for the first count after a start.
	countPatience = 2 * time.Second
)

// clerk answers callers' questions about queues, and pauses them.
type clerk struct {
	*door

	queues queues
}

// Place returns where a queued job stands. It costs one read. ok is false when that is not known.
func (j *clerk) Place(ctx context.Context, r *job.Record) (p job.Place, ok bool) {
	if r.State != job.Queued || j.Ready() != nil {
		return p, false
	}
	lane, known := j.queues.lane(r.Route, r.Priority)
	if !known || !lane.Measured {
		return p, false
	}
	number, known := j.queue.Position(ctx, r)
	if !known || number <= lane.Delivered {
		return p, false // a worker is about to have it
	}
	// Other routes and priorities share the stream's numbers, so their difference may be too large.
	p.Ahead = int(min(number-lane.Delivered, uint64(cmp.Or(lane.Waiting, 1))))
	if lane.Rate > 0 {
		p.Wait = time.Duration(float64(p.Ahead) / lane.Rate * float64(time.Second))
	}
	return p, true
}

// Counted returns when the counts of Queue are complete. In the first moments after a start they are not, because the
// records are still being read; after countPatience that is a fault of code NoWorkers.
func (j *clerk) Counted(ctx context.Context) error {
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

// Queue returns what waits of a route's jobs, by priority, as of the latest report.
func (j *clerk) Queue(route string) map[job.Priority]job.Lane {
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

// Pause stops the jobs of a route from being started, or lets them start again. Calls and running jobs are not affected, and
// jobs are still accepted. The setting stays until it is changed; setting it again is harmless. When Pause returns, the
// workers have been told, unless the sweeper is away.
func (j *clerk) Pause(ctx context.Context, route string, paused bool) error {
	if err := j.await(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, records.StorePatience)
	defer cancel()
	if err := j.journal.Pause(ctx, route, paused); errors.Is(err, records.ErrFull) {
		return j.unstored(err)
	} else if err != nil {
		return j.unread("", err)
	}
	if err := j.journal.ForgetPauses(ctx, route); err != nil {
		j.log.Debug("an older pause marker was not removed", "route", route, "error", err)
	}
	ctx, over := context.WithTimeout(ctx, pausePatience)
	defer over()
	for !j.queues.told(ctx, route, paused) {
		if ctx.Err() != nil {
			break // it is stored: a sweeper that returns reads it
		}
	}
	j.queues.learn(map[string]bool{route: paused})
	return nil
}

// Paused reports whether the jobs of a route are stopped from being started.
func (j *clerk) Paused(route string) bool {
	j.queues.mu.Lock()
	defer j.queues.mu.Unlock()
	return j.queues.paused[route]
}

// told waits for the sweeper's next report and returns whether it agrees with paused about the route.
func (q *queues) told(ctx context.Context, route string, paused bool) bool {
	q.mu.Lock()
	if q.news == nil {
		q.news = make(chan struct{})
	}
	news := q.news
	q.mu.Unlock()
	select {
	case <-news:
	case <-ctx.Done():
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.paused[route] == paused
}
