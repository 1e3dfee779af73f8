package batch

import (
	"slices"
	"time"
)

// Swept is what to drop before a batch is formed, by index.
type Swept struct {
	// Late are past their deadline. Hopeless cannot be answered before it, or only in a call so small that those
	// behind them would be late for it.
	Late, Hopeless []int
}

// Sweep finds what must not take a slot any more: time spent on it is taken from those that can still be answered.
// An item that has waited for more than half of its time has to fit a call of the learned size, as far as what waits
// with it fills one; one with a short deadline from the beginning makes its call smaller instead. What rows of another length
// took says too little: only where calls of about the length were measured is an item hopeless. When nothing else
// would be left, the hopeless item with most time stays, so that an estimate which is out of date is corrected.
func Sweep(items []Item, learner func(route string) *Learner, now time.Time) Swept {
	var s Swept
	var rows map[Key]int
	for i := range items {
		it := &items[i]
		if it.Deadline.IsZero() {
			continue
		}
		left := it.Deadline.Sub(now)
		l := learner(it.Key.Route)
		load := Load{it.Rows, it.Length}
		if !it.Solo && now.Sub(it.Arrival) > left {
			if rows == nil {
				rows = backlog(items)
			}
			load.Rows = max(load.Rows, min(rows[it.Key], l.Size(it.Length, now)))
		}
		switch {
		case left <= 0:
			s.Late = append(s.Late, i)
		case l.measured(it.Length) && l.Cost().Of(load) > left:
			s.Hopeless = append(s.Hopeless, i)
		}
	}
	if n := len(s.Hopeless); n > 0 && n+len(s.Late) == len(items) {
		last := 0
		for k, i := range s.Hopeless {
			if items[i].Deadline.After(items[s.Hopeless[last]].Deadline) {
				last = k
			}
		}
		s.Hopeless = slices.Delete(s.Hopeless, last, last+1)
	}
	return s
}

// backlog is how many rows wait that may share a call.
func backlog(items []Item) map[Key]int {
	rows := make(map[Key]int)
	for i := range items {
		if !items[i].Solo {
			rows[items[i].Key] += items[i].Rows
		}
	}
	return rows
}
