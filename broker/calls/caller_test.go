package calls_test

import (
	"context"
	"testing"

	"headrace/broker/calls"
)

func TestCallerTravelsWithItsRequest(t *testing.T) {
	t.Parallel()
	each(t, func(r *rig) {
		route, seen := testRoute("fair"), make(chan string, 10)
		r.serve(1, func(ctx context.Context, c *calls.Claim) {
			seen <- c.Request.Caller
			r.echo(ctx, c)
		}, route)
		for _, caller := range []string{"a", "", "1y2p0ij32e8e7"} {
			req := request(route, `"x"`)
			req.Caller = caller
			res, err := r.front.Call(r.tb.Context(), route, req)
			if err != nil {
				r.tb.Fatal(err)
			}
			res.Release()
			if got := await(r.tb, seen, "claim"); got != caller {
				r.tb.Errorf("a request of %q arrived as one of %q", caller, got)
			}
		}
	}, inProcess, overTCP, locally)
}
