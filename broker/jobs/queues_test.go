package jobs_test

import (
	"testing"
	"testing/synctest"

	"headrace/broker/jobs"
	"headrace/internal/fault"
)

// TestQueuesAreNotKnownBeforeTheyAreCounted reads queues right after a start.
func TestQueuesAreNotKnownBeforeTheyAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		desk, err := jobs.UncountedJobs()
		if err != nil {
			t.Fatal(err)
		}
		unknown := func(when string) {
			t.Helper()
			if f := fault.From(desk.Counted(t.Context())); f == nil || f.Code != fault.NoWorkers || f.RetryAfter <= 0 {
				t.Errorf("%s: %v, want no_workers that says when to come again", when, f)
			}
		}
		unknown("before the sweeper's first word")
		desk.Counting(true)
		unknown("while records are read")
		counted := make(chan error, 1)
		go func() { counted <- desk.Counted(t.Context()) }()
		synctest.Wait()
		desk.Counting(false)
		if err := <-counted; err != nil {
			t.Errorf("a caller who waits for the count: %v", err)
		}
	})
}
