// Package api is the HTTP front end: it reads calls in the dialects of MLflow's gateway (2.8 and 3.x), of OpenAI
// and of Headrace itself, hands them to the broker as neutral requests, and writes the answers.
//
// A call's way through the package:
//
//	middleware.go   request id, recovery, access log, write deadline
//	routes.go       path and method to operation (operations.go lists them)
//	invoke.go       the one way every call goes: drain gate, deadline, body, dialect, limit, broker, reply
//	dialect/        the forms of bodies: bytes in, bytes out
//	problem/        the one table from fault.Code to status and body
//
// The handlers belong to desks, which share the chassis (chassis.go) and have what only they need beside it:
//
//	callDesk      calls: invoke.go
//	jobDesk       places jobs and delivers what became of them: jobs.go, jobbatch.go
//	jobReader     one job that was placed: jobread.go, jobevents.go
//	jobLists      many jobs: joblist.go
//	queueDesk     the queues that jobs wait in: jobqueues.go
//	catalogue     the routes, as each dialect's clients list them: headrace.go, splits.go
//	switchboard   requests to operations, errors to replies: middleware.go, routes.go
//
// The route table is immutable and swapped as a whole by Server.Apply; a call keeps the table it began with.
package api
