package sweeper_test

import (
	"log/slog"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
)

// A job's place in the queue is checked ten seconds after its record was written, unless a front end has said of just this
// record that it is queued.
func TestPlacedIsNotChecked(t *testing.T) {
	t.Parallel()
	now := time.Now()
	deadline := now.Add(time.Hour)
	for name, c := range map[string]struct {
		told    []records.Placement // of the job "a", whose record has the number 7
		checked bool
	}{
		"nothing is said":       {nil, true},
		"it is queued":          {[]records.Placement{{ID: "a", Revision: 7}}, false},
		"it was queued before":  {[]records.Placement{{ID: "a", Revision: 6}}, true},
		"another one is queued": {[]records.Placement{{ID: "b", Revision: 7}}, true},
		"among others":          {[]records.Placement{{ID: "b", Revision: 1}, {ID: "a", Revision: 7}, {ID: "c", Revision: 9}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := sweeper.New(link.Dial{URL: "nats://127.0.0.1:4222"}, nil, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s.Learn(&job.Record{ID: "a", State: job.Queued, Revision: 7, Provider: "p", Route: "r", Priority: job.Standard}, deadline, now)
			s.Placed(c.told)
			if id := s.Next(now.Add(9 * time.Second)); id != "" {
				t.Errorf("job %q is checked at once", id)
			}
			if id := s.Next(now.Add(11 * time.Second)); (id == "a") != c.checked {
				t.Errorf("%q is checked", id)
			}
			if c.checked {
				return
			}
			if id := s.Next(deadline.Add(time.Second)); id != "a" {
				t.Errorf("its deadline is forgotten: %q is due", id)
			}
		})
	}
}

// What is told about a record that was written again since says nothing: the job may have left the queue and come back.
func TestPlacedOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	s, err := sweeper.New(link.Dial{URL: "nats://127.0.0.1:4222"}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r := &job.Record{ID: "a", Provider: "p", Route: "r", Priority: job.Standard}
	for n, state := range []job.State{job.Queued, job.Running, job.Retrying, job.Queued} {
		r.State, r.Revision = state, uint64(n+1)
		s.Learn(r, now.Add(time.Hour), now)
	}
	s.Placed([]records.Placement{{ID: "a", Revision: 1}})
	if id := s.Next(now.Add(11 * time.Second)); id != "a" {
		t.Errorf("%q is checked", id)
	}
}
