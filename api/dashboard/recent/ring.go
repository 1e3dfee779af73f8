package recent

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Ring is the memory of one front end. Its methods are used concurrently.
type Ring struct {
	calls   calls
	now     counters
	figures figures
	gauges  func() Gauges
}

// New makes a ring for so many calls; 0 remembers figures only. gauges is asked once a second.
func New(size int, gauges func() Gauges) (*Ring, error) {
	if size < 0 || size > MaxCalls {
		return nil, fmt.Errorf("recent: %d calls cannot be remembered; at most %d can", size, MaxCalls)
	}
	return &Ring{calls: calls{slots: make([]slot, size)}, gauges: gauges}, nil
}

// Add notes a call that was answered. It waits for nothing. The texts of c are kept; a path, which is part of a longer
// text, is copied.
func (r *Ring) Add(c Call) {
	r.now.add(&c)
	if len(r.calls.slots) == 0 {
		return
	}
	c.Message, c.Path = short(c.Message, maxMessage), strings.Clone(short(c.Path, maxPath))
	r.calls.add(&c)
}

// Run closes each second's figures until ctx ends.
func (r *Ring) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.close(now)
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Ring) close(now time.Time) {
	p := r.now.take()
	p.Gauges = r.gauges()
	r.figures.put(&p, now)
}

// Newest yields the calls that are remembered, the latest first. What is overwritten while it is read is left out.
func (r *Ring) Newest() iter.Seq[Call] { return r.calls.newest() }

// Count is how many calls were added since the start, those that are forgotten among them.
func (r *Ring) Count() uint64 { return r.calls.next.Load() }

// LastSeconds gives Seconds points, the oldest first, up to the second before now.
func (r *Ring) LastSeconds(now time.Time) []Point {
	return r.figures.last(r.figures.seconds[:], time.Second, now)
}

// LastMinutes gives Minutes points, the oldest first; the last is the minute that runs.
func (r *Ring) LastMinutes(now time.Time) []Point {
	return r.figures.last(r.figures.minutes[:], time.Minute, now)
}
