// Package jobs accepts jobs, follows them, and cancels, retries and erases them: the front end's side of the job lane.
//
// Desk owns no state of a job; the record does (see records). It owns what one front end knows at a moment: which callers wait
// (wait.go), what waits in the queues and which of them are paused (queues.go). Begin with Desk.Accept in desk.go.
package jobs
