// Package job holds the words of a durable job: its id, its states and the moves between them, and its record.
//
// The record decides about a job. To change a job, read its record, apply a move of this package (a method of Record that
// takes the time), and write the record back on the condition that nothing else has written it since. The moves are pure: they
// decide, and their caller acts. Begin with moves.go, then retry.go, which decides when an attempt is repeated.
//
// # States
//
//	         Accept
//	           |
//	           +-- run_at is later --.
//	           v                     v
//	        queued <--- Queue --- scheduled
//	         |  ^
//	   Start |  | Return: its worker stops, the broker was away, or a call it shared failed (ReturnApart)
//	         v  |
//	        running ------------ Succeed ---------------------> succeeded
//	         |  ^ '------------- Fail, for good --------------> failed
//	         |  '-- Start: its worker was lost, which is an interruption; after too many, or too late: failed
//	         |
//	         '--- Fail, for now ---> retrying --- Queue ---> queued
//
//	queued, scheduled, retrying --- Cancel -------------------> cancelled
//	queued, scheduled, retrying --- Lapse: its time is over --> expired
//	running --- Cancel ---> cancelling --- Abort, Fail, Return, or Start after its worker was lost --> cancelled
//	                        cancelling --- Succeed: the result was there first ----------------------> succeeded
//
//	failed, cancelled, expired --- Again: a new run ----------> queued
//	succeeded, failed, cancelled, expired --- Erase ----------> erased
//
// Succeeded, failed, cancelled, expired and erased are terminal. Erased is a tombstone: of the job, little but its id is left.
// A job that is scheduled or retrying may also Start once its time has come, although it was not queued yet.
package job
