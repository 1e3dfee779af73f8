package calls

import (
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// waiting bounds what is accepted and not yet claimed, route by route.
type waiting struct {
	mu     sync.Mutex
	routes map[string]*waitCount
}

// waitCount is what waits on one route.
type waitCount struct {
	calls  int
	queued int // of calls, published: they wait in the work queue
	bytes  int64
}

// place is one call's place among the waiting.
type place struct {
	waiting *waiting
	route   string
	size    int64
	queued  bool
}

// enter takes a place for size bytes, or says why there is none. It must be left once.
func (w *waiting) enter(route *inference.Route, size int64) (*place, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.routes[route.Name]
	if n == nil {
		n = new(waitCount)
		w.routes[route.Name] = n
	}
	if n.calls >= route.MaxWaiting || n.bytes+size > route.MaxWaitingBytes {
		f := fault.New(fault.QueueFull,
			"route %q is full: %d calls with %d bytes wait already (limits: max_waiting %d, max_waiting_bytes %d); try again later",
			route.Name, n.calls, n.bytes, route.MaxWaiting, route.MaxWaitingBytes)
		f.RetryAfter = time.Second
		return nil, f
	}
	n.calls++
	n.bytes += size
	return &place{waiting: w, route: route.Name, size: size}, nil
}

// queue notes that the call waits in the work queue.
func (p *place) queue() {
	w := p.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.queued {
		p.queued = true
		w.routes[p.route].queued++
	}
}

// leave gives the place back.
func (p *place) leave() {
	w := p.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.routes[p.route]
	n.calls--
	n.bytes -= p.size
	if p.queued {
		n.queued--
	}
	if n.calls == 0 {
		delete(w.routes, p.route) // so that routes of old configurations do not pile up
	}
}

// count is the number of calls that wait on a route.
func (w *waiting) count(route string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.routes[route]; n != nil {
		return n.calls
	}
	return 0
}

// queued is the number of them that are in the work queue.
func (w *waiting) queued(route string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.routes[route]; n != nil {
		return n.queued
	}
	return 0
}
