package sweeper

import (
	"headrace/broker/records"
	"headrace/internal/job"
)

// pendingJob is a job that has not ended. There may be millions: every byte counts.
type pendingJob struct {
	id       job.ID
	due      records.Instant
	then     records.Instant // due after the check
	revision uint64
	lane     *records.LaneName // shared by all jobs of a lane
	index    int32             // in the heap; -1 while a hand has it
	verify   bool              // its place in the queue is to be checked first
	busy     bool              // a hand has it
	phase    phase             // as which it is counted
	missed   uint8             // how often its record was looked for in vain
}

// dueHeap has the job that is due next first.
type dueHeap []*pendingJob

// Len is part of heap.Interface.
func (h *dueHeap) Len() int { return len(*h) }

// Less is part of heap.Interface. Jobs without a due time are last.
func (h *dueHeap) Less(a, b int) bool {
	first, second := (*h)[a].due, (*h)[b].due
	if first == 0 || second == 0 {
		return first != 0
	}
	return first < second
}

// Swap is part of heap.Interface.
func (h *dueHeap) Swap(a, b int) {
	list := *h
	list[a], list[b] = list[b], list[a]
	list[a].index, list[b].index = int32(a), int32(b)
}

// Push is part of heap.Interface.
func (h *dueHeap) Push(x any) {
	p, ok := x.(*pendingJob)
	if !ok {
		return
	}
	p.index = int32(len(*h))
	*h = append(*h, p)
}

// Pop is part of heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	last.index = -1
	*h = old[:len(old)-1]
	return last
}
