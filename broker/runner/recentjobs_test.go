package runner_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// A front end follows what it accepted without a read, also where other processes run the job and change it.
func TestJobsAreFollowedByEvents(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.OverTCP)
	plain := r.Shared
	r.Shared.Recent = records.NewRecent(1 << 20)
	front := r.newJobs()
	r.Shared = plain // the workers are another process
	rec, _, err := front.Accept(t.Context(), r.record(), []byte(`"a"`), lanetest.Request(r.route, `"a"`))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan *job.Record, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		end, err := front.WaitEnd(ctx, rec.ID)
		if err != nil {
			t.Error(err)
		}
		ended <- end
	}()
	r.Serve(1, r.Echo, r.route)
	end := <-ended
	if end == nil || end.State != job.Succeeded || end.Attempt != 1 {
		t.Fatalf("got %+v", end)
	}
	again, err := front.WaitEnd(t.Context(), rec.ID)
	if err != nil || again.Revision != end.Revision {
		t.Errorf("got %+v, %v", again, err)
	}
	// Another front end erases it; this one tells so as soon as it has heard.
	if err := r.jobs.Erase(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	erased, err := front.Wait(t.Context(), rec.ID, func(rec *job.Record) bool { return rec.State == job.Erased })
	if err != nil || erased.State != job.Erased {
		t.Fatalf("got %+v, %v", erased, err)
	}
	if again, err = front.WaitEnd(t.Context(), rec.ID); err != nil || again.State != job.Erased {
		t.Errorf("got %+v, %v", again, err)
	}
}

// A wait that is over tells what is stored, not what was remembered.
func TestWaitTellsTheLatest(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.Locally)
	hold := make(chan struct{})
	defer close(hold)
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		<-hold
		r.Echo(ctx, c)
	}, r.route)
	rec := r.accept(r.record(), `"`+strings.Repeat("x", 10)+`"`)
	r.until(rec.ID, job.Running)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := r.jobs.WaitEnd(ctx, rec.ID)
	if err != nil || got.State != job.Running {
		t.Errorf("got %+v, %v", got, err)
	}
}
