package history

import "headrace/internal/job"

// Event is one of a job's events.
type Event struct {
	ID   uint64
	Kind string // snapshot, status or done
	View View
}

// Stream is what one reader got of a job's events.
type Stream struct {
	Asked  Moment
	From   uint64 // the last event that the reader has had; 0 = none
	Known  uint64 // the latest revision that was seen before it asked
	Quiet  bool   // the stream began with a sign of life instead of an event
	Events []Event
}

// Follow begins a stream of a reader who has had the events up to from.
func (h *History) Follow(n int, from uint64) Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stream{Asked: h.Now(), From: from, Known: h.jobs[n].revision}
}

// Streamed notes what a reader got of a job's events.
func (h *History) Streamed(n int, s Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.Asked < h.dark {
		return
	}
	if s.Quiet && s.Known > s.From {
		h.violate(Events, n, "events after %d begin with nothing, and the job was at revision %d", s.From, s.Known)
	}
	last := uint64(0)
	for i, e := range s.Events {
		switch {
		case i == 0 && !s.Quiet && e.Kind != "snapshot":
			h.violate(Events, n, "events begin with %s", e.Kind)
		case i > 0 && e.Kind == "snapshot":
			h.violate(Events, n, "a snapshot comes after other events")
		case e.ID != e.View.Revision:
			h.violate(Events, n, "event %d shows revision %d", e.ID, e.View.Revision)
		case e.ID < s.Known:
			h.violate(Events, n, "event %d comes, and the job was at revision %d", e.ID, s.Known)
		case e.ID < last || e.ID == last && e.Kind != "done":
			h.violate(Events, n, "event %d comes after event %d", e.ID, last)
		case e.Kind == "done" && !e.View.State.Terminal():
			h.violate(Events, n, "its events are done, and it is %s", e.View.State)
		}
		last = e.ID
		h.see(n, e.View, s.Asked)
	}
}

// Endless notes that the events of a job that has ended do not end, though nothing hinders them.
func (h *History) Endless(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := &h.jobs[n]; !e.lost && e.state.job() != job.Erased {
		h.violate(Events, n, "its events do not tell that it is %s", e.state.job())
	}
}
