package runner

import (
	"context"
	"errors"
	"sync"
	"time"

	"headrace/broker/link"
)

// alonePatience is how long a job that runs alone waits until the others of its process have ended. Then it is
// given back: other workers may be idle.
const alonePatience = 2 * time.Minute

// errAlone says that a job may only start when no other one runs in this process.
var errAlone = errors.New("the job runs alone")

// solo keeps other jobs away from one that was interrupted too often: if it ends its worker again, it takes no other
// job with it, and it is known which one did. A process is the unit, because a process is what dies.
type solo struct {
	mu      sync.Mutex
	running int           // jobs of this process, and those that are about to be
	taken   bool          // one of them runs alone, or waits until the others have ended
	stop    bool          // a job that waits to be alone should give up
	news    chan struct{} // capacity 1: one of these has changed
}

// newSolo returns a solo that lets every job in.
func newSolo() *solo { return &solo{news: make(chan struct{}, 1)} }

// enter lets a job in, unless one runs alone or wants to.
func (s *solo) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return false
	}
	s.running++
	return true
}

// leave is called for each job that was let in.
func (s *solo) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	link.Ring(s.news)
}

// leaveAlone is leave for the job that had the process to itself.
func (s *solo) leaveAlone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.taken = false
}

// busy reports whether no job is to be let in.
func (s *solo) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// giveUp ends the wait of a job that waits to be alone.
func (s *solo) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = s.taken
	link.Ring(s.news)
}

// alone waits until the caller's job, which was let in, is the only one, and keeps others away from then on. beat is
// called now and then until it is. It reports whether the job is alone.
func (s *solo) alone(ctx context.Context, every time.Duration, beat func()) bool {
	s.mu.Lock()
	if s.taken {
		s.mu.Unlock()
		return false
	}
	s.taken, s.stop = true, false
	s.mu.Unlock()
	tick, over := time.NewTicker(every), time.NewTimer(alonePatience)
	defer tick.Stop()
	defer over.Stop()
	stop := false
	for {
		s.mu.Lock()
		only := s.running == 1
		stop = stop || s.stop
		if stop && !only {
			s.taken = false
		}
		s.mu.Unlock()
		if only || stop {
			return only
		}
		select {
		case <-s.news:
		case <-tick.C:
			beat()
		case <-over.C:
			stop = true
		case <-ctx.Done():
			stop = true
		}
	}
}
