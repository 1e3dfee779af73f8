// Package broker is the map of the rooms below it, which are everything that knows NATS. It has no code.
//
// A room is a package with one job. What stands here in brackets is the role that runs it; `headrace up` runs them all.
//
//	natsd     the embedded NATS server, its disk, its syncs                          [broker]
//	keeper    makes streams, and gives lanes their consumers                         [broker]
//	sweeper   does what is due: queues, retries, expires, removes; measures queues   [broker]
//	calls     the sync lane: makes calls (FrontEnd), and answers them (Answerer)     [api, worker]
//	runner    the job lane at its other end: runs jobs (Runner)                      [worker]
//	intake    leases what waits in both lanes, and announces the worker (End)        [worker]
//	jobs      accepts jobs, follows and cancels them (Desk)                          [api]
//	limit     rate limits, exact over all front ends                                 [api]
//	records   the store of jobs: records, bodies, work queues, what is on disk       [all that have to do with jobs]
//	parcel    bytes too large for a message, moved at the receiver's pace            [api, worker]
//	link      one connection: dialling, names, codec, streams                        [all]
//
// Who may import whom is in ARCHITECTURE.md; the linter enforces it.
//
// # The sync lane
//
// A call is a message on subject infer.<provider>.<route>.<shard> of the work queue INFER_<shard>, in memory. Names
// are encoded to one token. The shard is a hash of the route, so that no stream has many consumers.
//
//	          publish                lease                    GO               answer, or
//	waiting ----------> stored ----------------> (leased) ------------> claimed ----------> ended
//	   |                   |   <---------------     |                      |
//	   | deadline, caller  |    returned, or its    | GONE: dropped        | worker lost, deadline,
//	   | gone, queue full  |    worker died: 2 s    | unrun                | caller gone (aborted)
//	   |                   |                        |                      |
//	 ended               deleted                 acknowledged            ended
//
// A front end has one inbox for all its calls: acknowledgements of publishes come to hr.fe.<id>.<call>, frames of
// workers to hr.fe.<id>.-f. A worker is told things on hr.w.<id>.c (cancel, ping). The claim is a question that the
// front end answers with GO to one worker only; the answer carries the caller's remaining time, so no clocks are
// compared. See calls/frame.go for the frames.
//
// Presence: each worker announces its routes every second on hr.presence and when asked; 3.5 s of silence count as
// gone. A call for a route without a worker waits one second for one to appear and is refused then. A front end pings
// the workers that hold its calls.
//
// Large things (a request above 256 KiB, a reply above 64 KiB) stay with their holder; the receiver pulls pieces
// at its own pace over a connection of its own (parcel).
//
// # The job lane
//
// A job is a record in the stream JOBREC_<shard>. An input or a result above 64 KiB stands in JOBDATA_<shard>, and while the job waits
// its id stands in the work queue JOBS_<shard>, on subject job.<provider>.<route>.<priority>.<shard>.<id>.
//
//	jobs          records                     runner                      records                sweeper
//	Accept -----> input, record, queue -----> lease, claim = the ------> result, record, -----> removes them
//	  202           entry, sync                record's next revision      acknowledgement        when they expire
//	                   ^                           |  |
//	                   |  a retry is due            |  | its worker is lost: the server delivers the
//	                   +------- sweeper <-----------+  | message again when the lease of 30 s has ended
//	                                                   v
//	                                                another runner: an interruption, then the next attempt
//
// The record decides: each change is a move of internal/job, written on the condition that the record is as it was read.
// Messages in the work queue, the list of jobs and what processes remember are hints to it. The sweeper reads every record
// and mends what is missing.
//
// # Consumers
//
// A lane, which is a route, or a route and a priority of jobs, has one durable consumer, made by the keeper when a worker
// wants to pull. Lanes take turns where there are more of them than a stream has room for. A worker whose lane is dormant
// listens on the lane's subject; the first message wakes it.
//
// # Leasing
//
// A worker process has one intake for each model server. Slots that are free ask it for work of either lane, and do not know
// which it is: package lease has the words that both sides use.
//
//	worker                intake                        calls, runner
//	Lease(free slots) --> pulls from the lanes     -->  Lane.Open makes a delivery of a message
//	Delivery.Claim    ------------------------------->  GO of a front end, or a written record
//	Claim.Answer      ------------------------------->  a frame to the front end, or the job's end in its record
//
// # Losing the connection
//
// Both ends reconnect for ever. A front end that loses its connection ends the calls that workers run with 503 at once,
// because frames that were sent in between are lost. Those that no worker has claimed end too, unless there are other servers:
// then they are published again. It looks for streams again, because a restarted server has none. A
// worker forgets its pulls, asks about its routes and pulls again.
//
// # Losing a server of a cluster
//
// Each stream has a copy on three servers (durability "replicated"). While those that the lost server led have no leader, which takes
// seconds, publishes and pulls are repeated. A stream is looked up, and the keeper is asked only when there is none, so running
// lanes need no broker role. What is in memory and has one copy is made again, and calls whose message is gone are published
// again. A stream that has another leader may have lost its end: link.Follow looks whether it has.
//
// # What other NATS users must allow
//
// Publish and subscribe on infer.>, job.>, hr.>, hrl.> and hrj.>, on $JS.API.> and $JS.ACK.>, and on _INBOX.>; subscribe on
// $JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*.
package broker
