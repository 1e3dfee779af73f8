package records_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"headrace/broker/records"
	"headrace/internal/brokertest"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// changeAlways makes a move on a job's record that another writer always makes first, and gives how often it was tried.
func changeAlways(ctx context.Context, s *records.Store, id job.ID) (tries int, err error) {
	_, err = s.Change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		tries++
		return false, s.Put(ctx, r.Clone(), now)
	})
	return tries, err
}

// TestChangeGivesUp makes a change that is always overtaken: it ends soon, with an error that says what to do.
func TestChangeGivesUp(t *testing.T) {
	t.Parallel()
	b := brokertest.New(t, brokertest.Options{})
	desk := b.Desk(0)
	rec := b.Accept(desk, brokertest.Record("jobs"), `"x"`)
	store := b.Store()
	tries, err := changeAlways(t.Context(), store, rec.ID)
	if f := fault.From(err); f == nil || f.Code != fault.NoWorkers || f.RetryAfter <= 0 || !strings.Contains(f.Message, "try again") {
		t.Errorf("got %v, want no_workers that says to try again", err)
	}
	if tries < 5 || tries > 50 {
		t.Errorf("it was tried %d times", tries)
	}
	if now, err := desk.Get(t.Context(), rec.ID); err != nil || now.State != job.Queued {
		t.Errorf("the job afterwards: %v, %v", now, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller has gone")
	cancel(gone)
	if tries, err := changeAlways(ctx, store, rec.ID); err == nil || tries > 1 {
		t.Errorf("for a caller that has gone: %d tries, %v", tries, err)
	}
}
