package sweeper

import (
	"time"
)

const (
	// checksApart is the time between two checks of places in the queue: many that fall due together must not keep others
	// from being seen to.
	checksApart = 200 * time.Microsecond
	// missingAfter is how long a work queue must hold less than it should before its jobs are looked at.
	missingAfter = 10 * time.Second
	// missingAgain is the pause before they are looked at again. It doubles, up to missingSeldom, while nothing is found: on a
	// busy lane there is always a job that has just ended.
	missingAgain  = 20 * time.Second
	missingSeldom = 30 * time.Minute
	// missesAllowed is how often a job's record is looked for in vain, verifyAfter apart, before the job is forgotten.
	missesAllowed = 5
)

// pacer hands out times that are at least checksApart.
type pacer struct{ last time.Time }

// next is the first time that is free, not before at.
func (p *pacer) next(at time.Time) time.Time {
	if earliest := p.last.Add(checksApart); at.Before(earliest) {
		at = earliest
	}
	p.last = at
	return at
}

// shortage is how long a work queue has held less messages than it should.
type shortage struct {
	since   time.Time // zero: it holds enough
	started uint64    // jobs given to workers when that began
	again   time.Time // not before then are its jobs looked at
	pause   time.Duration
	found   bool // since they were looked at, a job was put back
}

// note takes a measurement, how many messages are missing, and reports whether the lane's jobs are to be looked at.
func (s *shortage) note(missing int, started uint64, now time.Time) (look bool) {
	if missing <= 0 {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since, s.started = now, started
	}
	if now.Sub(s.since) < missingAfter || now.Before(s.again) {
		return false
	}
	if s.pause == 0 || s.found {
		s.pause = missingAgain
	} else {
		s.pause = min(2*s.pause, missingSeldom)
	}
	s.again, s.found = now.Add(s.pause), false
	return true
}

// oldest is since when the next job of a lane waits whose queue holds none, although it should; zero when that is not known
// or jobs are being given to workers. before is when the job that was next at the last look was queued.
func (s *shortage) oldest(before time.Time, started uint64) time.Time {
	if s.since.IsZero() || s.started != started {
		return time.Time{}
	}
	if before.IsZero() || before.After(s.since) {
		return s.since
	}
	return before
}
