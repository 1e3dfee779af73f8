package worker

import (
	"slices"
	"strings"
	"time"

	"headrace/internal/inference"
)

// PoolState is how the pool of one model server fares.
type PoolState struct {
	Server   string   // its addresses, without what may be secret in them
	Routes   []string // in the order of the table
	Slots    int
	Busy     int // slots that run a call, or are held because a server probably still computes
	Replicas []inference.Replica
	Batching []inference.Batching // of each of Routes
}

// State lists the pools, by address.
func (w *Worker) State() []PoolState {
	w.mu.Lock()
	pools := make([]*pool, 0, len(w.pools))
	for _, p := range w.pools {
		pools = append(pools, p)
	}
	w.mu.Unlock()
	states := make([]PoolState, 0, len(pools))
	for _, p := range pools {
		states = append(states, p.state())
	}
	slices.SortFunc(states, func(a, b PoolState) int { return strings.Compare(a.Server, b.Server) })
	return states
}

func (p *pool) state() PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.desk.state(p.spec.routes)
	if len(p.spec.routes) > 0 { // all clients of a pool have the same replicas
		s.Replicas = p.targets[p.spec.routes[0].Name].Replicas()
	}
	var urls []string
	for _, replica := range s.Replicas {
		urls = append(urls, replica.URL)
	}
	s.Server = strings.Join(urls, " ")
	return s
}

// state is what the desk knows.
func (d *desk) state(routes []*inference.Route) PoolState {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, now := PoolState{Slots: d.known.Width(), Busy: d.busy}, time.Now()
	for _, r := range routes {
		s.Routes = append(s.Routes, r.Name)
		s.Batching = append(s.Batching, d.known.Route(r.Name).State(r.Name, now))
	}
	return s
}
