package calls

import (
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// Local lets the front ends and workers of one process speak without NATS where nothing can get lost between
// them: a claim is a function call, an answer is handed over as it is, whatever its size. A call that finds a
// free slot and nobody waiting is handed to the slot; whatever has to wait does so in the work queue, so order,
// limits and sharing with other workers are the same. Share one through Dial.
type Local struct {
	mu      sync.RWMutex
	fronts  map[string]*FrontEnd
	intakes map[string]*Intake // by route
}

// NewLocal makes one for a process.
func NewLocal() *Local {
	return &Local{fronts: make(map[string]*FrontEnd), intakes: make(map[string]*Intake)}
}

// serve makes calls of in's routes be handed to it.
func (l *Local) serve(in *Intake) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range in.pullers {
			l.intakes[p.route] = in
		}
	}
}

func (l *Local) unserve(in *Intake) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range in.pullers {
			if l.intakes[p.route] == in {
				delete(l.intakes, p.route)
			}
		}
	}
}

// intake is the one that serves route in this process; nil when none does.
func (l *Local) intake(route string) *Intake {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.intakes[route]
}

// queued is how many calls of this process's front ends wait for route in the work queue.
func (l *Local) queued(route string) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := 0
	for _, f := range l.fronts {
		n += f.waiting.queued(route)
	}
	return n
}

// hand gives a call to a free slot of this process, unless others wait for one. It reports whether it did.
func (f *FrontEnd) hand(c *call, message []byte) bool {
	in := f.local.intake(c.route.Name)
	if in == nil || f.waiting.queued(c.route.Name) > 0 {
		return false
	}
	e, err := decodeEnvelope(message)
	if err != nil {
		return false // what cannot be read here is for other workers
	}
	return in.offer(&Delivery{worker: in.worker, from: f, envelope: e, route: e.route, caller: c.caller, arrived: time.Now()})
}

// takeBack makes a call that was handed over wait in the work queue after all.
func (f *FrontEnd) takeBack(id uint64) {
	if c := f.calls.get(id); c != nil {
		f.repeat(c)
	}
}

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
		c.end(outcome{result: result})
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
