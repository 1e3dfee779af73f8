package jobs

import (
	"context"
	"log/slog"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/job"
)

// What tests of the inside need.

// Counting is a report of the sweeper before it has read all records, and after.
func (j *Desk) Counting(counting bool) { j.reported(&records.Report{Counting: counting}, nil) }

// UncountedJobs knows nothing of a broker.
func UncountedJobs() (*Desk, error) {
	j, err := New(Config{Dial: link.Dial{URL: "nats://nowhere"}, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		close(j.ready)
	}
	return j, err
}

// BoundEvents sets how many bytes of events may have come that are not looked at yet. It must be called before Run.
func (j *Desk) BoundEvents(bytes int) { j.eventBytes = bytes }

// Waiters is how many wait for a job.
func (j *Desk) Waiters(id job.ID) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiters[id])
}

// Over returns a Desk over something else than an archive, which serve opens until its context ends.
func Over(s FakeStore, recent *records.Recent) (j *Desk, serve func(context.Context), err error) {
	j, err = New(Config{
		Dial: link.Dial{URL: "nats://nowhere"}, Shared: records.Shared{Recent: recent}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	j.broker = broker{store: s, journal: s, queue: s, wire: s, conn: s}
	return j, func(ctx context.Context) { j.serve(ctx, s) }, nil
}

// FakeStore is all that a Desk needs of a broker.
type FakeStore interface {
	store
	journal
	positions
	talk
}

type talk interface {
	wire
	connection
	dropping
}

// Event tells a Desk that a record was written.
func (j *Desk) Event(e records.Event) { j.note(e) }
