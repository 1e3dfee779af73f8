package sweeper

import (
	"headrace/broker/records"
	"headrace/internal/job"
)

// phase is what a job that has not ended does, as far as its work queue is concerned.
type phase uint8

const (
	phaseNone    phase = iota // it has ended, or was not counted yet
	phaseLater                // it waits for its time, and is not in the work queue
	phaseQueued               // it is in the work queue
	phaseRunning              // it is leased, and stays in the work queue until it ends
)

func phaseOf(s job.State) phase {
	switch s {
	case job.Scheduled, job.Retrying:
		return phaseLater
	case job.Queued:
		return phaseQueued
	case job.Running, job.Cancelling:
		return phaseRunning
	case job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
	}
	return phaseNone
}

// waiting reports whether the job waits for a worker, or for the time at which it may.
func (p phase) waiting() bool { return p == phaseLater || p == phaseQueued }

// laneCount is how many jobs of one lane are in which phase.
type laneCount struct{ later, queued, running int }

func (c laneCount) waiting() int { return c.later + c.queued }

// inQueue is how many messages the work queue should hold of the lane.
func (c laneCount) inQueue() int { return c.queued + c.running }

// with is the count with n more jobs in a phase.
func (c laneCount) with(p phase, n int) laneCount {
	switch p {
	case phaseLater:
		c.later += n
	case phaseQueued:
		c.queued += n
	case phaseRunning:
		c.running += n
	case phaseNone:
	}
	return c
}

// laneCounts counts jobs by lane.
type laneCounts map[records.LaneName]laneCount

// move counts a job that goes from one phase to another.
func (l laneCounts) move(lane records.LaneName, from, to phase) {
	l[lane] = l[lane].with(from, -1).with(to, 1)
	if l[lane] == (laneCount{}) {
		delete(l, lane)
	}
}
