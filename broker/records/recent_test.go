package records_test

import (
	"testing"

	"headrace/broker/records"
	"headrace/internal/job"
)

func recentRecord(id string, state job.State, revision uint64) *job.Record {
	return &job.Record{ID: job.ID(id), State: state, Revision: revision, Tries: job.Tries{Attempts: []job.Attempt{{N: 1, Outcome: "running"}}}}
}

// Recent returns the record that was stored last, as far as events tell.
func TestRecentJobs(t *testing.T) {
	t.Parallel()
	type step func(m *records.Recent, tags []string) []string
	write := func(state job.State, base uint64) step {
		return func(m *records.Recent, tags []string) []string {
			return append(tags, m.Writing(recentRecord("a", state, base), 100))
		}
	}
	written := func(n int, revision uint64) step {
		return func(m *records.Recent, tags []string) []string {
			m.Written("a", tags[n], revision)
			return tags
		}
	}
	event := func(n int, revision uint64) step { // -1: a write of another process
		return func(m *records.Recent, tags []string) []string {
			tag := "theirs"
			if n >= 0 {
				tag = tags[n]
			}
			m.Event("a", tag, revision)
			return tags
		}
	}
	for name, c := range map[string]struct {
		steps []step
		state job.State // "" = nothing is remembered
		at    uint64
	}{
		"nothing":                              {},
		"not known to be stored":               {steps: []step{write(job.Queued, 0)}},
		"stored":                               {steps: []step{write(job.Queued, 0), written(0, 5)}, state: job.Queued, at: 5},
		"stored, told by its event":            {steps: []step{write(job.Queued, 0), event(0, 5)}, state: job.Queued, at: 5},
		"not stored":                           {steps: []step{write(job.Queued, 0), written(0, 0)}},
		"overtaken by another process":         {steps: []step{write(job.Queued, 0), written(0, 5), event(-1, 6)}},
		"news older than the write":            {steps: []step{write(job.Queued, 4), written(0, 5), event(-1, 4)}, state: job.Queued, at: 5},
		"news older than a write under way":    {steps: []step{write(job.Running, 4), event(-1, 4), written(0, 5)}, state: job.Running, at: 5},
		"overtaken while the write was slow":   {steps: []step{write(job.Queued, 0), event(0, 5), event(-1, 6), written(0, 5)}},
		"written twice":                        {steps: []step{write(job.Queued, 0), written(0, 5), write(job.Running, 5), event(0, 5), written(1, 6)}, state: job.Running, at: 6},
		"a lost race":                          {steps: []step{write(job.Running, 5), write(job.Cancelled, 5), written(0, 0), written(1, 6)}, state: job.Cancelled, at: 6},
		"a lost race, told in the other order": {steps: []step{write(job.Cancelled, 5), write(job.Running, 5), event(0, 6), written(1, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := records.NewRecent(10_000)
			var tags []string
			for _, s := range c.steps {
				tags = s(m, tags)
			}
			got := m.Latest("a")
			switch {
			case c.state == "" && got != nil:
				t.Errorf("remembered %s at %d", got.State, got.Revision)
			case c.state != "" && (got == nil || got.State != c.state || got.Revision != c.at):
				t.Errorf("remembered %+v, want %s at %d", got, c.state, c.at)
			}
		})
	}
}

// A caller may change the record that it gets; others do not see that.
func TestRecentJobsGivesCopies(t *testing.T) {
	t.Parallel()
	m := records.NewRecent(10_000)
	m.Written("a", m.Writing(recentRecord("a", job.Running, 1), 100), 2)
	first := m.Latest("a")
	first.State, first.Attempts[0].Outcome = job.Failed, "failed"
	if again := m.Latest("a"); again.State != job.Running || again.Attempts[0].Outcome != "running" {
		t.Errorf("got %+v", again)
	}
}

// The memory is bounded: the records written least recently are dropped first, and one that is larger than the limit is not kept.
func TestRecentJobsAreBounded(t *testing.T) {
	t.Parallel()
	m := records.NewRecent(2300)
	for _, id := range []job.ID{"a", "b", "a", "c"} {
		m.Written(id, m.Writing(recentRecord(string(id), job.Queued, 0), 100), 1)
	}
	if m.Latest("a") == nil || m.Latest("b") != nil || m.Latest("c") == nil {
		t.Error("b should have gone, and nothing else")
	}
	m.Writing(recentRecord("d", job.Queued, 0), 3000)
	if n, held := m.Size(); n != 0 || held != 0 {
		t.Errorf("%d records of %d bytes are kept", n, held)
	}
}
