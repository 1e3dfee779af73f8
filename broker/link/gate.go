package link

import (
	"sync"
)

// Gate holds the reason why a front end cannot accept jobs. It is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex
	open   bool
	reason error
	said   Said
}

// Set stores the reason, nil when jobs can be accepted, and reports whether the change is worth a log line.
func (g *Gate) Set(reason error) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reason, g.open = reason, reason == nil
	return g.said.News(reason)
}

// Shut returns the reason; nil when jobs are accepted, or when nothing is known yet.
func (g *Gate) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// Opened reports whether jobs could be accepted at some time, and the present reason why not.
func (g *Gate) Opened() (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.reason
}
