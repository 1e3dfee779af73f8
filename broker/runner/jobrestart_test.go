package runner_test

import (
	"testing"
	"time"

	"headrace/broker/natsd"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// A clean end of everything and a new start on the same files: jobs that were scheduled, that waited, and that waited
// for their next attempt run in their time; keys and paused queues are as they were, and results are still there.
func TestJobsSurviveRestart(t *testing.T) { //nolint:tparallel // its lives follow each other
	t.Parallel()
	dir, other := t.TempDir(), lanetest.TestRoute("paused")
	var at time.Time
	live := func(t *testing.T) *jobRig {
		t.Helper()
		r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("jobs")}
		r.ServeBrokerIn(dir, natsd.Config{MaxMemory: 64 << 20})
		r.Keep()
		r.Front = r.NewFront()
		r.sweep()
		r.jobs = r.newJobs()
		return r
	}
	named := func(r *jobRig, id job.ID) *job.Record {
		rec := r.record()
		rec.ID = id
		return rec
	}
	t.Run("before", func(t *testing.T) { //nolint:paralleltest // see above
		r := live(t)
		stop := r.Serve(1, r.Echo, r.route)
		r.until(r.accept(named(r, "done"), `"done"`).ID, job.Succeeded)
		stop()
		r.accept(named(r, "waits"), `"waits"`)
		later := named(r, "later")
		at = time.Now().Add(3 * time.Second)
		later.RunAt = &at
		r.accept(later, `"later"`)
		failed, store := r.prepare(`"failed"`)
		failed.ID = "failed"
		r.must(failed.Start("lost", time.Now().UTC()))
		next := at.UTC()
		failed.State, failed.Owner, failed.NextAttemptAt = job.Retrying, "", &next
		r.must(store.Put(t.Context(), failed))
		if id, _, err := r.jobs.Key(t.Context(), "scope", "key", "mine", "f", time.Hour); err != nil || id != "mine" {
			t.Errorf("%s, %v", id, err)
		}
		r.must(r.jobs.Pause(t.Context(), other.Name, true))
		held := named(r, "held")
		held.Route = other.Name
		r.accept(held, `"held"`)
	})
	t.Run("after", func(t *testing.T) { //nolint:paralleltest // see above
		r := live(t)
		handle, ran := counting(r.Echo)
		r.Serve(2, handle, r.route, other)
		r.until("waits", job.Succeeded)
		for _, id := range []job.ID{"later", "failed"} {
			rec := r.until(id, job.Succeeded)
			if rec.StartedAt.Before(at) && id == "later" || rec.FinishedAt.Before(at) || rec.FinishedAt.Sub(at) > 15*time.Second {
				t.Errorf("job %s ended at %s, its time was %s", id, rec.FinishedAt, at)
			}
		}
		if id, _, err := r.jobs.Key(t.Context(), "scope", "key", "another", "f", time.Hour); err != nil || id != "mine" {
			t.Errorf("the key belongs to %s, %v", id, err)
		}
		if got := r.result(r.until("done", job.Succeeded)); got != `"done"` {
			t.Errorf("the result became %s", got)
		}
		if rec, err := r.jobs.Get(t.Context(), "held"); err != nil || rec.State != job.Queued || ran.Load() != 3 {
			t.Errorf("a job of a paused queue: %+v, %v; %d ran", rec, err, ran.Load())
		}
		r.must(r.jobs.Pause(t.Context(), other.Name, false))
		r.until("held", job.Succeeded)
	})
}

// A worker hands its jobs back and the broker stops right after it, as when a lone process ends: they run as soon as both are
// back, not when the old leases would have ended.
func TestJobHandedBackRunsAfterRestart(t *testing.T) { //nolint:tparallel // its lives follow each other
	t.Parallel()
	dir := t.TempDir()
	live := func(t *testing.T) *jobRig {
		t.Helper()
		r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("jobs")}
		r.ServeBrokerIn(dir, natsd.Config{MaxMemory: 64 << 20})
		r.Keep()
		r.Front = r.NewFront()
		r.sweep()
		r.jobs = r.newJobs()
		return r
	}
	const n = 3
	t.Run("before", func(t *testing.T) { //nolint:paralleltest // see above
		r := live(t)
		end, stop := r.NewWorkerEnd(n+1, r.route)
		in := end.Intake([]*inference.Route{r.route})
		var running []lease.Claim
		for _, id := range []job.ID{"a", "b", "c"} {
			rec := r.record()
			rec.ID = id
			r.accept(rec, `"x"`)
		}
		for len(running) < n {
			leased, err := in.Lease(t.Context(), n+1-len(running))
			r.must(err)
			for _, d := range leased {
				_, claim, err := d.Claim(t.Context())
				r.must(err)
				running = append(running, claim)
			}
		}
		in.Close()
		for _, claim := range running {
			if err := claim.Fail(t.Context(), fault.New(fault.ShuttingDown, "this worker stops")); fault.CodeOf(err) != fault.ShuttingDown {
				t.Error(err)
			}
		}
		stop()
	})
	t.Run("after", func(t *testing.T) { //nolint:paralleltest // see above
		began := time.Now()
		r := live(t)
		r.Serve(n+1, r.Echo, r.route)
		for _, id := range []job.ID{"a", "b", "c"} {
			if rec := r.until(id, job.Succeeded); rec.Attempt != 1 || rec.FinishedAt.Sub(began) > 15*time.Second {
				t.Errorf("job %s: attempt %d, %s after the start", id, rec.Attempt, rec.FinishedAt.Sub(began))
			}
		}
	})
}
