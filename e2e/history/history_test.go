package history_test

import (
	"cmp"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/e2e/history"
	"headrace/internal/job"
)

// life is a history of one job that was accepted and has succeeded, the ordinary way.
func life() (h *history.History, n int) {
	h = history.New()
	n = h.Ask()
	h.Accepted(n, view(job.Queued, 1, 1), h.Now())
	h.Ran(n)
	h.Saw(n, view(job.Running, 1, 2), h.Now())
	h.Saw(n, view(job.Succeeded, 1, 3), h.Now())
	h.Read(n, 1, 42)
	return h, n
}

// view is a job after one attempt, once it has begun.
func view(s job.State, run int, revision uint64) history.View {
	v := history.View{ID: "a", State: s, Run: run, Revision: revision}
	if s != job.Queued {
		v.Attempt = 1
	}
	return v
}

// events notes what a reader got, such as "status 2"; a job is queued at revision 1, runs at 2, 5 and 6, and succeeds at 3.
func events(h *history.History, n int, from uint64, all ...string) {
	s := h.Follow(n, from)
	s.Quiet = from == s.Known && from > 0
	for _, text := range all {
		kind, number, _ := strings.Cut(text, " ")
		revision, _ := strconv.ParseUint(number, 10, 64)
		state := map[uint64]job.State{1: job.Queued, 3: job.Succeeded}[revision]
		s.Events = append(s.Events, history.Event{ID: revision, Kind: kind, View: view(cmp.Or(state, job.Running), 1, revision)})
	}
	h.Streamed(n, s)
}

