package calls

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"headrace/broker/link"
)

const (
	// presenceEvery is how often a worker announces itself.
	presenceEvery = time.Second
	// presenceLost is the silence after which a worker counts as gone.
	presenceLost = 3500 * time.Millisecond
)

// presence is what a worker announces.
type presence struct {
	Worker string         `json:"worker"`
	Routes map[string]int `json:"routes"` // route to slots
	// Leaving says that the worker takes nothing new.
	Leaving bool `json:"leaving,omitempty"`
}

func readPresence(data []byte) (*presence, error) {
	p := new(presence)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("reading a presence: %w", err)
	}
	if p.Worker == "" {
		return nil, fmt.Errorf("reading a presence: no worker: %w", link.ErrTruncated)
	}
	return p, nil
}

// roster is which workers are alive, as one front end sees it.
type roster struct {
	mu      sync.Mutex
	workers map[string]*member
	slots   map[string]map[string]int // route -> worker -> slots
	arrived chan struct{}             // closed and replaced when a worker or a route appears
}

type member struct {
	seen   time.Time
	routes map[string]int
}

func newRoster() *roster {
	return &roster{
		workers: make(map[string]*member), slots: make(map[string]map[string]int), arrived: make(chan struct{}),
	}
}

// note takes an announcement in.
func (r *roster) note(p *presence, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Leaving {
		r.forget(p.Worker)
		return
	}
	old := r.workers[p.Worker]
	news := old == nil
	if old != nil {
		for route := range old.routes {
			if _, stays := p.Routes[route]; !stays {
				r.unlist(route, p.Worker)
			}
		}
	}
	for route, slots := range p.Routes {
		by := r.slots[route]
		if by == nil {
			by = make(map[string]int)
			r.slots[route] = by
			news = true
		}
		by[p.Worker] = slots
	}
	r.workers[p.Worker] = &member{seen: now, routes: p.Routes}
	if news {
		close(r.arrived)
		r.arrived = make(chan struct{})
	}
}

// forget must be called with mu held.
func (r *roster) forget(worker string) {
	if m := r.workers[worker]; m != nil {
		for route := range m.routes {
			r.unlist(route, worker)
		}
		delete(r.workers, worker)
	}
}

func (r *roster) unlist(route, worker string) {
	delete(r.slots[route], worker)
	if len(r.slots[route]) == 0 {
		delete(r.slots, route)
	}
}

// lose removes a worker that is known to be gone.
func (r *roster) lose(worker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(worker)
}

// clear removes all: the connection they were seen through is gone.
func (r *roster) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.workers)
	clear(r.slots)
}

// expire removes the silent, and names them.
func (r *roster) expire(now time.Time) (lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for worker, m := range r.workers {
		if now.Sub(m.seen) > presenceLost {
			lost = append(lost, worker)
		}
	}
	for _, worker := range lost {
		r.forget(worker)
	}
	return lost
}

// serves reports how many workers serve a route, and with how many slots in all. arrived is closed at the
// next arrival; it belongs to the same moment.
func (r *roster) serves(route string) (workers, slots int, arrived <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.slots[route] {
		workers++
		slots += n
	}
	return workers, slots, r.arrived
}
