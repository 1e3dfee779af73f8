package sweeper_test

import (
	"log/slog"
	"testing"
	"time"

	"headrace/broker/link"
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
		told    string // of the job "a", whose record has the number 7
		checked bool
	}{
		"nobody says a word":        {"", true},
		"it is queued":              {"a 7\n", false},
		"it was queued before":      {"a 6\n", true},
		"another one is queued":     {"b 7\n", true},
		"among others":              {"b 1\na 7\nc 9\n", false},
		"the word cannot be read":   {"a 7\nx\n", true},
		"the number cannot be read": {"a seven\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := sweeper.New(link.Dial{URL: "nats://127.0.0.1:4222"}, nil, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s.Learn(&job.Record{ID: "a", State: job.Queued, Revision: 7, Provider: "p", Route: "r", Priority: job.Standard}, deadline, now)
			s.Placed([]byte(c.told))
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
				t.Errorf("its deadline is nobody's any more: %q is due", id)
			}
		})
	}
}

// What is told about a record that was written again meanwhile says nothing: the job may have left the queue and come back.
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
	s.Placed([]byte("a 1\n"))
	if id := s.Next(now.Add(11 * time.Second)); id != "a" {
		t.Errorf("%q is checked", id)
	}
}
