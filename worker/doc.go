// Package worker runs requests: it owns the slots in front of each model server.
//
// A slot belongs to a model server. Every route that names the server shares its slots, so the server never
// gets more calls at a time than it was given slots, however many routes lead to it. A pool leases and claims what
// waits, as much as its desk has room for. The desk decides, by package batch, what goes out together in a free slot:
//
//	Lease -> Claim -> desk -> alone:    Target.Ask (Provider.Encode, Upstream.Do) -> Provider.Decode           -> Answer or Fail
//	                       -> together: Merger.Merge, Upstream.Do -> Merger.Cut, Whole, Provider.Decode -> Answer each
//
// What fails together is asked again in halves, so that each request is answered as if it had been alone. Jobs are not
// asked again: they go back to their queue and run alone.
//
// Stopping has three steps. First the worker tells front ends that it leaves, and still runs what waits on routes that no
// other worker serves, because it was accepted. Then it closes its intake: it leases nothing more, and gives back what it
// leased and did not claim. Last, the requests that run may finish; those that do not within the grace are cut off, and
// their callers get an error.
//
// The package knows neither NATS nor HTTP: queues and model servers come in through the interfaces below, and what a queue
// gives through those of package lease.
package worker

import (
	"context"

	"headrace/internal/inference"
	"headrace/internal/lease"
	"headrace/worker/target"
)

// Queue is where requests come from.
type Queue interface {
	// Intake opens a source of the requests of routes, which share one model server. Its user closes it.
	Intake(routes []*inference.Route) Intake
	// Serve announces which routes this worker serves with how many slots; an empty set says that it leaves.
	Serve(slots map[string]int)
	// Settle waits until nothing waits on the routes of open intakes that no other worker serves, or ctx ends.
	Settle(ctx context.Context)
}

// Intake leases requests. Only one goroutine at a time calls Lease.
type Intake interface {
	// Lease blocks until requests wait and gives between one and n of them. It fails only when ctx ends.
	Lease(ctx context.Context, n int) ([]lease.Delivery, error)
	// Jobs says for how many jobs there is room from now on, among the n of the current or next Lease. Until it is first
	// called, there is as much room for jobs as for calls. A call may be leased a little before a slot is free; a job may not,
	// because its time begins to run then.
	Jobs(n int)
	// Close gives back what was leased and not handed out.
	Close()
}

// Upstream is one model server with all its replicas.
type Upstream = target.Upstream
