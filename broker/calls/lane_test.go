package calls_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/internal/config"
	"headrace/internal/fault"
)

func TestCall(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("emb.v1_x")
		r.serve(4, r.echo, route)
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				text := fmt.Sprintf("%q", fmt.Sprint("text ", i))
				res, err := r.front.Call(t.Context(), route, request(route, text))
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
	}, inProcess, overTCP, locally)
}

func TestCallWithoutWorker(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		t := r.tb
		route := testRoute("lonely")
		began := time.Now()
		_, err := r.front.Call(t.Context(), route, request(route, `"x"`))
		if fault.CodeOf(err) != fault.NoWorkers {
			t.Fatalf("got %v, want no_workers", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("it took %s to say so", d)
		}
		r.serve(1, r.echo, route)
		res, err := r.front.Call(t.Context(), route, request(route, `"x"`))
		if err != nil {
			t.Fatalf("with a worker: %v", err)
		}
		res.Release()
	}, inProcess, locally)
}

// The warning of too many routes counts as the streams do.
func TestWarningOfManyRoutesKnowsTheStreams(t *testing.T) {
	t.Parallel()
	if config.LanesTogether != calls.LanesTogether {
		t.Errorf("config says %d, the streams have room for %d", config.LanesTogether, calls.LanesTogether)
	}
}
