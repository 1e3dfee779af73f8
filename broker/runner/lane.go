package runner

import (
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lease"
)

// laneLife is the idle time after which the consumer of a lane goes by itself. It should outlive the longest job.
const laneLife = 24 * time.Hour

// lane is a route's jobs of one priority, for one intake.
type lane struct {
	runner *Runner
	queue  intake.Queue
}

// Lanes are a route's lanes, one for each priority.
func (r *Runner) Lanes(route *inference.Route) (all []intake.Lane) {
	for _, priority := range job.Priorities() {
		at := records.LaneOf(route, priority)
		all = append(all, &lane{r, intake.Queue{
			Route: route.Name, Background: true, Priority: priority, Name: nameOf(records.Lane{Route: route.Name, Priority: priority}),
			// Attempts are counted in records, not by deliveries, so the consumer delivers for as long as it takes.
			Wish: link.Wish{Stream: at.Stream, Consumer: at.Consumer, Subject: at.Subject, AckWait: r.ackWait, Life: laneLife},
		}})
	}
	return all
}

// nameOf is by what a dormant lane is woken.
func nameOf(l records.Lane) string { return string(l.Priority) + " " + l.Route }

// Queue says where the jobs wait.
func (l *lane) Queue() intake.Queue { return l.queue }

// Open makes a delivery. The job's id is all that counts of the message, and the claim finds out what it is worth.
func (l *lane) Open(m *intake.Message) (lease.Delivery, error) {
	return &delivery{runner: l.runner, message: m, id: records.IdOfEvent(m.Subject()), route: l.queue.Route}, nil
}

// Held reports whether the queue is paused, or may be.
func (l *lane) Held(now time.Time) bool { return l.runner.paused.holds(l.queue.Route, now) }

// Room is nothing while a job runs alone, or waits to.
func (l *lane) Room(n int) int {
	if l.runner.solo.busy() {
		return 0
	}
	return n
}

// Standing is all that is free.
func (l *lane) Standing(n, _ int) int { return n }

// noteQueues takes a sweeper's report: it wakes the lanes in which jobs wait, and the intakes when a queue was paused or
// resumed.
func (r *Runner) noteQueues(msg *nats.Msg) {
	report, err := r.reports.Take(msg.Data)
	if err != nil {
		r.log.Warn("unreadable report of queues", "error", err)
		return
	}
	if report == nil {
		return
	}
	r.line.Wake(toWake(report))
	if r.paused.note(report.Paused) {
		r.line.Signal()
	}
}

// toWake names the lanes that jobs wait in, and those in which they only run: their worker may be gone.
func toWake(report *records.Report) (waiting, left []string) {
	for _, told := range report.Lanes {
		name := nameOf(records.Lane{Route: told.Route, Priority: told.Priority})
		switch {
		case told.Queued > 0:
			waiting = append(waiting, name)
		case told.Running > 0:
			left = append(left, name)
		}
	}
	for _, told := range report.Wake {
		waiting = append(waiting, nameOf(told))
	}
	return waiting, left
}
