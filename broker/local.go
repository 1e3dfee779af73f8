package broker

import (
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// Local lets the front ends and workers of one process speak without NATS where nothing can get lost between
// them: a claim is a function call, an answer is handed over as it is, whatever its size. The queue itself
// stays NATS's, so order, limits and sharing with other workers are the same. Share one through Dial.
type Local struct {
	mu     sync.RWMutex
	fronts map[string]*FrontEnd
}

// NewLocal makes one for a process.
func NewLocal() *Local { return &Local{fronts: make(map[string]*FrontEnd)} }

func (l *Local) join(f *FrontEnd) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fronts[f.id] = f
	}
}

func (l *Local) leave(f *FrontEnd) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.fronts, f.id)
	}
}

// front is the front end of this process with that id; nil when it is elsewhere.
func (l *Local) front(id string) *FrontEnd {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fronts[id]
}

// claimLocally is receiveClaim for a worker of the same process.
func (f *FrontEnd) claimLocally(id uint64, worker string) claimAnswer {
	c := f.calls.get(id)
	if c == nil {
		return claimAnswer{}
	}
	left, ok := c.claim(worker, time.Now())
	return claimAnswer{granted: ok, left: left}
}

// answerLocally takes a result over, its reservation included.
func (f *FrontEnd) answerLocally(id uint64, result *inference.Result) {
	if c := f.calls.get(id); c != nil {
		c.end(outcome{result: result, reserved: true})
		return
	}
	result.Release()
}

// failLocally ends a call with a failure.
func (f *FrontEnd) failLocally(id uint64, err *fault.Error) {
	if c := f.calls.get(id); c != nil {
		c.end(outcome{err: err})
	}
}
