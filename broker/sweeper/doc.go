// Package sweeper does what is due about jobs that no worker runs. It is the broker role's part of the job lane.
//
// A Sweeper reads the records' journal from its beginning, so it has nothing to remember: after a start it learns of every job.
// Several may run, because all that they do is conditional, or harmless when it is done twice. Its parts own what they learn:
//
//   - schedule: when something is due about which job, and how many jobs are in which queue (schedule.go, pending.go)
//   - hands: do what is due about one job; all decisions are in hands.see (hands.go)
//   - gauge: what the work queues hold, and whether they hold less than they should (depth.go, missing.go)
//   - reporter: tells front ends and workers what waits and what is paused (report.go)
//   - cleaner: removes superseded versions of records, and leftovers in queues (versions.go, leftovers.go)
//
// Begin with Sweeper.serve, then hands.see.
package sweeper
