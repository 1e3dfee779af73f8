package calls

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/job"
)

const (
	// alonePatience is how long a job that runs alone waits until the others of its process have ended. Then it is
	// given back: other workers may be idle.
	alonePatience = 2 * time.Minute
	// fatePatience is how long a worker has to say whether it still runs a job.
	fatePatience = time.Second

	nakLong   = `-NAK {"delay": 5000000000}`  // for five seconds no worker gets it
	nakMinute = `-NAK {"delay": 60000000000}` // for a minute
)

var (
	// errAlone says that a job may only start when no other one runs in this process.
	errAlone = errors.New("the job runs alone")
	// errHeld says that a job is still run by the worker that began with it.
	errHeld = errors.New("the job is still run by another worker")
)

// solo keeps other jobs away from one that was interrupted too often: if it ends its worker again, it takes no other
// job with it, and it is known which one did. A process is the unit, because a process is what dies.
type solo struct {
	mu      sync.Mutex
	running int           // jobs of this process, and those that are about to be
	taken   bool          // one of them runs alone, or waits until the others have ended
	stop    bool          // a job that waits to be alone should give up
	news    chan struct{} // capacity 1: one of these has changed
}

func newSolo() *solo { return &solo{news: make(chan struct{}, 1)} }

// enter lets a job in, unless one runs alone or wants to.
func (s *solo) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return false
	}
	s.running++
	return true
}

// leave is called for each job that was let in.
func (s *solo) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	link.Ring(s.news)
}

// leaveAlone is leave for the job that had the process to itself.
func (s *solo) leaveAlone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.taken = false
}

// busy reports whether no job is to be let in.
func (s *solo) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// giveUp ends the wait of a job that waits to be alone.
func (s *solo) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = s.taken
	link.Ring(s.news)
}

// alone waits until the caller's job, which was let in, is the only one, and keeps others away from then on. beat is
// called now and then until it is. It reports whether the job is alone.
func (s *solo) alone(ctx context.Context, every time.Duration, beat func()) bool {
	s.mu.Lock()
	if s.taken {
		s.mu.Unlock()
		return false
	}
	s.taken, s.stop = true, false
	s.mu.Unlock()
	tick, over := time.NewTicker(every), time.NewTimer(alonePatience)
	defer tick.Stop()
	defer over.Stop()
	stop := false
	for {
		s.mu.Lock()
		only := s.running == 1
		stop = stop || s.stop
		if stop && !only {
			s.taken = false
		}
		s.mu.Unlock()
		if only || stop {
			return only
		}
		select {
		case <-s.news:
		case <-tick.C:
			beat()
		case <-over.C:
			stop = true
		case <-ctx.Done():
			stop = true
		}
	}
}

// extend keeps a lease alive while its job waits for its turn.
func (d *Delivery) extend() { d.settle("+WPI") }

// leaveJob gives the places back that a job has in its process and its intake.
func (w *WorkerEnd) leaveJob(d *Delivery) {
	d.leave()
	if !d.alone {
		w.solo.leave()
		return
	}
	w.solo.leaveAlone()
	w.mu.Lock()
	defer w.mu.Unlock()
	for in := range w.intakes {
		in.signal()
	}
}

// fate is what became of a job that a worker has begun with.
type fate int

const (
	fateLost    fate = iota // the worker is not there any more, or cannot be reached
	fateGivenUp             // the worker lives and does not run it any more
	fateRuns                // the worker runs it
)

// subjectHeld is where a worker is asked whether it still runs a job.
func subjectHeld(worker string) string { return link.PrefixWorker + worker + ".j" }

// fateOf asks the worker that has begun with a job. A lease that has run out says little about a worker that lives:
// its heartbeats may have been held up.
func (w *WorkerEnd) fateOf(ctx context.Context, r *job.Record) fate {
	if r.Owner == w.id {
		return w.fateHere(r.ID, r.Starts, 1)
	}
	ctx, cancel := context.WithTimeout(ctx, fatePatience)
	defer cancel()
	answer, err := w.link.NC.RequestWithContext(ctx, subjectHeld(r.Owner), []byte(string(r.ID)+" "+strconv.Itoa(r.Starts)))
	switch {
	case err != nil:
		return fateLost
	case string(answer.Data) == "+":
		return fateRuns
	}
	return fateGivenUp
}

// fateHere is the fate of a job that began here. own is how many of the starts that are
// about to be written are the asker's.
func (w *WorkerEnd) fateHere(id job.ID, start, own int) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.runningJobs[id]; c != nil && c.job.start == start || w.starting[id] > own {
		return fateRuns
	}
	return fateGivenUp
}

// beginStart notes that a job's start is about to be written: from then on no other worker but this one can have it.
func (w *WorkerEnd) beginStart(id job.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starting[id]++
}

// endStart is called when the start was written and noted, or was not written.
func (w *WorkerEnd) endStart(id job.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.starting[id]--; w.starting[id] == 0 {
		delete(w.starting, id)
	}
}

// receiveHeld answers whether a job still runs here.
func (w *WorkerEnd) receiveHeld(msg *nats.Msg) {
	id, text, _ := strings.Cut(string(msg.Data), " ")
	start, err := strconv.Atoi(text)
	answer := "-"
	if err == nil && w.fateHere(job.ID(id), start, 0) == fateRuns {
		answer = "+"
	}
	if err := msg.Respond([]byte(answer)); err != nil {
		w.log.Debug("telling whether a job runs here", "job", id, "error", err)
	}
}
