package broker

// dueHeap has the job that is due next first.
type dueHeap []*pendingJob

// Len is part of heap.Interface.
func (h *dueHeap) Len() int { return len(*h) }

// Less is part of heap.Interface. Jobs without a due time are last.
func (h *dueHeap) Less(a, b int) bool {
	first, second := (*h)[a].due, (*h)[b].due
	if first.IsZero() || second.IsZero() {
		return !first.IsZero()
	}
	return first.Before(second)
}

// Swap is part of heap.Interface.
func (h *dueHeap) Swap(a, b int) {
	list := *h
	list[a], list[b] = list[b], list[a]
	list[a].index, list[b].index = a, b
}

// Push is part of heap.Interface.
func (h *dueHeap) Push(x any) {
	p, ok := x.(*pendingJob)
	if !ok {
		return
	}
	p.index = len(*h)
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
