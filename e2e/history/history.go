// Package history proves what durable jobs promise, on what clients saw of them and what a model server ran. It knows
// neither HTTP nor processes: its user drives them and notes what happened, and Check judges it.
//
//	I1  every accepted job is there, and ends in exactly one final state, and in one that a client asked for
//	I2  a final state, once seen, stays as it is within its run; nothing runs again that has succeeded, and what is erased stays erased
//	I3  a result, once read, is the same bytes at every later read, and is there until it expires
//	I4  a model server runs a job at most as often as its record explains and its policy allows, none of a paused queue, and every result was computed
//	I5  one idempotency key, or one id, is one job
//	I6  nothing is held once nothing is done
//	I7  what was interrupted goes on within a bounded time
//	I8  the events of a job begin with all that is known of it, come in order, and end with its end
//
// Notes are folded as they come, so that some hundred bytes are kept of a job, however much is seen of it.
package history

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"headrace/internal/job"
)

// Invariant is one of the promises.
type Invariant string

// The invariants.
const (
	Ends     Invariant = "I1"
	Final    Invariant = "I2"
	Same     Invariant = "I3"
	Recorded Invariant = "I4"
	One      Invariant = "I5"
	Idle     Invariant = "I6"
	Recovery Invariant = "I7"
	Events   Invariant = "I8"
)

// Invariants lists them all.
func Invariants() []Invariant {
	return []Invariant{Ends, Final, Same, Recorded, One, Idle, Recovery, Events}
}

// maxKept bounds the violations that are kept; all are counted.
const maxKept = 200

// Violation is a promise that was broken.
type Violation struct {
	Invariant Invariant
	Job       int // -1 = none in particular
	ID        job.ID
	Text      string
	Trail     string // what had happened to the job before, the latest last
}

// String is for people.
func (v Violation) String() string {
	if v.Job < 0 {
		return fmt.Sprintf("%s: %s", v.Invariant, v.Text)
	}
	return fmt.Sprintf("%s: job %d (%s): %s", v.Invariant, v.Job, v.ID, v.Text)
}

// Moment orders what is asked and what is seen: what is asked for at a later moment than something was noted at must
// know of it.
type Moment uint64

// View is a job as a client saw it.
type View struct {
	ID            job.ID
	State         job.State
	Run           int
	Attempt       int
	MaxAttempts   int // 0 = the view does not say
	Interruptions int
	Revision      uint64
	Digest        uint64 // that it says its result has; 0 = it says nothing
}

// entry is what is kept of a job.
type entry struct {
	id       job.ID
	revision uint64 // of the latest view; views are ordered by it
	accepted Moment // when an acceptance was noted; 0 = never
	ended    Moment // when the final state of this run was first noted; 0 = it was not
	begun    Moment // when this run was first noted
	erased   Moment // when it was first noted that nothing is left of it; 0 = it was not
	sum      uint64 // of the result's bytes in this run
	digest   uint64 // of what views of this run say of the result
	trail    trail
	ran      uint32
	forgiven uint32 // executions that the record need not explain
	recorded uint32 // attempts in the history of all runs, where it was read
	attempts uint16 // of the latest view
	stopped  uint16 // interruptions, of the latest view
	runs     uint16 // the run of the latest view
	allowed  uint16 // runs that somebody asked for
	state    state
	read     bool // sum is known
	cancel   bool // somebody asked for it
	erase    bool // somebody asked for it
	lost     bool // it was accepted, and a server does not know it
}

// state is a job.State in one byte; 0 = none was seen.
type state uint8

//nolint:gochecknoglobals // a closed set, read only
var states = [...]job.State{
	"", job.Scheduled, job.Queued, job.Running, job.Retrying, job.Cancelling, job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased,
}

func stateOf(s job.State) state {
	for i, known := range states {
		if known == s {
			return state(i)
		}
	}
	return 0
}

func (s state) job() job.State { return states[s] }

// History is what was seen of many jobs. Its methods may be called at any time.
type History struct {
	clock atomic.Uint64

	mu       sync.Mutex
	began    time.Time
	jobs     []entry
	redriven uint16 // how often all failed jobs may have been asked to run again
	dark     Moment // when the power was last lost
	kept     []Violation
	broken   map[Invariant]int
	slow     time.Duration
}

// New makes an empty history.
func New() *History { return &History{began: time.Now(), broken: make(map[Invariant]int)} }

