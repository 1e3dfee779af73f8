package api

import (
	"context"
	"math"
	"net/http"
	"time"

	"headrace/api/problem"
	"headrace/internal/job"
)

// queueView is what waits of one route's jobs.
type queueView struct {
	Name    string                      `json:"name"`
	Object  string                      `json:"object"`
	Paused  bool                        `json:"paused"`
	Waiting map[job.Priority]int        `json:"waiting"`
	Oldest  map[job.Priority]*time.Time `json:"oldest_queued_at"`
	Rate    map[job.Priority]float64    `json:"started_per_second"`
	Limit   int                         `json:"max_waiting"`
	Workers int                         `json:"workers"`
	Slots   int                         `json:"slots"`
}

// queueDesk has the paths of the queues that jobs wait in.
type queueDesk struct {
	*chassis

	jobs Jobs
}

func (q *queueDesk) viewQueue(name string) queueView {
	state := q.broker.State(name)
	v := queueView{
		Name: name, Object: "queue", Paused: q.jobs.Paused(name), Waiting: make(map[job.Priority]int),
		Oldest: make(map[job.Priority]*time.Time), Rate: make(map[job.Priority]float64),
		Limit: q.cfg.Jobs.MaxWaiting, Workers: state.Workers, Slots: state.Slots,
	}
	for priority, lane := range q.jobs.Queue(name) {
		v.Waiting[priority], v.Rate[priority] = lane.Waiting, math.Round(lane.Rate*100)/100
		v.Oldest[priority] = nil
		if !lane.Oldest.IsZero() {
			v.Oldest[priority] = new(lane.Oldest.UTC())
		}
	}
	return v
}

// listQueues answers GET /v1/queues.
func (q *queueDesk) listQueues(w *replyWriter, r *http.Request, _ string) error {
	if err := q.jobs.Counted(r.Context()); err != nil {
		return err
	}
	views := []queueView{}
	for route := range q.table.Load().All() {
		views = append(views, q.viewQueue(route.Name))
	}
	writeJSON(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []queueView `json:"data"`
	}{"list", views})
	return nil
}

// getQueue answers GET /v1/queues/{route}.
func (q *queueDesk) getQueue(w *replyWriter, r *http.Request, name string) error {
	if q.table.Load().Route(name) == nil {
		return problem.NoRoute(problem.Headrace, name)
	}
	if err := q.jobs.Counted(r.Context()); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, q.viewQueue(name))
	return nil
}

// pauseQueue answers POST /v1/queues/{route}/pause.
func (q *queueDesk) pauseQueue(w *replyWriter, r *http.Request, name string) error {
	return q.setPaused(w, r, name, true)
}

// resumeQueue answers POST /v1/queues/{route}/resume.
func (q *queueDesk) resumeQueue(w *replyWriter, r *http.Request, name string) error {
	return q.setPaused(w, r, name, false)
}

func (q *queueDesk) setPaused(w *replyWriter, r *http.Request, name string, paused bool) error {
	if q.table.Load().Route(name) == nil {
		return problem.NoRoute(problem.Headrace, name)
	}
	if err := q.jobs.Pause(r.Context(), name, paused); err != nil {
		return err
	}
	q.log.InfoContext(r.Context(), "a queue was paused or resumed", "route", name, "paused", paused, "request_id", w.id)
	writeJSON(w, http.StatusOK, q.viewQueue(name))
	return nil
}

// standing is where a queued job stands in its queue.
type standing struct {
	Name     string     `json:"name"`
	Paused   bool       `json:"paused"`
	Position int        `json:"position_estimate"`
	StartsAt *time.Time `json:"estimated_start_at"`
	Basis    *string    `json:"estimate_basis"`
}

// standingOf is nil for a job that is not queued, and while nothing is known.
func (d *jobDesk) standingOf(ctx context.Context, rec *job.Record) *standing {
	if rec.State != job.Queued {
		return nil
	}
	place, ok := d.jobs.Place(ctx, rec)
	if !ok {
		return nil
	}
	v := &standing{Name: rec.Route + "/" + string(rec.Priority), Position: place.Ahead, Paused: d.jobs.Paused(rec.Route)}
	if place.Wait > 0 && !v.Paused {
		v.StartsAt, v.Basis = new(time.Now().Add(place.Wait).UTC().Truncate(time.Millisecond)), new("start_rate_60s")
	}
	return v
}