func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		broken history.Invariant // "" = none
		text   string
		do     func(h *history.History, n int)
	}{
		"nothing":            {do: func(*history.History, int) {}},
		"a job that is lost": {history.Ends, "is lost", func(h *history.History, n int) { h.Missing(n, h.Now()) }},
		"a job that does not end": {history.Ends, "does not end", func(h *history.History, _ int) {
			h.Accepted(h.Ask(), view(job.Running, 1, 9), h.Now())
		}},
		"a job that is in no state": {history.Ends, "no state", func(h *history.History, n int) { h.Saw(n, view("lost", 1, 9), h.Now()) }},
		"a job that was erased":     {history.Ends, "no client asked", func(h *history.History, n int) { h.Saw(n, view(job.Erased, 1, 9), h.Now()) }},
		"a job cancelled without a request": {history.Ends, "no client asked", func(h *history.History, _ int) {
			n := h.Ask()
			h.Accepted(n, view(job.Cancelled, 1, 9), h.Now())
			h.AskCancel(n)
			h.Saw(n, view(job.Cancelled, 1, 9), h.Now())
		}},
		"an end that changes": {history.Final, "and then failed", func(h *history.History, n int) { h.Saw(n, view(job.Failed, 1, 4), h.Now()) }},
		"an end that is taken back": {history.Final, "and then queued", func(h *history.History, n int) {
			h.Saw(n, view(job.Queued, 1, 4), h.Now())
		}},
		"an end that is forgotten for a while": {history.Final, "and then running", func(h *history.History, n int) {
			h.Saw(n, view(job.Running, 1, 2), h.Now())
		}},
		"an end that came before something else": {history.Final, "and running at revision 8", func(h *history.History, _ int) {
			n, asked := h.Ask(), h.Now()
			h.Accepted(n, view(job.Running, 1, 8), asked)
			h.Saw(n, view(job.Failed, 1, 7), asked)
			h.Saw(n, view(job.Failed, 1, 9), asked)
		}},
		"a revision in two states": {history.Final, "revision 3", func(h *history.History, n int) { h.Saw(n, view(job.Expired, 1, 3), 0) }},
		"a run that no client asked for": {history.Final, "run 2", func(h *history.History, n int) {
			h.Saw(n, view(job.Succeeded, 2, 9), h.Now())
		}},
		"a run that comes back": {history.Final, "run 1 was seen after run 2", func(h *history.History, n int) {
			h.AskRun(n)
			h.Saw(n, view(job.Succeeded, 2, 9), h.Now())
			h.Saw(n, view(job.Succeeded, 1, 3), h.Now())
		}},
		"an end that is written twice": {history.Final, "once more", func(h *history.History, n int) {
			h.Saw(n, view(job.Succeeded, 1, 4), h.Now())
		}},
		"a run after success": {history.Final, "run 1 had succeeded", func(h *history.History, n int) {
			h.AskRun(n)
			h.Saw(n, view(job.Queued, 2, 4), h.Now())
			h.Saw(n, view(job.Succeeded, 2, 5), h.Now())
		}},
		"an erased job that is back": {history.Final, "it was erased", func(h *history.History, n int) {
			h.AskErase(n)
			h.Gone(n, h.Now())
			h.Saw(n, view(job.Queued, 1, 4), h.Now())
		}},
		"an erased job that is forgotten": {history.Ends, "is lost", func(h *history.History, n int) {
			h.AskErase(n)
			h.Gone(n, h.Now())
			h.Missing(n, h.Now())
			h.Missing(n, h.Now())
		}},
		"a job that is gone":    {history.Ends, "it is gone", func(h *history.History, n int) { h.Gone(n, h.Now()) }},
		"a result that is gone": {history.Same, "gone before", func(h *history.History, n int) { h.NoResult(n) }},
		"a result with another digest": {history.Same, "says of it", func(h *history.History, _ int) {
			n, v := h.Ask(), view(job.Succeeded, 1, 9)
			v.Digest = 7
			h.Ran(n)
			h.Accepted(n, v, h.Now())
			h.Read(n, 1, 8)
		}},
		"a digest that changes": {history.Same, "says of the result", func(h *history.History, n int) {
			v := view(job.Succeeded, 1, 3)
			for v.Digest = range uint64(3) {
				h.Saw(n, v, h.Now())
			}
		}},
		"an attempt too many": {history.Recorded, "attempt 3 of 2", func(h *history.History, _ int) {
			h.Accepted(h.Ask(), history.View{ID: "b", State: job.Failed, Run: 1, Attempt: 3, MaxAttempts: 2, Revision: 9}, h.Now())
		}},
		"answers of nobody":                 {history.Recorded, "names 2 answers", func(h *history.History, n int) { h.Called(n, 2) }},
		"a job of a paused queue that runs": {history.Recorded, "was paused", func(h *history.History, n int) { h.Held(n) }},
		"another job under a key":           {history.One, "in its place", func(h *history.History, n int) { h.Twice(n, "200") }},
		"events that say nothing": {history.Events, "begin with nothing", func(h *history.History, n int) {
			s := h.Follow(n, 2)
			s.Quiet = true
			h.Streamed(n, s)
		}},
		"events without a snapshot": {history.Events, "begin with status", func(h *history.History, n int) { events(h, n, 0, "status 3") }},
		"events with two snapshots": {history.Events, "comes after other", func(h *history.History, n int) { events(h, n, 0, "snapshot 3", "snapshot 3") }},
		"events of the past": {history.Events, "was at revision 6", func(h *history.History, n int) {
			h.Ran(n)
			events(h, n, 0, "snapshot 3", "done 3")
			other := h.Ask()
			events(h, other, 0, "snapshot 6")
			events(h, other, 0, "snapshot 5")
			h.Attempted(n, 2)
		}},
		"events in no order": {history.Events, "after event 6", func(h *history.History, _ int) {
			events(h, h.Ask(), 0, "snapshot 6", "status 5")
		}},
		"events that are done too early": {history.Events, "are done, and it is running", func(h *history.History, _ int) {
			events(h, h.Ask(), 0, "snapshot 2", "done 2")
		}},
		"events that do not end":                {history.Events, "do not tell", func(h *history.History, n int) { h.Endless(n) }},
		"a result that changes":                 {history.Same, "has changed", func(h *history.History, n int) { h.Read(n, 1, 43) }},
		"a result of another job":               {history.Same, "not its own", func(h *history.History, n int) { h.Wrong(n, "it is job 7's") }},
		"an execution too many":                 {history.Recorded, "2 times", func(h *history.History, n int) { h.Ran(n) }},
		"an execution that no client asked for": {history.Recorded, "no client asked", func(h *history.History, _ int) { h.Ran(17) }},
		"a history that is too short": {history.Recorded, "3 times", func(h *history.History, n int) {
			h.Ran(n)
			h.Ran(n)
			h.Attempted(n, 2)
		}},
		"a result out of nothing": {history.Recorded, "no model server", func(h *history.History, _ int) {
			h.Accepted(h.Ask(), view(job.Succeeded, 1, 9), h.Now())
		}},
		"one key, two jobs": {history.One, "job b too", func(h *history.History, n int) {
			h.Accepted(n, history.View{ID: "b", State: job.Queued, Run: 1, Revision: 9}, h.Now())
		}},
		"one key, another id": {history.One, "job c too", func(h *history.History, n int) { h.Accepted(n, history.View{ID: "c"}, h.Now()) }},
		"a slot that is held": {history.Idle, "headrace_slots_busy is 1", func(h *history.History, _ int) { h.AtRest("headrace_slots_busy", 1) }},
		"a slow recovery": {history.Recovery, "36s", func(h *history.History, _ int) {
			h.Recovered("a killed worker's job", 36*time.Second, 35*time.Second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, n := life()
			c.do(h, n)
			r := h.Check()
			if c.broken == "" {
				if len(r.Broken) > 0 {
					t.Fatalf("violations where there are none: %s", r)
				}
				return
			}
			if len(r.Broken) != 1 || r.Broken[c.broken] == 0 || !strings.Contains(r.String(), c.text) {
				t.Errorf("want a violation of %s with %q, got %s", c.broken, c.text, r)
			}
		})
	}
}

