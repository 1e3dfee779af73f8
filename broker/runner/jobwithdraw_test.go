package runner_test

import (
	"fmt"
	"testing"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// A job whose place in the queue was refused is not there. Its caller, which was told to come again, is served when it does,
// under the same id.
func TestJobRefusedByTheQueue(t *testing.T) {
	t.Parallel()
	r := &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("jobs")}
	r.ServeBroker(natsd.Config{MaxMemory: 64 << 20})
	r.KeepWithin(records.Limits{MaxStore: 320 << 10}) // room for about ten in a queue
	r.Front, r.jobs = r.NewFront(), r.newJobs()
	t.Cleanup(r.Balanced)
	accept := func(id string) (*job.Record, bool, error) {
		rec := r.record()
		rec.ID = job.ID(id)
		return r.jobs.Accept(t.Context(), rec, []byte(`"x"`), lanetest.Request(r.route, `"x"`))
	}
	refused := ""
	for n := range 40 {
		id := fmt.Sprint("job-", n)
		if _, _, err := accept(id); err != nil {
			if f := fault.From(err); f.Code != fault.QueueFull || f.RetryAfter <= 0 {
				t.Fatal(err)
			}
			refused = id
			break
		}
	}
	if refused == "" {
		t.Fatal("40 jobs fit into a queue for ten")
	}
	if rec, err := r.jobs.Get(t.Context(), job.ID(refused)); err != nil || rec.State != job.Erased {
		t.Errorf("the refused job: %+v, %v", rec, err)
	}
	if _, _, err := accept(refused); fault.CodeOf(err) != fault.QueueFull {
		t.Errorf("again, while the queue is full: %v", err)
	}
	r.Serve(2, r.Echo, r.route)
	if !lanetest.Eventually(func() bool {
		rec, fresh, err := accept(refused)
		return err == nil && fresh && rec.State == job.Queued
	}) {
		t.Fatal("the refused job is not accepted afterwards")
	}
	if got := r.result(r.until(job.ID(refused), job.Succeeded)); got != `"x"` {
		t.Errorf("its result is %q", got)
	}
	if err := r.jobs.Erase(t.Context(), job.ID(refused)); err != nil {
		t.Fatal(err)
	}
	if rec, fresh, err := accept(refused); err != nil || fresh || rec.State != job.Erased {
		t.Errorf("a job that was erased on demand is accepted again: %+v, fresh %t, %v", rec, fresh, err)
	}
}
