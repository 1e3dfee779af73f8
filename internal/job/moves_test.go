package job_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/job"
)

// begin is when every test's job is accepted.
func begin() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) }

func record() *job.Record {
	r := &job.Record{ID: "j", Route: "r", Total: time.Hour, ResultTTL: time.Hour, Retry: job.Retry{MaxAttempts: 3}, Store: job.StoreBoth}
	r.Accept(begin())
	return r
}

// in is a job in a state.
func in(tb testing.TB, state job.State) *job.Record {
	tb.Helper()
	r, now := record(), begin().Add(time.Second)
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	away := fault.New(fault.UpstreamUnavailable, "away")
	switch state {
	case job.Queued:
	case job.Scheduled:
		later := begin().Add(time.Minute)
		r.RunAt = &later
		r.Accept(begin())
	case job.Running:
		must(r.Start("w", now))
	case job.Retrying:
		must(r.Start("w", now))
		must(r.Fail(away, time.Minute, now))
	case job.Cancelling:
		must(r.Start("w", now))
		r.Cancel(now)
	case job.Succeeded:
		must(r.Start("w", now))
		must(r.Succeed(&job.Body{Bytes: 1}, time.Second, now))
	case job.Failed:
		must(r.Start("w", now))
		must(r.Fail(fault.New(fault.UpstreamBadResponse, "nonsense"), 0, now))
	case job.Cancelled:
		r.Cancel(now)
	case job.Expired:
		if !r.Lapse(begin().Add(2 * time.Hour)) {
			tb.Fatal("it did not lapse")
		}
	case job.Erased:
		r.Cancel(now)
		must(r.Erase(now))
	}
	if r.State != state {
		tb.Fatalf("a job that was to be %s is %s", state, r.State)
	}
	return r
}

func states() []job.State {
	return []job.State{
		job.Scheduled, job.Queued, job.Running, job.Retrying, job.Cancelling, job.Succeeded, job.Failed, job.Cancelled,
		job.Expired, job.Erased,
	}
}

// moves are what can be done to a job, by name.
func moves() map[string]func(*job.Record, time.Time) error {
	return map[string]func(*job.Record, time.Time) error{
		"start":   func(r *job.Record, now time.Time) error { return r.Start("w2", now) },
		"succeed": func(r *job.Record, now time.Time) error { return r.Succeed(&job.Body{Bytes: 2}, time.Second, now) },
		"fail": func(r *job.Record, now time.Time) error {
			return r.Fail(fault.New(fault.UpstreamBadResponse, "nonsense"), time.Second, now)
		},
		"fail for now": func(r *job.Record, now time.Time) error {
			return r.Fail(fault.New(fault.UpstreamUnavailable, "away"), time.Second, now)
		},
		"return":       func(r *job.Record, now time.Time) error { return r.Return(now) },
		"return apart": func(r *job.Record, now time.Time) error { return r.ReturnApart(now) },
		"abort":        func(r *job.Record, now time.Time) error { return r.Abort(now) },
		"cancel": func(r *job.Record, now time.Time) error {
			r.Cancel(now)
			return nil
		},
		"again": func(r *job.Record, now time.Time) error { return r.Again(now) },
		"erase": func(r *job.Record, now time.Time) error { return r.Erase(now) },
		"lapse": func(r *job.Record, now time.Time) error {
			r.Lapse(now)
			return nil
		},
	}
}

