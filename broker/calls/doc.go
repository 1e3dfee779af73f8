// Package calls is the sync lane, both ends of it: a front end makes calls, and waits for their answers (FrontEnd, in the api
// role); a worker claims and answers them (Answerer, in the worker role, with package intake leasing for it). They are one
// protocol, in frame.go and envelope.go, and change together.
//
// A front end owns its calls (call.go draws their states), the places of those that wait (waiting), the answers it has
// reserved room for (arrivals.go), and what it knows of workers. It has three helpers: inbox takes what comes, supervisor
// notices what does not come, post sends. An answerer owns the claims that run here and the large answers that were not pulled
// yet. Local joins both ends where they are in one process: then nothing of a call needs NATS.
//
//	FrontEnd.Call -> envelope -> work queue -> lane.Open -> delivery.Claim -> CLAIM, GO -> claim.Answer -> inbox -> Call
//
// An answer in pieces (streaming.go) travels as chunks of package flow: the call has its outcome when the first has come, and stays in the
// table until its stream is closed, so that what happens to its worker or its connection ends the stream as well.
//
// What is bounded: the calls and bytes that wait on a route (waiting), the bytes of answers that a front end holds
// (arrivals.go), the size of a message and of a frame (a larger body is a parcel, which its receiver pulls), and each wait:
// for a worker's presence, for the acknowledgement of a publish, for the answer to a claim, for a ping.
//
// What a call's caller is told when something is lost depends on whether a worker had claimed the call. Before the claim it
// did not run, and may be tried again without harm (no_workers). After the claim it may have run (upstream_unavailable).
//
// Begin with FrontEnd.Call and delivery.Claim. Streams says how the work queues are configured.
package calls
