package app

import (
	"cmp"
	"context"
	"errors"

	"headrace/api"
	"headrace/broker/calls"
	"headrace/broker/jobs"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/upstream"
	"headrace/worker"
)

// lane shows the broker's front end as the broker that api asks for.
type lane struct {
	front *calls.FrontEnd
	jobs  *jobs.Desk
}

var _ api.Broker = lane{}

// Call makes one synchronous call.
func (l lane) Call(ctx context.Context, route *inference.Route, req *inference.Request) (*inference.Result, error) {
	return l.front.Call(ctx, route, req)
}

// Ready is nil while the broker is connected and, once it could be, jobs are accepted.
func (l lane) Ready() error { return cmp.Or(l.front.Ready(), l.jobs.Ready()) }

// State tells how a route fares.
func (l lane) State(route string) inference.RouteState { return l.front.State(route) }

// modelServer shows the client of a model server as the one that worker asks for.
type modelServer struct{ *upstream.Client }

var _ worker.Upstream = modelServer{}

// Replicas tells how the replicas fare.
func (m modelServer) Replicas() []inference.Replica {
	var all []inference.Replica
	for _, r := range m.Client.Replicas() {
		all = append(all, inference.Replica{URL: r.URL, State: string(r.State), Busy: r.Busy, Failures: r.Failures})
	}
	return all
}

// queue shows the broker's worker end as the queue that worker asks for. The two packages do not know each
// other, so their interfaces and types meet here.
type queue struct{ end *calls.WorkerEnd }

var _ worker.Queue = queue{}

// Serve announces routes and slots.
func (q queue) Serve(slots map[string]int) { q.end.Serve(slots) }

// Settle waits until nothing is left that only this worker would run.
func (q queue) Settle(ctx context.Context) { q.end.Settle(ctx) }

// Intake opens an intake of routes.
func (q queue) Intake(routes []*inference.Route) worker.Intake { return intake{q.end.Intake(routes)} }

type intake struct{ *calls.Intake }

// Lease leases between one and n requests.
func (in intake) Lease(ctx context.Context, n int) ([]worker.Delivery, error) {
	leased, err := in.Intake.Lease(ctx, n)
	if err != nil {
		return nil, err
	}
	deliveries := make([]worker.Delivery, len(leased))
	for i, d := range leased {
		deliveries[i] = delivery{d}
	}
	return deliveries, nil
}

type delivery struct{ *calls.Delivery }

// Claim takes the request for good.
func (d delivery) Claim(ctx context.Context) (context.Context, worker.Claim, error) {
	ctx, c, err := d.Delivery.Claim(ctx)
	switch {
	case errors.Is(err, calls.ErrGone), errors.Is(err, calls.ErrReturned):
		return nil, nil, worker.ErrNotClaimed
	case err != nil:
		return nil, nil, err
	}
	return ctx, claim{c}, nil
}

type claim struct{ c *calls.Claim }

func (c claim) Request() *inference.Request { return c.c.Request }

func (c claim) Answer(ctx context.Context, result *inference.Result) error {
	return c.c.Answer(ctx, result)
}

func (c claim) Fail(ctx context.Context, f *fault.Error) error { return c.c.Fail(ctx, f) }

func (c claim) Drop() { c.c.Drop() }

func (c claim) RunAlone(ctx context.Context) error { return c.c.RunAlone(ctx) }