// Every move in every state: where it leads, or that it is refused and changes nothing.
func TestMoves(t *testing.T) {
	t.Parallel()
	const refused = job.State("")
	// In the order of states(): scheduled, queued, running, retrying, cancelling, succeeded, failed, cancelled, expired, erased.
	same := func(except map[job.State]job.State) (row []job.State) {
		for _, s := range states() {
			to, ok := except[s]
			if !ok {
				to = s
			}
			row = append(row, to)
		}
		return row
	}
	none := func(except map[job.State]job.State) (row []job.State) {
		for _, s := range states() {
			row = append(row, except[s])
		}
		return row
	}
	for name, row := range map[string][]job.State{
		"start":        none(map[job.State]job.State{job.Queued: job.Running, job.Running: job.Running, job.Cancelling: job.Cancelled}),
		"succeed":      none(map[job.State]job.State{job.Running: job.Succeeded, job.Cancelling: job.Succeeded}),
		"fail":         none(map[job.State]job.State{job.Running: job.Failed, job.Cancelling: job.Cancelled}),
		"fail for now": none(map[job.State]job.State{job.Running: job.Retrying, job.Cancelling: job.Cancelled}),
		"return":       none(map[job.State]job.State{job.Running: job.Queued, job.Cancelling: job.Cancelled}),
		"return apart": none(map[job.State]job.State{job.Running: job.Queued, job.Cancelling: job.Cancelled}),
		"abort":        none(map[job.State]job.State{job.Cancelling: job.Cancelled}),
		"cancel": same(map[job.State]job.State{
			job.Scheduled: job.Cancelled, job.Queued: job.Cancelled, job.Retrying: job.Cancelled, job.Running: job.Cancelling,
		}),
		"again": none(map[job.State]job.State{job.Failed: job.Queued, job.Cancelled: job.Queued, job.Expired: job.Queued}),
		"erase": none(map[job.State]job.State{
			job.Succeeded: job.Erased, job.Failed: job.Erased, job.Cancelled: job.Erased, job.Expired: job.Erased, job.Erased: job.Erased,
		}),
		"lapse": same(nil), // its time is not over
	} {
		for i, from := range states() {
			r := in(t, from)
			err := moves()[name](r, begin().Add(2*time.Second))
			want := row[i]
			if want == refused {
				if !errors.Is(err, job.ErrMove) || r.State != from {
					t.Errorf("%s of a job that is %s: now %s, %v", name, from, r.State, err)
				}
				continue
			}
			if err != nil || r.State != want {
				t.Errorf("%s of a job that is %s: now %s, want %s, %v", name, from, r.State, want, err)
			}
		}
	}
}

// Whatever happens to a job, in any order: only a new run or an erasure leaves a terminal state, at most one attempt is open,
// attempts and interruptions add up, and a job that ended has an expiry.
func TestMovesInAnyOrder(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, len(moves()))
	for name := range moves() {
		names = append(names, name)
	}
	slices.Sort(names)
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		r, now := record(), begin()
		done := []string{}
		for range 30 {
			name := names[random.IntN(len(names))]
			done = append(done, name)
			now = now.Add(time.Duration(random.Int64N(int64(20 * time.Second))))
			was := *r
			err := moves()[name](r, now)
			problem := ""
			switch {
			case err != nil && (r.State != was.State || r.Starts != was.Starts):
				problem = "a refused move changed it"
			case was.State.Terminal() && r.State != was.State && name != "again" && name != "erase":
				problem = "a terminal state was left"
			case r.State != job.Erased && r.Starts < was.Starts || r.Run < was.Run:
				problem = "a counter went back"
			case r.State.Terminal() && (r.ExpiresAt == nil || r.State != job.Erased && r.FinishedAt == nil || r.Owner != ""):
				problem = "an end without its times"
			case (r.State == job.Running || r.State == job.Cancelling) != (r.Owner != ""):
				problem = "an owner and no run, or a run and no owner"
			case r.State == job.Retrying && r.Attempt >= r.Retry.MaxAttempts:
				problem = "more attempts than allowed"
			case r.State.Waiting() && r.Due().IsZero():
				problem = "it waits for nothing"
			}
			open := 0
			for _, a := range r.Attempts {
				if a.EndedAt == nil {
					open++
				}
			}
			if want := r.State == job.Running || r.State == job.Cancelling; want != (open == 1) || open > 1 {
				problem = "open attempts do not fit the state"
			}
			if problem != "" {
				t.Fatalf("seed %d: %s: after %v it is %+v", seed, problem, done, r)
			}
		}
	}
}

// An attempt that reached the model server counts; one whose worker was lost does not.
func TestInterruptionsAreNoAttempts(t *testing.T) {
	t.Parallel()
	r, now := record(), begin()
	start := func(worker string) {
		t.Helper()
		now = now.Add(time.Second)
		if err := r.Start(worker, now); err != nil {
			t.Fatal(err)
		}
	}
	start("w")
	for i := range 7 {
		if r.State != job.Running || r.Attempt != 1 || r.Interruptions != i || r.Alone() != (i >= 2) {
			t.Fatalf("after %d interruptions: %+v", i, r)
		}
		if next := r.StartsAlone(); next != (i >= 1) {
			t.Errorf("after %d interruptions the next start is alone: %t", i, next)
		}
		start("w")
	}
	if r.State != job.Failed || r.Reason != job.ReasonPoison || r.Error == nil || r.AloneInterruptions != 5 {
		t.Errorf("got %+v", r)
	}
	if err := r.Again(now); err != nil || r.Interruptions != 0 || r.Alone() {
		t.Errorf("a new run begins with %+v, %v", r, err)
	}

	r, now = record(), begin()
	for range 20 {
		start("w")
		if err := r.Return(now); err != nil {
			t.Fatal(err)
		}
	}
	if r.State != job.Queued || r.Interruptions != 0 || r.Attempt != 0 || len(r.Attempts) != 20 {
		t.Errorf("a job that was handed back: %+v", r)
	}
}

