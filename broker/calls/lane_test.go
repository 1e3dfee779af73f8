package calls_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/internal/config"
	"headrace/internal/fault"
	"headrace/internal/lanetest"
)

func TestCall(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("emb.v1_x")
		r.Serve(4, r.Echo, route)
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				text := fmt.Sprintf("%q", fmt.Sprint("text ", i))
				res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, text))
				if err != nil {
					t.Errorf("call %d: %v", i, err)
					return
				}
				defer res.Release()
				if len(res.Items) != 1 || string(res.Items[0]) != text || res.Upstream != time.Millisecond {
					t.Errorf("call %d: got %+v", i, res)
				}
			})
		}
		callers.Wait()
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}

func TestCallWithoutWorker(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		t := r.TB
		route := lanetest.TestRoute("lonely")
		began := time.Now()
		_, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
		if fault.CodeOf(err) != fault.NoWorkers {
			t.Fatalf("got %v, want no_workers", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("it took %s to say so", d)
		}
		r.Serve(1, r.Echo, route)
		res, err := r.Front.Call(t.Context(), route, lanetest.Request(route, `"x"`))
		if err != nil {
			t.Fatalf("with a worker: %v", err)
		}
		res.Release()
	}, lanetest.InProcess, lanetest.Locally)
}

// The warning of too many routes counts as the streams do.
func TestWarningOfManyRoutesKnowsTheStreams(t *testing.T) {
	t.Parallel()
	if config.LanesTogether != calls.LanesTogether {
		t.Errorf("config says %d, the streams have room for %d", config.LanesTogether, calls.LanesTogether)
	}
}
