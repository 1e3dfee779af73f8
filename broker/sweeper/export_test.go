package sweeper

import (
	"context"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

// What tests of the inside need.

// Learn tells a sweeper that a job's record was written: its state, its number, and when it is due.
func (s *Sweeper) Learn(r *job.Record, due, now time.Time) {
	n := &records.News{ID: r.ID, State: r.State, Lane: records.LaneNameOf(r), Shard: records.ShardOf(string(r.ID)), Revision: r.Revision, At: now}
	if !due.IsZero() {
		n.Due = records.InstantOf(due)
	}
	s.schedule.learn(n, now)
}

// Placed tells a sweeper what a front end says it has queued.
func (s *Sweeper) Placed(all []records.Placement) { s.placed(all, nil) }

// Next takes the job that is due, or gives "".
func (s *Sweeper) Next(now time.Time) job.ID {
	id, _ := s.schedule.next(now)
	return id
}

// Versions are versions of records that later ones have replaced.
type Versions struct{ v versions }

// Replaced notes that a version was replaced.
func (v *Versions) Replaced(number, by uint64) { v.v.replaced(number, by) }

// Ended notes that a version has ended its job.
func (v *Versions) Ended(number uint64) { v.v.ended(number) }

// Take gives the numbers of the versions to be removed when everything up to end is on disk.
func (v *Versions) Take() (numbers []uint64, end uint64) {
	old, end := v.v.take()
	for _, o := range old {
		numbers = append(numbers, o.Number)
	}
	return numbers, end
}

// Shortage is how long a work queue has held less than it should.
type Shortage struct{ s shortage }

// Note takes a measurement.
func (s *Shortage) Note(missing int, started uint64, now time.Time) bool {
	return s.s.note(missing, started, now)
}

// Oldest is since when the next job waits.
func (s *Shortage) Oldest(before time.Time, started uint64) time.Time {
	return s.s.oldest(before, started)
}

// FakeBroker is all that a Sweeper needs of a broker.
type FakeBroker interface {
	store
	queues
	journal
	wire
	connection
}

// Over runs a sweeper over something else than an archive until ctx ends.
func (s *Sweeper) Over(ctx context.Context, b FakeBroker) error {
	return s.serve(ctx, broker{store: b, queues: b, journal: b, wire: b, conn: b})
}
