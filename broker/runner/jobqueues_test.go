package runner_test

import (
	"context"
	"testing"
	"time"

	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// The jobs of a paused route wait, also for workers that come later; those of others run. What is resumed runs.
func TestJobPause(t *testing.T) {
	t.Parallel()
	for _, f := range []lanetest.Form{lanetest.InProcess, lanetest.OverTCP} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			r := newJobRig(t, f)
			other := lanetest.TestRoute("other")
			if err := r.jobs.Pause(t.Context(), r.route.Name, true); err != nil {
				t.Fatal(err)
			}
			held := r.accept(r.record(), `"held"`)
			r.Serve(2, r.Echo, r.route, other)
			for range 3 {
				free := r.record()
				free.Route = other.Name
				r.until(r.accept(free, `"free"`).ID, job.Succeeded)
			}
			now, err := r.jobs.Get(t.Context(), held.ID)
			if err != nil || now.State != job.Queued {
				t.Errorf("a job of a paused route: %v, %v", now, err)
			}
			later := r.newJobs()
			if !lanetest.Eventually(func() bool { return later.Paused(r.route.Name) && !later.Paused(other.Name) }) {
				t.Error("another front end does not know that the route is paused")
			}
			if err := later.Pause(t.Context(), r.route.Name, false); err != nil {
				t.Fatal(err)
			}
			r.until(held.ID, job.Succeeded)
			if !lanetest.Eventually(func() bool { return !r.jobs.Paused(r.route.Name) }) {
				t.Error("it is still called paused")
			}
		})
	}
}

// A waiting job is told its place, which becomes less as those before it are started; the queue tells its age.
func TestWaitingJobKnowsItsPosition(t *testing.T) {
	t.Parallel()
	r := newJobRig(t, lanetest.InProcess)
	var last *job.Record
	began := time.Now()
	const n = 6
	for range n {
		last = r.accept(r.record(), `"x"`)
	}
	ahead := func(want func(int) bool) func() bool {
		return func() bool {
			place, ok := r.jobs.Place(t.Context(), last)
			return ok && want(place.Ahead)
		}
	}
	if !lanetest.Eventually(ahead(func(place int) bool { return place == n })) {
		t.Error("the last of six jobs is not told that it is the sixth")
	}
	lane := r.jobs.Queue(r.route.Name)[job.Standard]
	if lane.Waiting != n || lane.Oldest.Before(began.Add(-time.Second)) || lane.Oldest.After(time.Now()) {
		t.Errorf("the queue is told to be %+v", lane)
	}
	running, release := make(chan struct{}, n), make(chan struct{})
	r.Serve(1, func(ctx context.Context, c lease.Claim) {
		running <- struct{}{}
		<-release
		r.Echo(ctx, c)
	}, r.route)
	<-running
	if !lanetest.Eventually(ahead(func(place int) bool { return place > 0 && place < n })) {
		t.Error("its place does not become less")
	}
	close(release)
	done := r.until(last.ID, job.Succeeded)
	if _, ok := r.jobs.Place(t.Context(), done); ok {
		t.Error("a job that has ended has a place")
	}
	if !lanetest.Eventually(func() bool { return r.jobs.Queue(r.route.Name)[job.Standard].Waiting == 0 }) {
		t.Errorf("the empty queue is told to be %+v", r.jobs.Queue(r.route.Name))
	}
}