// What looks odd and is allowed.
func TestCheckAllows(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(h *history.History, n int){
		"a slow answer that shows an earlier state": func(h *history.History, _ int) {
			n, early := h.Ask(), h.Now()
			h.Accepted(n, view(job.Queued, 1, 5), h.Now())
			h.Ran(n)
			h.Saw(n, view(job.Succeeded, 1, 7), h.Now())
			h.Saw(n, view(job.Running, 1, 6), early)
		},
		"a job that is missing before it was accepted": func(h *history.History, _ int) {
			n, early := h.Ask(), h.Now()
			h.Accepted(n, view(job.Succeeded, 1, 5), h.Now())
			h.Ran(n)
			h.Missing(n, early)
		},
		"executions that an interruption explains": func(h *history.History, _ int) {
			n := h.Ask()
			h.Accepted(n, view(job.Queued, 1, 5), h.Now())
			h.Ran(n)
			h.Ran(n)
			h.Saw(n, history.View{ID: "a", State: job.Succeeded, Run: 1, Attempt: 1, Interruptions: 1, Revision: 8}, h.Now())
		},
		"executions that attempts handed back explain": func(h *history.History, n int) {
			h.Ran(n)
			h.Attempted(n, 2)
		},
		"another run that was asked for": func(h *history.History, _ int) {
			n := h.Ask()
			h.Accepted(n, view(job.Queued, 1, 5), h.Now())
			h.AskCancel(n)
			h.Saw(n, view(job.Cancelled, 1, 6), h.Now())
			h.AskRun(n)
			h.Saw(n, view(job.Queued, 2, 7), h.Now())
			h.Ran(n)
			h.Saw(n, view(job.Succeeded, 2, 9), h.Now())
			h.Read(n, 2, 1)
		},
		"a result read of an earlier run": func(h *history.History, n int) { h.Read(n, 0, 7) },
		"an erased job": func(h *history.History, n int) {
			early := h.Now()
			h.AskErase(n)
			h.Gone(n, h.Now())
			h.Gone(n, h.Now())
			h.Saw(n, view(job.Succeeded, 1, 3), early)
			h.NoResult(n)
		},
		"a refused job that is asked for again": func(h *history.History, _ int) {
			n, early := h.Ask(), h.Now()
			h.Gone(n, early)
			h.Ran(n)
			h.Accepted(n, view(job.Succeeded, 1, 5), h.Now())
			h.Gone(n, early)
		},
		"failed jobs that are redriven": func(h *history.History, _ int) {
			n := h.Ask()
			h.Accepted(n, view(job.Failed, 1, 5), h.Now())
			h.AskRuns()
			h.Ran(n)
			h.Saw(n, view(job.Succeeded, 2, 6), h.Now())
		},
		"a start that is lost with the power": func(h *history.History, _ int) {
			n := h.Ask()
			h.Accepted(n, view(job.Queued, 1, 5), h.Now())
			late := h.Now()
			h.Saw(n, view(job.Running, 1, 6), h.Now())
			h.PowerLost()
			h.Saw(n, view(job.Retrying, 1, 7), late)
			h.Saw(n, view(job.Queued, 1, 5), h.Now())
			h.Ran(n)
			h.Saw(n, view(job.Succeeded, 1, 6), h.Now())
		},
		"events of a whole life": func(h *history.History, n int) {
			other := h.Ask()
			h.Ran(other)
			events(h, other, 0, "snapshot 1", "status 2", "status 3", "done 3")
			events(h, n, 3, "done 3")
			events(h, n, 2, "snapshot 3", "done 3")
		},
		"a gauge at zero":                      func(h *history.History, _ int) { h.AtRest("headrace_body_bytes", 0) },
		"a recovery in time":                   func(h *history.History, _ int) { h.Recovered("all", time.Second, time.Minute) },
		"an acceptance that tells only the id": func(h *history.History, n int) { h.Accepted(n, history.View{ID: "a"}, h.Now()) },
		"a job that was never accepted":        func(h *history.History, _ int) { h.Ran(h.Ask()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, n := life()
			do(h, n)
			if r := h.Check(); len(r.Broken) > 0 {
				t.Errorf("%s", r)
			}
		})
	}
}

