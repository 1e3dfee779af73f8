// Package intake leases what waits for a worker process: it pulls messages from work queues as slots become free, and
// announces which routes the process serves. It runs in the worker role.
//
// It owns the process's connection (End), what is pulled and what stands at the server (Intake, one for each model server),
// which lanes are dormant, and what is known of other workers (Roster). It does not know what a message says. That is the
// business of a Kind: package intake has the one for synchronous calls, package runner the one for jobs. A Kind gives an
// intake its lanes, and a Lane makes deliveries of its messages:
//
//	End.Run ----> Kind.Run        the connection, for what claims say over it
//	End.Intake -> Kind.Lanes      an intake's lanes
//	Intake.Lease -> puller -> session -> Lane.Open -> lease.Delivery
//
// A lane is pulled from while slots ask for work. One that was idle for long is dormant: it costs nothing, and the first
// message that is published for it wakes it. Begin with end.go, lane.go and Intake.Lease; what the server says about a pull
// is in session.go, the order of lanes in turns.go.
package intake
