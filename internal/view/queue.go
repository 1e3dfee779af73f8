package view

import (
	"fmt"
	"strconv"
	"time"

	"headrace/internal/terminal"
)

// Queue is what waits of one route's jobs.
type Queue struct {
	Name    string                `json:"name"`
	Paused  bool                  `json:"paused"`
	Waiting map[string]int        `json:"waiting"`
	Oldest  map[string]*time.Time `json:"oldest_queued_at"`
	Rate    map[string]float64    `json:"started_per_second"`
	Limit   int                   `json:"max_waiting"`
	Workers int                   `json:"workers"`
	Slots   int                   `json:"slots"`
}

// State is paused, without workers, or open.
func (q *Queue) State() string {
	switch {
	case q.Paused:
		return "paused"
	case q.Workers == 0:
		return "without workers"
	default:
		return "open"
	}
}

func (q *Queue) total() (n int) {
	for _, w := range q.Waiting {
		n += w
	}
	return n
}

// Waits says how many jobs wait, in words.
func (q *Queue) Waits() string {
	if q.total() == 1 {
		return "1 job waits"
	}
	return terminal.Count(q.total(), "job") + " wait"
}

// oldest is when the job was queued that waits longest.
func (q *Queue) oldest() (oldest time.Time) {
	for _, t := range q.Oldest {
		if t != nil && (oldest.IsZero() || t.Before(oldest)) {
			oldest = *t
		}
	}
	return oldest
}

// QueueTable lists queues, with times as seen at one moment.
func QueueTable(queues []Queue, at time.Time) *terminal.Table {
	t := &terminal.Table{Header: []string{"ROUTE", "STATE", "WAITING", "INTERACTIVE", "STANDARD", "BATCH", "LONGEST", "STARTED/S", "LIMIT", "WORKERS", "SLOTS"}}
	for _, q := range queues {
		longest, rate := "", 0.0
		if oldest := q.oldest(); !oldest.IsZero() {
			longest = terminal.InWords(max(0, at.Sub(oldest)))
		}
		for _, r := range q.Rate {
			rate += r
		}
		shade := terminal.Plain
		if q.State() != "open" {
			shade = terminal.Yellow
		}
		number := func(n int) terminal.Cell { return terminal.Text(strconv.Itoa(n)) }
		t.Add(terminal.Text(q.Name), terminal.Tinted(q.State(), shade), number(q.total()), number(q.Waiting["interactive"]), number(q.Waiting["standard"]),
			number(q.Waiting["batch"]), terminal.Text(longest), terminal.Text(terminal.TrimZero(fmt.Sprintf("%.1f", rate), ".0")), number(q.Limit),
			number(q.Workers), number(q.Slots))
	}
	return t
}
