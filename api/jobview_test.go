package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/api"
	"headrace/internal/job"
)

// oneJob is a store with one job.
type oneJob struct {
	api.Jobs

	record *job.Record
}

func (o oneJob) Get(context.Context, job.ID) (*job.Record, error) { return o.record, nil }

func (o oneJob) Retry(context.Context, job.ID) (*job.Record, error) {
	return nil, errors.New("what only the operator may know")
}

func (o oneJob) Page(context.Context, job.Filter) (ids []job.ID, more bool, err error) {
	return []job.ID{o.record.ID}, false, nil
}

// Our own faults at one of several jobs are told to the operator, and to the caller only that there is one.
func TestRedriveHidesInternalErrors(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		store := oneJob{record: &job.Record{ID: "broken"}}
		d.Jobs, d.List, d.Logger = store, store, slog.New(slog.NewTextHandler(&log, nil))
	})
	w := do(t, s, http.MethodPost, "/v1/dead/redrive", "", "X-Request-Id: mine")
	if body := w.Body.String(); w.Code != http.StatusAccepted || !strings.Contains(body, `"status":500`) || strings.Contains(body, "operator may know") ||
		!strings.Contains(body, "in the log under the request id mine") {
		t.Errorf("%d %s", w.Code, body)
	}
	if said := log.String(); !strings.Contains(said, "operator may know") || !strings.Contains(said, "job=broken") || !strings.Contains(said, "request_id=mine") {
		t.Errorf("the log says %q", said)
	}
}

// A job's timings are those of its run: neither the time before its earliest start counts, nor an earlier run.
func TestJobTimings(t *testing.T) {
	t.Parallel()
	accepted := time.Now().UTC()
	later := accepted.Add(time.Hour)
	run := func(rec *job.Record, from time.Time) {
		t.Helper()
		if err := rec.Start("w", from.Add(2*time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := rec.Succeed(&job.Body{Bytes: 1 << 20}, time.Second, from.Add(5*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	now := &job.Record{ID: "now", Total: 24 * time.Hour, ResultTTL: 24 * time.Hour}
	now.Accept(accepted)
	run(now, accepted)
	scheduled := &job.Record{ID: "scheduled", Total: 24 * time.Hour, ResultTTL: 24 * time.Hour, RunAt: &later}
	scheduled.Accept(accepted)
	run(scheduled, later)
	again := &job.Record{ID: "again", Total: 24 * time.Hour, ResultTTL: 24 * time.Hour, RunAt: &later}
	again.Accept(accepted)
	again.Cancel(accepted)
	if err := again.Again(later); err != nil {
		t.Fatal(err)
	}
	run(again, later)
	for _, rec := range []*job.Record{now, scheduled, again} {
		s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) { d.Jobs = oneJob{record: rec} })
		w := do(t, s, http.MethodGet, "/v1/jobs/"+string(rec.ID), "")
		if want := `"timings":{"queue_ms":2000,"provider_ms":1000,"total_ms":5000}`; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", rec.ID, w.Code, w.Body)
		}
	}
}
