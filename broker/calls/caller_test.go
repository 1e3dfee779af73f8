package calls_test

import (
	"context"
	"testing"

	"headrace/internal/lanetest"
	"headrace/internal/lease"
)

func TestCallerTravelsWithItsRequest(t *testing.T) {
	t.Parallel()
	lanetest.Each(t, func(r *lanetest.Rig) {
		route, seen := lanetest.TestRoute("fair"), make(chan string, 10)
		r.Serve(1, func(ctx context.Context, c lease.Claim) {
			seen <- c.Request().Caller
			r.Echo(ctx, c)
		}, route)
		for _, caller := range []string{"a", "", "1y2p0ij32e8e7"} {
			req := lanetest.Request(route, `"x"`)
			req.Caller = caller
			res, err := r.Front.Call(r.TB.Context(), route, req)
			if err != nil {
				r.TB.Fatal(err)
			}
			res.Release()
			if got := lanetest.Await(r.TB, seen, "claim"); got != caller {
				r.TB.Errorf("a request of %q arrived as one of %q", caller, got)
			}
		}
	}, lanetest.InProcess, lanetest.OverTCP, lanetest.Locally)
}
