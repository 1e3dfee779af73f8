package intake

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
	// PresenceLost is the silence after which a worker counts as gone.
	PresenceLost = 3500 * time.Millisecond
)

// Presence is what a worker announces.
type Presence struct {
	Worker string         `json:"worker"`
	Routes map[string]int `json:"routes"` // route to slots
	// Leaving says that the worker takes nothing new.
	Leaving bool `json:"leaving,omitempty"`
}

// ReadPresence reads an announcement. It returns an error when it names no worker.
func ReadPresence(data []byte) (*Presence, error) {
	p := new(Presence)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("reading a presence: %w", err)
	}
	if p.Worker == "" {
		return nil, fmt.Errorf("reading a presence: no worker: %w", link.ErrTruncated)
	}
	return p, nil
}

// Roster is which workers are alive, as one process sees it.
type Roster struct {
	mu      sync.Mutex
	workers map[string]*member
	slots   map[string]map[string]int // route -> worker -> slots
	arrived chan struct{}             // closed and replaced when a worker or a route appears
}

// member is one live worker.
type member struct {
	seen   time.Time
	routes map[string]int
}

// NewRoster returns an empty one.
func NewRoster() *Roster {
	return &Roster{
		workers: make(map[string]*member), slots: make(map[string]map[string]int), arrived: make(chan struct{}),
	}
}

// Note takes an announcement in.
func (r *Roster) Note(p *Presence, now time.Time) {
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
func (r *Roster) forget(worker string) {
	if m := r.workers[worker]; m != nil {
		for route := range m.routes {
			r.unlist(route, worker)
		}
		delete(r.workers, worker)
	}
}

// unlist takes a worker off the list of a route. It must be called with mu held.
func (r *Roster) unlist(route, worker string) {
	delete(r.slots[route], worker)
	if len(r.slots[route]) == 0 {
		delete(r.slots, route)
	}
}

// Lose removes a worker that is known to be gone.
func (r *Roster) Lose(worker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(worker)
}

// Clear removes all: the connection they were seen through is gone.
func (r *Roster) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.workers)
	clear(r.slots)
}

// Expire removes the silent, and names them.
func (r *Roster) Expire(now time.Time) (lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for worker, m := range r.workers {
		if now.Sub(m.seen) > PresenceLost {
			lost = append(lost, worker)
		}
	}
	for _, worker := range lost {
		r.forget(worker)
	}
	return lost
}

// Serves reports how many workers serve a route, and with how many slots in all. arrived is closed at the
// next arrival; it belongs to the same moment.
func (r *Roster) Serves(route string) (workers, slots int, arrived <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.slots[route] {
		workers++
		slots += n
	}
	return workers, slots, r.arrived
}
