package jobs

import (
	"log/slog"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// What tests of the inside need.

// Counting is a report of the sweeper before it has read all records, and after.
func (j *Desk) Counting(counting bool) error {
	text := []byte(`{"lanes":[]}`)
	if counting {
		text = []byte(`{"lanes":[],"counting":true}`)
	}
	return j.queues.note(&nats.Msg{Data: text})
}

// UncountedJobs knows nothing of a broker.
func UncountedJobs() (*Desk, error) {
	j, err := New(link.Dial{URL: "nats://nowhere"}, records.Shared{}, 0, slog.New(slog.DiscardHandler))
	if err == nil {
		close(j.ready)
	}
	return j, err
}

// PendingEvents sets how many bytes of events may have come that are not looked at yet.
func (j *Desk) PendingEvents(bytes int) error { return j.events.SetPendingLimits(-1, bytes) }

// Waiters is how many wait for a job.
func (j *Desk) Waiters(id job.ID) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiters[id])
}
