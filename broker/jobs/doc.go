// Package jobs accepts jobs, follows them, and cancels, retries and erases them: the front end's side of the job lane.
//
// A Desk owns no state of a job; the record does (see records). It owns what one front end knows at a moment, each part its own:
//
//   - door: the way to the broker, whether jobs can be accepted, and the errors that callers get when they cannot (ready.go,
//     read.go)
//   - acceptor: the order of writes that make a job, and room for new ones (accept.go, room.go)
//   - follower: which callers wait for which job (wait.go, follow.go)
//   - mover: cancel, retry, erase (moves.go)
//   - clerk: what waits in the queues, and which of them are paused (queues.go, pause.go)
//
// The broker is behind the interfaces of broker.go, which a records.Archive implements; the package knows no NATS. Begin with
// Desk in desk.go and acceptor.Accept.
package jobs
