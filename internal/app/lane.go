package app

import (
	"cmp"
	"context"

	"headrace/api"
	"headrace/broker/calls"
	"headrace/broker/intake"
	"headrace/broker/jobs"
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

// queue shows the broker's end of a worker as the queue that worker asks for. The two packages do not know each other, so
// their interfaces meet here.
type queue struct{ *intake.End }

var _ worker.Queue = queue{}

// Intake opens an intake of routes.
func (q queue) Intake(routes []*inference.Route) worker.Intake { return q.End.Intake(routes) }
