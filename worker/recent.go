package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"headrace/internal/fault"
)

// maxHold bounds how long a slot stays taken after a call was abandoned.
const maxHold = 10 * time.Second

// recent remembers how long a model server took for its last good answers.
type recent struct {
	mu   sync.Mutex
	took [32]time.Duration
	n    int // added so far
}

func (r *recent) add(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[r.n%len(r.took)] = d
	r.n++
}

// median is 0 before the first answer.
func (r *recent) median() time.Duration {
	r.mu.Lock()
	n := min(r.n, len(r.took))
	sorted := slices.Clone(r.took[:n])
	r.mu.Unlock()
	if n == 0 {
		return 0
	}
	slices.Sort(sorted)
	return sorted[n/2]
}

// stillComputing is how long the model server probably goes on with a call that failed with err after took:
// MLflow's cannot be told to stop, and a new call would only compete with the old one.
func (r *recent) stillComputing(ctx context.Context, err error, took time.Duration) time.Duration {
	switch {
	case fault.CodeOf(err) == fault.UpstreamTimeout || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return holdAfterTimeout(r.median())
	case ctx.Err() != nil:
		return holdAfterAbort(r.median(), took)
	default: // the server answered, or the connection broke
		return 0
	}
}

// holdAfterTimeout: the server is slower than it used to be, so it gets its usual time once more.
func holdAfterTimeout(median time.Duration) time.Duration { return min(median, maxHold) }

// holdAfterAbort: the server gets what is left of its usual time.
func holdAfterAbort(median, took time.Duration) time.Duration {
	return min(max(median-took, 0), maxHold)
}
