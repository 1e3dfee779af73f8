package sweeper_test

import (
	"testing"
	"time"

	"headrace/broker/records"
	"headrace/internal/brokertest"
	"headrace/internal/job"
)

// The oldest job of a lane is told rightly when lanes share a stream, and when the first of them goes.
func TestOldestOfALane(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	sweeper, _ := b.Sweeper()
	accepted := make(map[job.ID]time.Time)
	place := func(priority job.Priority) *job.Record {
		rec := brokertest.Record("jobs")
		rec.Priority = priority
		b.Accept(desk, rec, `"x"`)
		accepted[rec.ID] = time.Now()
		return rec
	}
	first, other, second := place(job.Standard), place(job.Batch), place(job.Standard)
	oldest := func(rec *job.Record) bool {
		at := sweeper.Oldest()[records.Lane{Route: rec.Route, Priority: rec.Priority}]
		return !at.Before(rec.QueuedAt.Add(-time.Millisecond)) && !at.After(accepted[rec.ID])
	}
	for _, rec := range []*job.Record{first, other} {
		if !brokertest.Eventually(func() bool { return oldest(rec) }) {
			t.Errorf("the oldest %s job is of %s, want %s", rec.Priority, sweeper.Oldest(), rec.QueuedAt)
		}
	}
	if _, err := desk.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if !brokertest.Eventually(func() bool { return oldest(second) }) {
		t.Errorf("the oldest job is of %s, want %s", sweeper.Oldest(), second.QueuedAt)
	}
	if !oldest(other) {
		t.Errorf("the oldest batch job is of %s, want %s", sweeper.Oldest(), other.QueuedAt)
	}
}

// A sweeper that was following sees to a job whose record has the number of one that was lost.
func TestSweeperGivenNumbersAgain(t *testing.T) {
	t.Parallel()
	r := brokertest.NewLossy(t)
	sweeper, _ := r.Sweeper()
	r.Place(`"before"`, job.Standard)
	r.Save()
	lost := r.Place(`"lost"`, job.Standard)
	waiting := func(priority job.Priority) int {
		return sweeper.Waiting()[records.Lane{Route: lost.Route, Priority: priority}]
	}
	if !brokertest.Eventually(func() bool { return waiting(job.Standard) == 2 }) {
		t.Fatalf("the sweeper knows %d jobs", waiting(job.Standard))
	}
	r.Lose()
	rec := r.Place(`"after"`, job.Batch)
	if rec.Revision != lost.Revision {
		t.Fatalf("revision %d was not given again, but %d", lost.Revision, rec.Revision)
	}
	if !brokertest.Eventually(func() bool { return waiting(job.Batch) == 1 }) {
		t.Error("the sweeper does not know the job that has the number of a lost one")
	}
}
