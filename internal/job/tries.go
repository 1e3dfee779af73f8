package job

import "time"

// Alone reports whether the job must not share a call or a batch with others because it was interrupted too often.
func (t *Tries) Alone() bool { return t.Interruptions >= aloneAfter }

// interrupt ends an attempt whose worker was lost: it counts apart from failed attempts.
func (t *Tries) interrupt(now time.Time) {
	if t.Alone() {
		t.AloneInterruptions++
	}
	t.Interruptions++
	t.Attempt--
	t.close("interrupted", nil, now)
}

// close ends the running attempt in the history.
func (t *Tries) close(outcome string, problem *Problem, now time.Time) {
	if n := len(t.Attempts); n > 0 && t.Attempts[n-1].EndedAt == nil {
		a := &t.Attempts[n-1]
		a.EndedAt, a.Outcome, a.Error = &now, outcome, problem
	}
}

// Closed reports whether worker itself has ended what it began with the given start, and no later start exists.
func (t *Tries) Closed(worker string, start int) bool {
	n := len(t.Attempts)
	if n == 0 || t.Starts != start {
		return false
	}
	a := t.Attempts[n-1]
	return a.Worker == worker && a.EndedAt != nil && a.Outcome != "interrupted"
}

// Unshared reports whether the job must have a call to itself.
func (t *Tries) Unshared() bool { return t.Apart || t.Alone() }
