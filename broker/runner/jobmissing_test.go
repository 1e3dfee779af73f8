package runner_test

import (
	"testing"
	"time"

	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// Queue entries that disappear after they were checked are missed: their jobs run, and until then it can be seen since when
// the oldest waits.
func TestPurgedQueue(t *testing.T) {
	t.Parallel()
	r := &jobRig{Rig: lanetest.NewRig(t, lanetest.InProcess), route: lanetest.TestRoute("jobs")}
	sweeper, err := sweeper.New(r.Dial, r.Shared.Syncs, r.Disk(), r.Log)
	if err != nil {
		t.Fatal(err)
	}
	lanetest.Background(t, sweeper.Run)
	r.jobs = r.newJobs()
	if err := r.jobs.Pause(t.Context(), r.route.Name, true); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	began := time.Now()
	ids := make([]job.ID, n)
	for i := range ids {
		ids[i] = r.accept(r.record(), `"x"`).ID
	}
	lane := records.Lane{Route: r.route.Name, Priority: job.Standard}
	oldest := func() time.Time { return sweeper.Oldest()[lane] }
	if !lanetest.Eventually(func() bool { return sweeper.Checked() && !oldest().IsZero() }) {
		t.Fatal("the queue is not measured")
	}
	js := streamsOf(t, r.Rig)
	name, _ := jobLane(r.route, job.Standard)
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !lanetest.Eventually(func() bool { return sweeper.Short(lane) }) {
		t.Error("it is not seen that the queue is short")
	}
	if at := oldest(); at.IsZero() || at.Before(began.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("the oldest job waits since %s, want about %s", at, began)
	}
	handle, ran := counting(r.Echo)
	r.work(4, handle)
	if err := r.jobs.Pause(t.Context(), r.route.Name, false); err != nil {
		t.Fatal(err)
	}
	r.until(ids[0], job.Succeeded)
	for _, id := range ids {
		r.until(id, job.Succeeded)
	}
	if ran.Load() != n {
		t.Errorf("%d jobs ran, want %d", ran.Load(), n)
	}
}
