package calls

import (
	"sync"
)

// Local lets the front ends and workers of one process speak without NATS where nothing can get lost between
// them: a claim is a function call, an answer is handed over as it is, whatever its size. A call that finds a
// free slot and no other call waiting is handed to the slot; whatever has to wait does so in the work queue, so order,
// limits and sharing with other workers are the same. Give one to all of them.
type Local struct {
	mu      sync.RWMutex
	fronts  map[string]*FrontEnd
	workers map[*Answerer]struct{}
}

// NewLocal makes one for a process.
func NewLocal() *Local {
	return &Local{fronts: make(map[string]*FrontEnd), workers: make(map[*Answerer]struct{})}
}

// employ makes calls be handed to a worker.
func (l *Local) employ(a *Answerer) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.workers[a] = struct{}{}
	}
}

// dismiss ends that.
func (l *Local) dismiss(a *Answerer) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.workers, a)
	}
}

// hand offers a call to the workers of this process, and reports whether one had a free slot for its route.
func (l *Local) hand(from source, e *envelope, c *call) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for a := range l.workers {
		if a.line.Offer(&delivery{answerer: a, source: from, envelope: e, caller: c.caller, streams: c.streams}) {
			return true
		}
	}
	return false
}

// queued is how many calls of this process's front ends wait for route in the work queue.
func (l *Local) queued(route string) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := 0
	for _, f := range l.fronts {
		n += f.waiting.Queued(route)
	}
	return n
}

// join makes claims and answers for a front end function calls.
func (l *Local) join(f *FrontEnd) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fronts[f.id] = f
	}
}

// leave ends that: its calls have ended.
func (l *Local) leave(f *FrontEnd) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.fronts, f.id)
	}
}

// front is the inbox of the front end of this process with that id; nil when it is elsewhere.
func (l *Local) front(id string) *inbox {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if f := l.fronts[id]; f != nil {
		return f.inbox
	}
	return nil
}
