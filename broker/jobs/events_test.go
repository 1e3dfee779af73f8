package jobs_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"headrace/broker/jobs"
	"headrace/broker/keeper"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/natstest"
)

// background runs f until the test ends.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// eventually polls until is holds, and reports whether it did in time.
func eventually(is func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Events of jobs come faster than a front end reads them, and are dropped: a caller that waits for a job learns of its end.
func TestDroppedEventsAreMissed(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	dial := link.Dial{URL: natstest.Start(t, natstest.Options{}).URL()}
	k, err := keeper.New(dial, log, records.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	background(t, k.Run)
	var desks [2]*jobs.Desk
	for i := range desks {
		if desks[i], err = jobs.New(jobs.Config{Dial: dial, Log: log}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			desks[i].BoundEvents(1)
		}
		background(t, desks[i].Run)
		if !eventually(func() bool { return desks[i].Ready() == nil }) {
			t.Fatal(desks[i].Ready())
		}
	}
	waits, acts := desks[0], desks[1]
	for _, id := range []job.ID{"a", "b"} { // what was dropped is missed each time
		r := &job.Record{
			ID: id, Route: "r", Provider: "p", Type: inference.Embeddings, Priority: job.Standard, Total: time.Hour, ResultTTL: time.Hour,
			Retry: job.Retry{MaxAttempts: 1}, Store: job.StoreBoth, Fingerprint: "f", Durability: "process",
		}
		if _, _, err := acts.Accept(t.Context(), r, []byte(`"x"`), &inference.Request{Items: [][]byte{[]byte(`"x"`)}}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan *job.Record, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		go func() {
			r, err := waits.WaitEnd(ctx, id)
			if err != nil {
				t.Error(err)
			}
			ended <- r
		}()
		if !eventually(func() bool { return waits.Waiters(id) == 1 }) {
			t.Fatal("nothing waits")
		}
		if _, err := acts.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if r := <-ended; r == nil || r.State != job.Cancelled || time.Since(began) > 15*time.Second {
			t.Errorf("after %s: %+v", time.Since(began), r)
		}
		cancel()
	}
}
