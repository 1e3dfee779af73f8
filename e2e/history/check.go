package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"headrace/internal/job"
)

// Open lists the accepted jobs of which no end was seen, without those that are lost.
func (h *History) Open() []int {
	return h.list(func(e *entry) bool { return e.accepted > 0 && !e.lost && !e.state.job().Terminal() })
}

// All lists the accepted jobs.
func (h *History) All() []int { return h.list(func(e *entry) bool { return e.accepted > 0 }) }

// Unexplained lists the jobs that ran more often than their latest view accounts for. Their histories may explain it:
// attempts that were handed back, and earlier runs.
func (h *History) Unexplained() []int {
	return h.list(func(e *entry) bool { return e.accepted > 0 && e.erased == 0 && !e.lost && e.ran > e.explained() })
}

// Interrupted lists the jobs that were interrupted in their latest run.
func (h *History) Interrupted() []int {
	return h.list(func(e *entry) bool { return e.accepted > 0 && e.erased == 0 && !e.lost && e.stopped > 0 })
}

// Repeated lists the jobs that ran more than once and of which something is left.
func (h *History) Repeated() []int {
	return h.list(func(e *entry) bool { return e.accepted > 0 && e.erased == 0 && !e.lost && e.ran > 1 })
}

// explained is how many executions of a job its latest view accounts for.
func (e *entry) explained() uint32 { return uint32(e.attempts) + uint32(e.stopped) + e.forgiven }

func (h *History) list(which func(*entry) bool) []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []int
	for n := range h.jobs {
		if which(&h.jobs[n]) {
			all = append(all, n)
		}
	}
	return all
}

// Report is what a history comes to.
type Report struct {
	Asked         int
	Accepted      int
	Unknown       int // jobs that were asked for and never accepted
	States        map[job.State]int
	Executions    int // of accepted jobs
	Repeated      int // executions beyond the first of each
	Retries       int // attempts beyond the first of each, in the latest runs
	Interruptions int // in the latest runs
	Slowest       time.Duration
	Broken        map[Invariant]int // how often, where it was
	Violations    []Violation       // the first ones
}

// SoFar is what was seen before every open job was looked at for the last time: nothing is said of what should have come.
func (h *History) SoFar() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.report()
}

// Check judges what was seen, once every open job was looked at for the last time. It does not change the history.
func (h *History) Check() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, kept := maps.Clone(h.broken), slices.Clone(h.kept)
	defer func() { h.broken, h.kept = was, kept }()
	for n := range h.jobs {
		if h.jobs[n].accepted > 0 {
			h.judge(n)
		}
	}
	return h.report()
}

// judge says what should have come of an accepted job and has not. It must be called with mu held.
func (h *History) judge(n int) {
	e := &h.jobs[n]
	if !e.state.job().Terminal() && !e.lost {
		h.violate(Ends, n, "it is %s and does not end", e.state.job())
	}
	if e.erased > 0 || e.lost { // its record, which explains what was done, is no more
		return
	}
	if explained := max(e.explained(), e.recorded+e.forgiven); e.ran > explained {
		h.violate(Recorded, n, "a model server ran it %d times, and its record explains %d", e.ran, explained)
	}
	if e.state.job() == job.Succeeded && e.ran == 0 {
		h.violate(Recorded, n, "it succeeded, and no model server ran it")
	}
}

// report must be called with mu held.
func (h *History) report() Report {
	r := Report{Asked: len(h.jobs), States: make(map[job.State]int), Slowest: h.slow, Broken: maps.Clone(h.broken), Violations: slices.Clone(h.kept)}
	for n := range h.jobs {
		e := &h.jobs[n]
		if e.accepted == 0 {
			r.Unknown++
			continue
		}
		r.Accepted++
		r.States[e.state.job()]++
		r.Executions += int(e.ran)
		r.Repeated += max(int(e.ran)-1, 0)
		r.Retries += max(int(e.attempts)-1, 0)
		r.Interruptions += int(e.stopped)
	}
	return r
}

// String is for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d jobs asked for, %d accepted (%d with unknown outcome or refused):", r.Asked, r.Accepted, r.Unknown)
	for _, s := range slices.Sorted(maps.Keys(r.States)) {
		fmt.Fprintf(&b, " %d %s", r.States[s], s)
	}
	fmt.Fprintf(&b, "; %d executions, %d of them repeated; %d retries, %d interruptions; longest recovery %s; violations:",
		r.Executions, r.Repeated, r.Retries, r.Interruptions, r.Slowest.Round(time.Millisecond))
	for _, i := range Invariants() {
		fmt.Fprintf(&b, " %s %d", i, r.Broken[i])
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "\n  %s", v)
		if v.Trail != "" {
			fmt.Fprintf(&b, "\n      %s", v.Trail)
		}
	}
	return b.String()
}
