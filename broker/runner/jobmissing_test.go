package runner_test

import (
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// Queue entries that disappear after they were checked are missed: their jobs run, and until then it can be seen since when
// the oldest waits. PURGED is how many there are.
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
	n := 2000
	if text := os.Getenv("PURGED"); text != "" {
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	ids := make([]job.ID, n)
	const clients = 16
	var accepting sync.WaitGroup
	for first := range clients {
		accepting.Go(func() {
			for i := first; i < n; i += clients {
				ids[i] = r.accept(r.record(), `"x"`).ID
			}
		})
	}
	accepting.Wait()
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
	for before := int64(-1); ran.Load() < int64(n) && ran.Load() > before; {
		before = ran.Load()
		lanetest.Eventually(func() bool { return ran.Load() == int64(n) })
	}
	for _, id := range ids {
		r.until(id, job.Succeeded)
	}
	if ran.Load() != int64(n) {
		t.Errorf("%d jobs ran, want %d", ran.Load(), n)
	}
	t.Logf("%d jobs were accepted and ran in %s", n, time.Since(began).Round(time.Second))
}
