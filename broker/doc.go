// Package broker is everything that knows NATS.
//
// It has three sides, and each process uses what its role needs:
//
//	Server    the embedded NATS server with JetStream (role broker, and `up`)
//	Keeper    creates streams and consumers when somebody asks for them (role broker, also on an external server)
//	FrontEnd  makes calls (role api)
//	WorkerEnd leases, claims and answers them (role worker)
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
// compared. See frame.go for the frames.
//
// Presence: each worker announces its routes every second on hr.presence and when asked. A front end refuses
// calls for routes that nobody has announced for a second, and pings the workers that hold its calls.
//
// Large things (a request above 256 KiB, a reply above 64 KiB) stay with who has them; the receiver pulls pieces
// at its own pace over a connection of its own (parcel.go).
//
// # Consumers
//
// A route has one durable consumer, and one for the jobs of each priority. The keeper makes it when a worker asks for
// it because there is work, and the server removes it after an idle time. A stream has room for so many only: where more
// routes have work, the keeper takes the consumer of one that is idle, or has had its turn (laneturns.go), and its
// workers learn that from the server. A worker whose route is dormant listens on the route's subject; the first message
// wakes it. What came before it listened is asked for, once for each stream; of jobs the sweeper tells twice a second.
//
// # Losing the connection
//
// Both ends reconnect for ever. A front end that loses its connection ends all its calls with 503 at once,
// because frames sent meanwhile are lost; streams are asked for anew, because a restarted server has none. A
// worker forgets its pulls, asks about its routes and pulls again.
//
// # What other NATS users must allow
//
// Publish and subscribe on infer.> and hr.>, on $JS.API.> and $JS.ACK.>, and on _INBOX.>.
package broker
