// Package runner runs jobs in a worker process: it claims them, keeps their leases while they run, and stores how they end. It
// runs in the worker role; package intake leases for it.
//
// A job is claimed by a write into its record (delivery.Claim): of several workers that hold a copy of its message, one is
// first. From then on the record decides. Each write of an attempt has the condition that the job is still this start's, so
// that a worker that was stopped, cut off or overtaken changes nothing.
//
//	leased --Claim--> attempt --Answer--> result, record, acknowledgement
//	   |                 |-----Fail-----> record: a retry is due, or the job has failed
//	   |                 '-----Drop, RunAlone: back to the queue
//	   '--> back to the queue, or dropped: it has ended, or its worker still runs it (fateOf)
//
// A job's lease lasts half a minute and is renewed every ten seconds. A worker that misses three heartbeats ends the attempt
// itself: by then the job may be another's. A worker that gets a job whose lease has run out asks the one that began with it
// before it takes the job over, because a slow worker is not a lost one.
//
// It owns which jobs run in the process and which are about to (Runner), the heartbeats of their leases (keep), the rule that
// a job that was interrupted too often runs alone (solo), and what is known of paused queues (pauses). What happens when the
// broker is away is in away.go. Begin with delivery.go and attempt.go.
package runner
