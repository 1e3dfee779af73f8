package upstream

import "time"

// Load is what the choice of a replica depends on.
type Load struct {
	Busy        int
	Down, Tried bool
	Aside       bool
}

// Pick is the choice among loads.
func Pick(loads []Load, start int) int {
	inner := make([]load, 0, len(loads))
	for _, l := range loads {
		inner = append(inner, load{busy: l.Busy, down: l.Down, aside: l.Aside, tried: l.Tried})
	}
	return pick(inner, start)
}

// Pause is the wait between probes.
func Pause(first time.Duration, failures int) time.Duration { return pause(first, failures) }

// RetryAfter reads the header of that name.
func RetryAfter(text string, now time.Time) time.Duration { return retryAfter(text, now) }
