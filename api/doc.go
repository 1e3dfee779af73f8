// Package api is the HTTP front end: it reads calls in the dialects of MLflow's gateway (2.8 and 3.x), of OpenAI
// and of Headrace itself, hands them to the broker as neutral requests, and writes the answers.
//
// A call's way through the package:
//
//	middleware.go   request id, recovery, access log, write deadline
//	routes.go       path and method to operation (operations.go lists them)
//	invoke.go       the one way every call goes: drain gate, deadline, body, dialect, limit, broker, reply
//	dialect/        the forms of bodies: bytes in, bytes out
//	problem.go      the one table from fault.Code to status and body
//
// The route table is immutable and swapped as a whole by Server.Apply; a call keeps the table it began with.
package api
