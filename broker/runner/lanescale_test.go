package runner_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

// Ten thousand routes on a hundred model servers, a call and a job on two thousand of them within a minute: all run.
func TestTenThousandRoutes(t *testing.T) { //nolint:paralleltest // it wants the machine to itself
	if os.Getenv("ROUTES") == "" || lanetest.RaceDetector {
		t.Skip("it takes half a minute of two processors that do nothing else: make routes")
	}
	r := &jobRig{Rig: lanetest.NewSizedRig(t, lanetest.InProcess, 512<<20)}
	r.route = lanetest.TestRoute("route-0")
	r.sweep()
	r.jobs = r.newJobs()
	const servers, each, active = 100, 100, 2000
	var routes []*inference.Route
	for i := range servers * each {
		routes = append(routes, lanetest.TestRoute(fmt.Sprint("route-", i)))
	}
	began := time.Now()
	end, _ := r.NewWorkerEnd(4, routes...)
	r.Account("calls and parcels of the worker", func() int64 { return int64(end.Held()) })
	var ran atomic.Int64
	for i := range servers {
		lanetest.Background(t, func(ctx context.Context) error {
			r.Lease(ctx, end.Intake(routes[i*each:(i+1)*each]), 4, func(ctx context.Context, c lease.Claim) {
				ran.Add(1)
				r.Echo(ctx, c)
			})
			return nil
		})
	}
	if err := r.call(t.Context(), routes[0]); err != nil {
		t.Fatal(err)
	}
	t.Logf("the first call was answered after %s", time.Since(began))
	began = time.Now()
	ids := make([]job.ID, active)
	work := make(chan int)
	var clients sync.WaitGroup
	var accepting, calling atomic.Int64
	for range 32 {
		clients.Go(func() {
			for i := range work {
				route := routes[i*len(routes)/active]
				rec := r.record()
				rec.Route, rec.Provider, rec.Priority = route.Name, route.Provider, job.Priorities()[i%3]
				at := time.Now()
				if _, _, err := r.jobs.Accept(t.Context(), rec, []byte(`"x"`), lanetest.Request(route, `"x"`)); err != nil {
					t.Errorf("accepting a job of %s: %v", route.Name, err)
				}
				accepting.Add(int64(time.Since(at)))
				at = time.Now()
				ids[i] = rec.ID
				if err := r.call(t.Context(), route); err != nil {
					t.Errorf("calling %s: %v", route.Name, err)
				}
				calling.Add(int64(time.Since(at)))
			}
		})
	}
	for i := range active {
		work <- i
	}
	close(work)
	clients.Wait()
	t.Logf("all calls were answered after %s; a job was accepted in %s, a call answered in %s", time.Since(began), time.Duration(accepting.Load()/active), time.Duration(calling.Load()/active))
	if t.Failed() {
		return
	}
	for _, id := range ids {
		r.until(id, job.Succeeded)
	}
	took := time.Since(began)
	t.Logf("all jobs ran after %s", took)
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	if want := int64(2*active + 1); ran.Load() != want {
		t.Errorf("%d calls and jobs ran, want %d", ran.Load(), want)
	}
}
