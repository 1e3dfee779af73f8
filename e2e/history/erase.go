package history

import "headrace/internal/job"

// AskErase notes that a job is about to be erased, which cancels it first.
func (h *History) AskErase(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[n].erase, h.jobs[n].cancel = true, true
	h.note(n, askedErase, 0)
}

// Gone notes that a server says that nothing is left of a job.
func (h *History) Gone(n int, asked Moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; e.accepted > 0 && asked > e.accepted { // else it is one that was refused
		h.gone(n)
	}
}

// gone must be called with mu held.
func (h *History) gone(n int) {
	e := &h.jobs[n]
	switch {
	case e.erased > 0:
		return
	case !e.erase && !e.lost:
		e.lost = true
		h.note(n, erased, 0)
		h.violate(Ends, n, "it is gone, and no client asked for that")
		return
	}
	h.note(n, erased, 0)
	e.erased, e.state = h.Now(), stateOf(job.Erased)
}

// NoResult notes that the result of a job that has succeeded cannot be had, although the job can.
func (h *History) NoResult(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; !e.erase && !e.lost {
		e.lost = true
		h.note(n, unread, 0)
		h.violate(Same, n, "it has succeeded, and its result is gone before its time")
	}
}

// Twice notes that another job was accepted under a job's key or id.
func (h *History) Twice(n int, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violate(One, n, "another job was accepted in its place: %s", what)
}

// PowerLost notes that everything has lost what was not promised to anybody yet, at this moment: nothing runs. What was
// seen of jobs that had not ended may be undone, and what they have done may not be recorded.
func (h *History) PowerLost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dark = h.Now()
	for n := range h.jobs {
		e := &h.jobs[n]
		if e.state.job().Terminal() {
			continue
		}
		e.state, e.revision, e.runs, e.begun, e.ended, e.attempts, e.stopped = 0, 0, 0, 0, 0, 0, 0
		e.read, e.digest, e.forgiven = false, 0, e.ran
	}
}
