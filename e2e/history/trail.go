package history

import (
	"fmt"
	"strings"
	"time"
)

// kept is how many of the latest notes of a job are kept.
const kept = 16

// kind is what a note is about: one of the following, or, from seenFirst on, a state that was seen.
type kind uint8

const (
	accepted kind = iota
	askedCancel
	askedRun
	askedErase
	ran
	missing
	erased
	unread
	seenFirst
)

func seen(s state) kind { return seenFirst + kind(s) }

// step is one note, in few bytes: there may be hundreds of thousands of jobs.
type step struct {
	at       uint32 // milliseconds
	revision uint32
	run      uint16 // or which execution it is
	kind     kind
}

// trail is the latest that happened to a job.
type trail struct {
	steps []step
	next  uint8 // where the next one goes once there are as many as are kept
}

func (t *trail) add(at time.Duration, k kind, run, revision uint64) {
	s := step{at: uint32(at.Milliseconds()), revision: uint32(revision), run: uint16(run), kind: k}
	if len(t.steps) < kept {
		t.steps = append(t.steps, s)
		return
	}
	t.steps[t.next] = s
	t.next = (t.next + 1) % kept
}

// String tells it in order.
func (t *trail) String() string {
	var b strings.Builder
	for i := range t.steps {
		s := t.steps[(int(t.next)+i)%len(t.steps)]
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.3fs %s", (time.Duration(s.at) * time.Millisecond).Seconds(), s)
	}
	return b.String()
}

// String is for people.
func (s step) String() string {
	switch s.kind {
	case accepted:
		return fmt.Sprintf("accepted at revision %d", s.revision)
	case askedCancel:
		return "cancel asked for"
	case askedRun:
		return "another run asked for"
	case askedErase:
		return "erasing asked for"
	case ran:
		return fmt.Sprintf("execution %d", s.revision)
	case missing:
		return "not found"
	case erased:
		return "erased"
	case unread:
		return "no result"
	case seenFirst: // and those behind it
	}
	return fmt.Sprintf("%s in run %d at revision %d", state(s.kind-seenFirst).job(), s.run, s.revision)
}

// since is how long the history has lasted.
func (h *History) since() time.Duration { return time.Since(h.began) }

// note adds to a job's trail. It must be called with mu held.
func (h *History) note(n int, k kind, revision uint64) {
	e := &h.jobs[n]
	e.trail.add(h.since(), k, uint64(e.runs), revision)
}