// Held tells one start of a worker from another.
func TestHeldTellsOneStartFromAnother(t *testing.T) {
	t.Parallel()
	r := in(t, job.Running)
	first := r.Starts
	if !r.Held("w", first) || r.Held("other", first) {
		t.Error("the worker that has begun does not hold it, or another one does")
	}
	for range 2 {
		if err := r.Start("w", begin()); err != nil {
			t.Fatal(err)
		}
	}
	if r.Held("w", first) || !r.Held("w", r.Starts) {
		t.Error("an old start of the same worker still holds it")
	}
	r.Cancel(begin())
	if !r.Held("w", r.Starts) {
		t.Error("a job that is to be cancelled is not held any more")
	}
	if err := r.Abort(begin()); err != nil || r.Held("w", r.Starts) {
		t.Error("an ended job is held")
	}
}

// What is tried again, after what pause, and for how long.
func TestWhichFailuresAreRetried(t *testing.T) {
	t.Parallel()
	busy := &fault.Error{Code: fault.UpstreamError, Status: 429, Message: "busy", RetryAfter: 90 * time.Second}
	for name, test := range map[string]struct {
		fault *fault.Error
		edit  func(*job.Record)
		state job.State
		after time.Duration
	}{
		"refused connection":     {fault: fault.New(fault.UpstreamUnavailable, "x"), state: job.Retrying, after: time.Second},
		"time out":               {fault: fault.New(fault.UpstreamTimeout, "x"), state: job.Retrying, after: time.Second},
		"429 and its wait":       {fault: busy, state: job.Retrying, after: 90 * time.Second},
		"502":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 502}, state: job.Retrying, after: time.Second},
		"503":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 503}, state: job.Retrying, after: time.Second},
		"504":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 504}, state: job.Retrying, after: time.Second},
		"500":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 500}, state: job.Failed},
		"400":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 400}, state: job.Failed},
		"422":                    {fault: &fault.Error{Code: fault.UpstreamError, Status: 422}, state: job.Failed},
		"wrong shape":            {fault: fault.New(fault.UpstreamBadResponse, "x"), state: job.Failed},
		"last attempt":           {fault: busy, state: job.Failed, edit: func(r *job.Record) { r.Retry.MaxAttempts = 1 }},
		"wait past the deadline": {fault: busy, state: job.Failed, edit: func(r *job.Record) { r.Deadline = begin().Add(time.Minute) }},
		"wait past max_elapsed":  {fault: busy, state: job.Failed, edit: func(r *job.Record) { r.Retry.MaxElapsed = time.Minute }},
		"deadline has passed":    {fault: busy, state: job.Failed, edit: func(r *job.Record) { r.Deadline = begin() }},
	} {
		r := in(t, job.Running)
		if test.edit != nil {
			test.edit(r)
		}
		now := begin().Add(2 * time.Second)
		if err := r.Fail(test.fault, time.Second, now); err != nil || r.State != test.state {
			t.Errorf("%s: %s, %v", name, r.State, err)
			continue
		}
		if test.state == job.Retrying && !r.NextAttemptAt.Equal(now.Add(test.after)) {
			t.Errorf("%s: the next attempt is at %s", name, r.NextAttemptAt)
		}
		if r.Error == nil || r.Attempts[0].Outcome != "failed" || r.Attempts[0].Error == nil {
			t.Errorf("%s: it does not say why: %+v", name, r)
		}
	}
}

// Pauses are spread over the whole of a growing bound, so jobs that failed together do not return together.
func TestPausesAreSpreadOverTheirBound(t *testing.T) {
	t.Parallel()
	const n = 2000
	for attempt := range 15 {
		bound := min(time.Second<<min(attempt, 12), job.MaxPause)
		early, late := 0, 0
		for range n {
			pause := job.Pause(attempt)
			if pause <= 0 || pause > bound {
				t.Fatalf("attempt %d: %s", attempt, pause)
			}
			if pause < bound/4 {
				early++
			}
			if pause > bound*3/4 {
				late++
			}
		}
		if early < n/5 || late < n/5 {
			t.Errorf("attempt %d: %d pauses in the first quarter of %s, %d in the last, of %d", attempt, early, bound, late, n)
		}
	}
}

