package link

import (
	"sync"
)

// Gate is why a front end cannot accept jobs yet.
type Gate struct {
	mu     sync.Mutex
	open   bool
	reason error
	said   Said
}

// Set notes why jobs cannot be accepted, nil that they can, and reports whether that is worth a line.
func (g *Gate) Set(reason error) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reason, g.open = reason, reason == nil
	return g.said.News(reason)
}

// Shut gives the reason; nil: jobs are accepted, or nothing is known yet.
func (g *Gate) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// Opened reports whether jobs could be accepted, and why not.
func (g *Gate) Opened() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.reason
}