// Now is the present moment, to be taken before something is asked.
func (h *History) Now() Moment { return Moment(h.clock.Add(1)) }

// Broken reports whether a promise was seen broken so far.
func (h *History) Broken(i Invariant) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken[i] > 0
}

// Ask gives a number to a job that is about to be asked for, with whatever makes repeating it harmless.
func (h *History) Ask() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs = append(h.jobs, entry{allowed: 1})
	return len(h.jobs) - 1
}

// Len is how many jobs were asked for.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.jobs)
}

// ID is the id under which a job was accepted; "" = it was not yet.
func (h *History) ID(n int) job.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.jobs[n].accepted == 0 {
		return ""
	}
	return h.jobs[n].id
}

// State is the latest that was seen of a job, and the run that it is of.
func (h *History) State(n int) (s job.State, run int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs[n].state.job(), int(h.jobs[n].runs)
}

// AskCancel notes that a job is about to be cancelled.
func (h *History) AskCancel(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[n].cancel = true
	h.note(n, askedCancel, 0)
}

// AskRun notes that another run of a job is about to be asked for.
func (h *History) AskRun(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[n].allowed++
	h.note(n, askedRun, 0)
}

// AskRuns notes that another run of any failed job is about to be asked for.
func (h *History) AskRuns() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.redriven++
}

// Ran notes that a model server runs a job, and says for which time.
func (h *History) Ran(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n < 0 || n >= len(h.jobs) {
		h.violate(Recorded, -1, "a model server was called for job %d, which no client asked for", n)
		return 0
	}
	h.jobs[n].ran++
	h.note(n, ran, uint64(h.jobs[n].ran))
	return int(h.jobs[n].ran)
}

// Accepted notes that a server took the responsibility for a job. Its answer shows v, or no more than its id; asked is
// when it was asked for.
func (h *History) Accepted(n int, v View, asked Moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.jobs[n]
	switch {
	case v.State != "":
		h.see(n, v, asked)
	case e.id == "":
		e.id = v.ID
	case e.id != v.ID:
		h.violate(One, n, "it is job %s too", v.ID)
	}
	if e.accepted == 0 {
		e.accepted = h.Now()
		h.note(n, accepted, v.Revision)
	}
}

// Saw notes what a client saw of a job that it asked for at a moment.
func (h *History) Saw(n int, v View, asked Moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.see(n, v, asked)
}

// Missing notes that a server did not know a job.
func (h *History) Missing(n int, asked Moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; e.accepted > 0 && asked > e.accepted && !e.lost {
		e.lost = true
		h.note(n, missing, 0)
		h.violate(Ends, n, "it was accepted and is lost")
	}
}

// see must be called with mu held.
func (h *History) see(n int, v View, asked Moment) {
	e := &h.jobs[n]
	now, s := h.Now(), stateOf(v.State)
	if s == 0 {
		h.violate(Ends, n, "it is %q, which is no state", v.State)
		return
	}
	if asked < h.dark && !v.State.Terminal() { // it may have been lost since
		return
	}
	if e.id == "" {
		e.id = v.ID
	}
	if v.Revision != e.revision || v.Run != int(e.runs) {
		e.trail.add(h.since(), seen(s), uint64(v.Run), v.Revision)
	}
	switch {
	case v.ID != e.id:
		h.violate(One, n, "it is job %s too", v.ID)
		return
	case v.State == job.Erased:
		h.gone(n)
		return
	case e.erased > 0:
		if asked > e.erased {
			h.violate(Final, n, "it was erased, and is %s in run %d", v.State, v.Run)
		}
		return
	case v.Run < int(e.runs):
		if asked > e.begun {
			h.violate(Final, n, "run %d was seen after run %d", v.Run, e.runs)
		}
		return
	case v.Run > int(e.runs):
		if v.Run > int(e.allowed+h.redriven) {
			h.violate(Final, n, "run %d was seen, and %d were asked for", v.Run, e.allowed+h.redriven)
		}
		if e.ended > 0 && e.state.job() == job.Succeeded {
			h.violate(Final, n, "run %d was seen, and run %d had succeeded", v.Run, e.runs)
		}
		e.runs, e.begun = uint16(v.Run), now
		e.ended, e.read, e.digest, e.revision, e.state = 0, false, 0, 0, 0
	}
	if !h.agrees(n, s, v, asked) {
		return
	}
	h.counts(n, v)
	if v.Revision >= e.revision {
		e.revision, e.state, e.attempts, e.stopped = v.Revision, s, uint16(v.Attempt), uint16(v.Interruptions)
	}
	if v.State.Terminal() && e.ended == 0 {
		e.ended = now
	}
}