// Queue timeout and deadline: a job that has never started expires, a running job fails, and at the same instant one of both holds.
func TestJobWhoseTimeIsOverEnds(t *testing.T) {
	t.Parallel()
	r := record()
	r.QueueTime = time.Minute
	r.Accept(begin())
	limit := begin().Add(time.Minute)
	if r.Lapse(limit.Add(-1)) {
		t.Error("it lapsed before its time")
	}
	early := *r
	if err := early.Start("w", limit.Add(-1)); err != nil || early.State != job.Running || early.Lapse(limit.Add(time.Hour/2)) {
		t.Errorf("a job that has started in time: %+v, %v", early, err)
	}
	late := *r
	if err := late.Start("w", limit); err != nil || late.State != job.Expired || late.Reason != job.ReasonQueueTimeout || late.Starts != 0 {
		t.Errorf("a start at the limit: %+v, %v", late, err)
	}
	for _, state := range []job.State{job.Scheduled, job.Queued, job.Retrying} {
		r := in(t, state)
		if r.Lapse(r.Deadline.Add(-1)) || !r.Lapse(r.Deadline) || r.State != job.Expired || r.Reason != job.ReasonDeadline {
			t.Errorf("a job that was %s: %+v", state, r)
		}
	}
	r = in(t, job.Running)
	if err := r.Start("other", r.Deadline); err != nil || r.State != job.Failed || r.Reason != job.ReasonDeadline {
		t.Errorf("a lost worker's job after its deadline: %+v, %v", r, err)
	}
	for code, want := range map[fault.Code]fault.Code{fault.UpstreamTimeout: fault.Deadline, fault.UpstreamBadResponse: fault.UpstreamBadResponse} {
		r = in(t, job.Running)
		if err := r.Fail(fault.New(code, "x"), 0, r.Deadline); err != nil || r.Reason != job.ReasonDeadline || r.Error.Code != string(want) || r.Attempts[0].Error.Code != string(code) {
			t.Errorf("a call that ended with %s at the deadline: %+v, %v", code, r, err)
		}
	}
	r = in(t, job.Scheduled)
	if err := r.Start("w", *r.RunAt); err != nil || r.State != job.Running {
		t.Errorf("a scheduled job at its time: %+v, %v", r, err)
	}
}

// A result, and what is kept of it, until its expiry; then a tombstone.
func TestResultExpiresIntoATombstone(t *testing.T) {
	t.Parallel()
	for _, store := range []job.Store{job.StoreBoth, job.StoreInputs, job.StoreOutputs, job.StoreNone} {
		r := in(t, job.Running)
		r.Store = store
		if err := r.Succeed(&job.Body{Bytes: 1}, time.Second, begin()); err != nil {
			t.Fatal(err)
		}
		if kept := r.Result != nil; kept != (store == job.StoreBoth || store == job.StoreOutputs) {
			t.Errorf("store %s: the result is kept: %t", store, kept)
		}
		end := begin().Add(time.Hour)
		if r.Gone(end.Add(-1)) || !r.Gone(end) || r.Life(begin()) != time.Hour+7*24*time.Hour || r.Life(end.Add(time.Hour)) != 7*24*time.Hour {
			t.Errorf("it is gone at %s, kept for %s", r.ExpiresAt, r.Life(begin()))
		}
	}
	if r := in(t, job.Queued); r.Life(begin()) != 0 || r.Gone(begin().Add(1000*time.Hour)) {
		t.Error("a job that waits can vanish")
	}
}

// Ids sort by the time of their making; those of clients are read as they are.
func TestIDsSortByTheirTime(t *testing.T) {
	t.Parallel()
	last := job.ID("")
	for i := range 100 {
		id := job.NewID(begin().Add(time.Duration(i) * time.Millisecond))
		if id <= last || !job.Ours(id) || job.Order(id, begin()) != string(id) {
			t.Errorf("%s after %s", id, last)
		}
		last = id
	}
	for text, ok := range map[string]bool{"a": true, "A-b_9": true, "": false, "a b": false, "a.b": false, "ä": false, "a/b": false} {
		if _, got := job.ParseID(text); got != ok {
			t.Errorf("%q: %t", text, got)
		}
	}
	if earlier, later := job.Order("zz", begin()), job.Order("aa", begin().Add(time.Millisecond)); earlier >= later {
		t.Error("ids of clients do not sort by the time of accepting")
	}
}
