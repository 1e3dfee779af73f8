package calls

import (
	"headrace/internal/job"
)

// jobTurn is how often jobs are asked for before synchronous requests: each fifth time. So a model server
// that synchronous requests keep busy still runs jobs.
const jobTurn = 5

// order is the order in which lanes are asked for what waits in them: synchronous requests first but for the
// jobs' turns, routes of the same kind in turns, priorities by weight 8 to 3 to 1, so that none starves.
func (in *Intake) order(active []*puller) []*puller {
	in.turn++
	var calls, jobs []*puller
	for _, p := range active {
		if p.jobs {
			jobs = append(jobs, p)
		} else {
			calls = append(calls, p)
		}
	}
	calls, jobs = turned(calls, in.next), preferred(turned(jobs, in.next), favourite(in.turn))
	if in.turn%jobTurn == 0 {
		return append(jobs, calls...)
	}
	return append(calls, jobs...)
}

// turned is a rotation.
func turned(pullers []*puller, by int) []*puller {
	if len(pullers) == 0 {
		return nil
	}
	by %= len(pullers)
	return append(pullers[by:len(pullers):len(pullers)], pullers[:by]...)
}

// favourite is the priority whose turn it is: of twelve turns eight are for interactive, three for standard and one
// for batch, spread evenly.
func favourite(turn int) job.Priority {
	switch turn % 12 {
	case 3, 7, 11:
		return job.Standard
	case 5:
		return job.Batch
	default:
		return job.Interactive
	}
}

// preferred puts the lanes of first before the others, and these in the order of their priorities.
func preferred(pullers []*puller, first job.Priority) []*puller {
	ordered := make([]*puller, 0, len(pullers))
	for _, p := range pullers {
		if p.priority == first {
			ordered = append(ordered, p)
		}
	}
	for _, priority := range job.Priorities() {
		for _, p := range pullers {
			if p.priority == priority && priority != first {
				ordered = append(ordered, p)
			}
		}
	}
	return ordered
}

// enterJob counts a job until leave is called, once.
func (in *Intake) enterJob() (leave func()) {
	in.mu.Lock()
	in.jobs++
	if in.room > 0 {
		in.room--
	}
	in.mu.Unlock()
	return func() {
		in.mu.Lock()
		in.jobs--
		in.mu.Unlock()
		in.signal() // there may be room for another one
	}
}

// Jobs says how many more jobs may be leased from now on.
func (in *Intake) Jobs(n int) {
	in.mu.Lock()
	more := n > 0 && in.room <= 0
	in.room = n
	in.mu.Unlock()
	if more {
		in.signal()
	}
}

// storing is how many jobs may be leased, run or have their end stored at a time, as a multiple of what is leased at a
// time: a slot is free again before the end of its jobs is stored.
const storing = 4

// jobRoom is how many more jobs may be leased. While a job runs alone there is no room for others.
func (in *Intake) jobRoom() int {
	if in.worker.solo.busy() {
		return 0
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.room < 0 {
		return max(in.most-1, 1) - in.jobs
	}
	return min(in.room, storing*in.most-in.jobs)
}
