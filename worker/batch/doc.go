// Package batch decides what goes into one call to a model server, how large calls should be, how many run at a time,
// and what happens when one fails. It only decides: it has no goroutines, no timers and no randomness of its own.
// Callers pass in the time and random numbers, and act on what it says.
//
//	      a request arrives                                  a slot is free
//	             |                                                 |
//	   waits as Items, by Key; of a long List            Sweep: what is late or hopeless goes
//	   one part at a time                                          |
//	                                                     Former.Form: head and company
//	                                                               |
//	                                                     Gather.Wait: a moment longer? -- an arrival --> Former.Join
//	                                                               |
//	                                                     Proof: may it be merged, is it a probe, a shadow check?
//	                                                               |
//	                                                     Fair.Sent, then provider.Merger.Merge, and the call
//	                                                               |
//	          +------------------ answered -----------------------+------------- failed --------------+
//	          |                                                                                       |
//	Merger.Cut and Whole: each its own rows                                       Judge: tell, ask again, or halve
//	Learner.Record (unless Slots.Trial)                                           Isolation: Next, Failed
//	Slots.Done, Gather.Freed                                                      Spent.Add, Learner.Shrink, Bad
//
// One Learner belongs to a route on a replica, one Slots, Former, Gather and Spent to a replica, one Proof to a route.
// Each has one owner: none is safe for concurrent use. In a worker that is the goroutine which takes the slots.
//
// What the caller must do:
//
//   - An Item's Key.Rows is provider.Rows.Key. An item is Solo when the provider finds no rows in it, when the proof
//     does not allow merging, or when it is the repetition of a job that ended badly in company.
//   - A member is answered at its own deadline, even while its call runs on for the others.
//   - A batch of one member is sent by provider.Provider as if this package did not exist.
//   - While a probe runs, each item is answered with what it got alone.
//   - During isolation only the answer to a single member speaks for it. Members whose time is over are left out of
//     the groups. A job whose every run is recorded is not asked again here: it goes back to the queue as Solo.
//   - Time that a model server probably computes on after a timeout (Verdict.Hold) keeps the slot taken.
//   - Learner.Snapshot, Proof.State and Slots.Learned are stored now and then, and given to the next process.
//
// sim_test.go is such a caller in virtual time; it is the shortest example of all of this together.
package batch
