// Package records is the store of jobs. It owns what is stored of them: records, inputs and results, entries in the work
// queues, and the knowledge of what of all this is on disk.
//
// A record decides about its job. It is written on the condition that nothing else has written it since it was read
// (Store.Put); everything else is a hint to it. The package makes no decisions: moves are in internal/job, and the rooms that
// make them are jobs, sweeper and the worker's. Those see an Archive: Store, Queues, Journal and Wire, whose methods speak of jobs.
// Streams, subjects, headers and error codes stay behind them.
//
// Begin with archive.go and store.go, then durable.go (what "on disk" means) and names.go.
package records
