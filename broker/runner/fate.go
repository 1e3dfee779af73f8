package runner

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/job"
)

// fatePatience is how long a worker has to say whether it still runs a job.
const fatePatience = time.Second

// errHeld says that a job is still run by the worker that began with it.
var errHeld = errors.New("the job is still run by another worker")

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
func (r *Runner) fateOf(ctx context.Context, rec *job.Record) fate {
	if rec.Owner == r.line.ID {
		return r.fateHere(rec.ID, rec.Starts, 1)
	}
	ctx, cancel := context.WithTimeout(ctx, fatePatience)
	defer cancel()
	answer, err := r.line.Link.NC.RequestWithContext(ctx, subjectHeld(rec.Owner), []byte(string(rec.ID)+" "+strconv.Itoa(rec.Starts)))
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
func (r *Runner) fateHere(id job.ID, start, own int) fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.running[id]; c != nil && c.start == start || r.starting[id] > own {
		return fateRuns
	}
	return fateGivenUp
}

// beginStart notes that a job's start is about to be written: from then on no other worker but this one can have it.
func (r *Runner) beginStart(id job.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting[id]++
}

// endStart is called when the start was written and noted, or was not written.
func (r *Runner) endStart(id job.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starting[id]--; r.starting[id] == 0 {
		delete(r.starting, id)
	}
}

// receiveHeld answers whether a job still runs here.
func (r *Runner) receiveHeld(msg *nats.Msg) {
	id, text, _ := strings.Cut(string(msg.Data), " ")
	start, err := strconv.Atoi(text)
	answer := "-"
	if err == nil && r.fateHere(job.ID(id), start, 0) == fateRuns {
		answer = "+"
	}
	if err := msg.Respond([]byte(answer)); err != nil {
		r.log.Debug("telling whether a job runs here", "job", id, "error", err)
	}
}
