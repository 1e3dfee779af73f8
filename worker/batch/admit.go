package batch

import (
	"math"
	"slices"
	"time"
)

// Bounds of Retry-After: OpenAI's client gives up above two minutes.
const (
	retryLeast  = time.Second
	retryMost   = 120 * time.Second
	retryJitter = 0.2
	admitShare  = 0.8 // of the time left may be planned
)

// Line is what waits ahead of a call for one model server.
type Line struct {
	// Ahead is the load waiting, one entry for each route and class of length, with the sizes it will be sent in.
	Ahead []Waiting
	// Running is how long the calls in flight have still to take, all together.
	Running time.Duration
	Slots   int // calls in flight at a time, over all healthy replicas
}

// Waiting is load that waits on one route.
type Waiting struct {
	Load Load // Rows in all
	Size int  // rows in a call
	Cost Cost
}

// Wait is how long the line takes to clear; 0 when costs are unknown.
func (l Line) Wait() time.Duration {
	sum := l.Running.Seconds()
	for _, w := range l.Ahead {
		calls := math.Ceil(float64(w.Load.Rows) / float64(max(w.Size, 1)))
		sum += calls*w.Cost.Fixed + float64(w.Load.Rows)*w.Cost.marginal(w.Load.Length)
	}
	return seconds(sum / float64(max(l.Slots, 1)))
}

// Admission is the answer to a call that wants to wait.
type Admission struct {
	Admit bool
	// Expected is when the answer should be there, from now; 0: unknown.
	Expected time.Duration
	// RetryAfter is when the same call would be admitted if nothing else came; of a refused one only.
	RetryAfter time.Duration
}

// Admit decides on a call that has so much time left; own is the load of the call to the model server that it will be
// part of. A call is refused when it cannot be expected to be
// answered in four fifths of its time; without a deadline, before anything is known of costs, or when nothing waits
// or runs, it is admitted: what was learned may be out of date, and only a call can tell.
// chance is a random number from 0 to 1: refused callers must not come back all at once.
func Admit(line Line, own Load, cost Cost, left time.Duration, chance float64) Admission {
	wait := line.Wait()
	expected := wait + cost.Of(own)
	if left <= 0 || !cost.Known() || wait <= 0 || expected.Seconds() <= admitShare*left.Seconds() {
		return Admission{Admit: true, Expected: expected}
	}
	late := expected - seconds(admitShare*left.Seconds())
	jittered := late.Seconds() * (1 + retryJitter*(2*chance-1))
	return Admission{Expected: expected, RetryAfter: min(max(seconds(math.Ceil(jittered)), retryLeast), retryMost)}
}

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
