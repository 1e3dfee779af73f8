package dashboard

import (
	"fmt"
	"slices"
	"time"

	"headrace/api/dashboard/recent"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Bounds of what is well; docs/operations.md has the same for alerts.
const (
	lately     = 5 * time.Minute // calls that count
	failedPart = 0.05            // of the calls
	longQueue  = 5 * time.Second
	oldJob     = 10 * time.Minute
	fullDisk   = 0.7
	inARow     = 5 // failures without a good call between them are told of as such
)

// stats is what the recent calls say of one route.
type stats struct {
	Calls, Failed int
	P50, P99      time.Duration
	Waits         time.Duration // in the queue, of nine in ten at most
	Rate          float64       // calls a second
	// InARow counts the failures that no good call has followed, and Since is when they began.
	InARow int
	Since  time.Time
	took   []time.Duration
	waits  []time.Duration
	good   bool
}

// statsOf counts the calls of the last minutes by route. calls come the latest first.
func statsOf(calls func(func(recent.Call) bool), now time.Time) map[string]*stats {
	all := make(map[string]*stats)
	oldest := now
	for c := range calls {
		if c.Began.Before(now.Add(-lately)) {
			continue
		}
		oldest = c.Began
		s := all[c.Route]
		if s == nil {
			s = &stats{}
			all[c.Route] = s
		}
		s.Calls++
		s.took = append(s.took, c.Took)
		switch c.Code { //nolint:exhaustive // the others are failures
		case "":
			s.good = true
			s.waits = append(s.waits, c.Queue)
		case fault.Invalid, fault.RateLimited:
		default:
			s.Failed++
			if !s.good {
				s.InARow++
				s.Since = c.Began
			}
		}
	}
	span := max(now.Sub(oldest).Seconds(), 10) // which are remembered
	for _, s := range all {
		s.Rate = float64(s.Calls) / span
		s.P50, s.P99, s.Waits = quantile(s.took, 0.5), quantile(s.took, 0.99), quantile(s.waits, 0.9)
	}
	return all
}

// quantile sorts times.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(int(q*float64(len(times))), len(times)-1)]
}

// facts are what is known of one route.
type facts struct {
	Route  *inference.Route
	State  inference.RouteState
	Paused bool
	Lanes  map[job.Priority]job.Lane
	Stats  *stats
}

// waiting is how many jobs of the route wait.
func (f *facts) waiting() (n int) {
	for _, lane := range f.Lanes {
		n += lane.Waiting
	}
	return n
}

// alarm is something that is wrong: what, and what to do.
type alarm struct {
	Grave      bool
	What, Do   string
	Link, Look string
}

// alarms are what is wrong, the worst first. It is pure.
func alarms(ready error, all []facts, held, limit int64, now time.Time) []alarm {
	var found []alarm
	if ready != nil {
		found = append(found, alarm{Grave: true, What: "This front end is not ready: " + plain(ready.Error()) + ".", Do: "Is the broker running, and does its log say more?"})
	}
	for i := range all {
		found = append(found, ofCalls(&all[i])...)
	}
	for i := range all {
		found = append(found, ofJobs(&all[i], now)...)
	}
	if limit > 0 && float64(held) > fullDisk*float64(limit) {
		found = append(found, alarm{
			Grave: true, What: fmt.Sprintf("The store for jobs is %s full; from 80 %% on no job is accepted.", share(int(held>>10), int(limit>>10))),
			Do: "Raise broker.max_store, or shorten result_ttl.", Link: Root + "/jobs", Look: "Jobs",
		})
	}
	slices.SortStableFunc(found, func(a, b alarm) int {
		switch {
		case a.Grave == b.Grave:
			return 0
		case a.Grave:
			return -1
		}
		return 1
	})
	return found
}

// ofCalls is what is wrong with a route's workers, replicas and calls.
func ofCalls(f *facts) (found []alarm) {
	name := f.Route.Name
	if f.State.Workers == 0 {
		found = append(found, alarm{Grave: true, What: "No live worker serves " + name + ".", Do: "Start one: headrace worker.", Link: routeLink(name), Look: name})
	}
	for _, r := range f.State.Replicas {
		address := inference.PublicAddress(r.URL)
		switch r.State {
		case "down":
			found = append(found, alarm{Grave: true, What: address + " of " + name + " cannot be reached.", Do: "Is the model server running?", Link: routeLink(name), Look: name})
		case "aside":
			found = append(found, alarm{What: address + " of " + name + " is put aside: it fails, or is far slower than the others.", Do: "Look at the log of that model server.", Link: routeLink(name), Look: name})
		}
	}
	s := f.Stats
	if s == nil {
		return found
	}
	if float64(s.Failed) > failedPart*float64(s.Calls) {
		what := fmt.Sprintf("%s of the calls on %s fail.", share(s.Failed, s.Calls), name)
		if s.InARow >= inARow {
			what = fmt.Sprintf("%s of the calls on %s fail; none was good since %s.", share(s.Failed, s.Calls), name, s.Since.UTC().Format("15:04:05 UTC"))
		}
		found = append(found, alarm{Grave: true, What: what, Do: "Their codes say why.", Link: callsLink("route:" + name + " status:failed"), Look: plural(s.Failed, "call", "calls")})
	}
	if s.Waits > longQueue {
		found = append(found, alarm{What: "Calls on " + name + " wait for " + took(s.Waits) + " for a slot.", Do: "Add slots or workers.", Link: callsLink("route:" + name), Look: "Its calls"})
	}
	return found
}

// ofJobs is what is wrong with the queue of a route's jobs.
func ofJobs(f *facts, now time.Time) (found []alarm) {
	name, n := f.Route.Name, f.waiting()
	look := plural(n, "job waits", "jobs wait")
	link := jobsLink("route:" + name + " status:queued")
	if f.Paused {
		return []alarm{{What: "The queue of " + name + " is paused: its jobs are not started.", Do: "Resume it when it may go on.", Link: routeLink(name), Look: look}}
	}
	for _, p := range job.Priorities() {
		if lane := f.Lanes[p]; !lane.Oldest.IsZero() && now.Sub(lane.Oldest) > oldJob {
			found = append(found, alarm{
				What: fmt.Sprintf("The next %s job of %s has waited for %s.", p, name, took(now.Sub(lane.Oldest))), Do: "Add slots or workers.", Link: link, Look: look,
			})
		}
	}
	return found
}
