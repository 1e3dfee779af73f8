package runner

import (
	"sync"
	"time"

	"headrace/broker/records"
)

// pauses is what a worker knows of paused queues. Before the sweeper's first word nothing is started, unless that
// word does not come.
type pauses struct {
	mu     sync.Mutex
	began  time.Time
	heard  bool
	paused map[string]bool
}

// begin starts the time in which the first word is waited for.
func (p *pauses) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = now
}

// note takes the sweeper's word and reports whether it is news.
func (p *pauses) note(paused []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := !p.heard || len(paused) != len(p.paused)
	now := make(map[string]bool, len(paused))
	for _, route := range paused {
		news = news || !p.paused[route]
		now[route] = true
	}
	p.heard, p.paused = true, now
	return news
}

// holds reports whether the jobs of a route must not be started.
func (p *pauses) holds(route string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused[route] || !p.heard && now.Sub(p.began) < records.QueuesStale
}