// The driver of a run asks what is left to look at.
func TestLists(t *testing.T) {
	t.Parallel()
	h, done := life()
	open, never := h.Ask(), h.Ask()
	h.Accepted(open, view(job.Running, 1, 5), h.Now())
	h.Ran(done)
	if r := h.SoFar(); len(r.Broken) > 0 || r.Accepted != 2 {
		t.Errorf("so far: %s", r)
	}
	if got := h.Open(); len(got) != 1 || got[0] != open {
		t.Errorf("open: %v", got)
	}
	if got := h.All(); len(got) != 2 {
		t.Errorf("known: %v", got)
	}
	if got := h.Interrupted(); len(got) != 0 {
		t.Errorf("interrupted: %v", got)
	}
	h.Saw(open, history.View{ID: "a", State: job.Running, Run: 1, Attempt: 2, Interruptions: 3, Revision: 6}, h.Now())
	if got := h.Interrupted(); len(got) != 1 || got[0] != open {
		t.Errorf("interrupted: %v", got)
	}
	if got := h.Unexplained(); len(got) != 1 || got[0] != done {
		t.Errorf("unexplained: %v", got)
	}
	if h.ID(done) != "a" || h.ID(never) != "" || h.Len() != 3 {
		t.Errorf("ids %q and %q of %d", h.ID(done), h.ID(never), h.Len())
	}
	if s, run := h.State(done); s != job.Succeeded || run != 1 {
		t.Errorf("the job is %s in run %d", s, run)
	}
	r := h.Check()
	if again := h.Check(); again.String() != r.String() {
		t.Errorf("checking twice gives %s and %s", r, again)
	}
	if r.Accepted != 2 || r.Retries != 1 || r.Interruptions != 3 || r.Unknown != 1 || r.Executions != 2 || r.States[job.Succeeded] != 1 {
		t.Errorf("%+v", r)
	}
}

// What is said of a job that is lost tells what had happened to it, as far as it is not too much.
func TestViolationsTellTheStory(t *testing.T) {
	t.Parallel()
	h, n := life()
	h.AskCancel(n)
	for range 20 {
		h.Ran(n)
	}
	h.Missing(n, h.Now())
	v := h.Check().Violations[0]
	if v.Invariant != history.Ends || v.ID != "a" || strings.Count(v.Trail, "execution") != 15 || !strings.HasSuffix(v.Trail, "execution 21, "+v.Trail[strings.LastIndex(v.Trail, ", ")+2:]) {
		t.Errorf("%s: %s", v, v.Trail)
	}
	if !h.Broken(history.Ends) || h.Broken(history.One) {
		t.Error("broken are others")
	}
	h, n = life()
	h.Missing(n, h.Now())
	for _, step := range []string{"accepted at revision 1", "execution 1", "running in run 1 at revision 2", "succeeded in run 1 at revision 3", "not found"} {
		if _, rest, ok := strings.Cut(h.Check().Violations[0].Trail, step); !ok {
			t.Errorf("%q is missing before %q", step, rest)
		}
	}
}

// Hundreds of thousands of jobs fit into little memory, also when all of them are broken.
func TestManyJobs(t *testing.T) {
	t.Parallel()
	h := history.New()
	for range 100_000 {
		n := h.Ask()
		h.Accepted(n, view(job.Queued, 1, 1), h.Now())
	}
	r := h.Check()
	if r.Broken[history.Ends] != 100_000 || len(r.Violations) > 200 {
		t.Errorf("%d violations, %d of them kept", r.Broken[history.Ends], len(r.Violations))
	}
}
