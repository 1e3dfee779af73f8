// Package waiting counts, at one front end, the calls of each route that are accepted and not yet claimed, and bounds them by
// number and by bytes.
package waiting

import (
	"sync"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

// Calls bounds what is accepted and not yet claimed, route by route.
type Calls struct {
	mu     sync.Mutex
	routes map[string]*count
}

// count is what waits on one route.
type count struct {
	calls  int
	queued int // of calls, published: they wait in the work queue
	bytes  int64
}

// Place is one call's place among the waiting.
type Place struct {
	all    *Calls
	route  string
	size   int64
	queued bool
}

// New makes one on which nothing waits.
func New() *Calls { return &Calls{routes: make(map[string]*count)} }

// Enter takes a place for size bytes, or says why there is none. It must be left once.
func (w *Calls) Enter(route *inference.Route, size int64) (*Place, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.routes[route.Name]
	if n == nil {
		n = new(count)
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
	return &Place{all: w, route: route.Name, size: size}, nil
}

// Queue notes that the call waits in the work queue.
func (p *Place) Queue() {
	w := p.all
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.queued {
		p.queued = true
		w.routes[p.route].queued++
	}
}

// Leave gives the place back.
func (p *Place) Leave() {
	w := p.all
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

// Count is the number of calls that wait on a route.
func (w *Calls) Count(route string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.routes[route]; n != nil {
		return n.calls
	}
	return 0
}

// Queued is the number of them that are in the work queue.
func (w *Calls) Queued(route string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.routes[route]; n != nil {
		return n.queued
	}
	return 0
}