// agrees judges a view of the run that was seen before. It must be called with mu held.
func (h *History) agrees(n int, s state, v View, asked Moment) bool {
	e := &h.jobs[n]
	switch {
	case v.State == job.Cancelled && !e.cancel:
		h.violate(Ends, n, "it is cancelled, and no client asked for that")
	case e.state == s && v.State.Terminal() && e.revision != v.Revision:
		h.violate(Final, n, "it has %s at revision %d, and at revision %d once more", v.State, min(e.revision, v.Revision), max(e.revision, v.Revision))
	case e.state == 0 || e.state == s:
		return true
	case v.Revision == e.revision:
		h.violate(Final, n, "revision %d is %s and %s", v.Revision, e.state.job(), v.State)
	case e.ended > 0 && (v.Revision > e.revision || asked > e.ended):
		h.violate(Final, n, "it was %s at revision %d, and then %s at revision %d", e.state.job(), e.revision, v.State, v.Revision)
	case v.State.Terminal() && v.Revision < e.revision:
		h.violate(Final, n, "it was %s at revision %d, and %s at revision %d", v.State, v.Revision, e.state.job(), e.revision)
	default:
		return true
	}
	return false
}

// counts judges what a view says of attempts and of the result. It must be called with mu held.
func (h *History) counts(n int, v View) {
	e := &h.jobs[n]
	if v.MaxAttempts > 0 && v.Attempt > v.MaxAttempts {
		h.violate(Recorded, n, "attempt %d of %d has begun", v.Attempt, v.MaxAttempts)
	}
	switch {
	case v.Digest == 0:
	case e.digest != 0 && e.digest != v.Digest, e.read && e.sum != v.Digest:
		h.violate(Same, n, "what the job says of the result of run %d has changed", v.Run)
	default:
		e.digest = v.Digest
	}
}

// Read notes the digest of a result that was read, and the run it is of.
func (h *History) Read(n, run int, sum uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := &h.jobs[n]
	switch {
	case run != int(e.runs): // of a run that is over, or that was not seen yet
	case e.digest != 0 && e.digest != sum:
		h.violate(Same, n, "the result of run %d is not what the job says of it", run)
	case e.read && e.sum != sum:
		h.violate(Same, n, "the result of run %d has changed", run)
	default:
		e.read, e.sum = true, sum
	}
}

// Wrong notes a result that is not the job's own.
func (h *History) Wrong(n int, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violate(Same, n, "its result is not its own: %s", what)
}

// Attempted notes how many attempts a job's history names, over all runs.
func (h *History) Attempted(n, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[n].recorded = uint32(attempts)
}

// Called notes how many answers of a model server the history of a job names, over all runs.
func (h *History) Called(n, answers int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; answers > int(e.ran) {
		h.violate(Recorded, n, "its record names %d answers of a model server, which was asked %d times", answers, e.ran)
	}
}

// Held notes that the queue of a job was paused before the job was accepted, and still is.
func (h *History) Held(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; e.ran > 0 {
		h.violate(Recorded, n, "a model server ran it while its queue was paused")
	}
}

// AtRest notes the value of a gauge once nothing is done any more.
func (h *History) AtRest(gauge string, value float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if value != 0 {
		h.violate(Idle, -1, "%s is %g at rest", gauge, value)
	}
}

// Recovered notes how long something took to go on after a fault, and how long it may.
func (h *History) Recovered(what string, took, within time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow = max(h.slow, took)
	if took > within {
		h.violate(Recovery, -1, "%s took %s, and may take %s", what, took, within)
	}
}

// violate must be called with mu held.
func (h *History) violate(broken Invariant, n int, format string, args ...any) {
	h.broken[broken]++
	if len(h.kept) >= maxKept {
		return
	}
	v := Violation{Invariant: broken, Job: n, Text: fmt.Sprintf(format, args...)}
	if n >= 0 {
		v.ID, v.Trail = h.jobs[n].id, h.jobs[n].trail.String()
	}
	h.kept = append(h.kept, v)
}
