package job

import (
	"math/rand/v2"
	"time"

	"headrace/internal/fault"
)

const (
	firstPause = time.Second
	// leastPause is enough for a worker to have returned its lease, so that the next lease is a new one.
	leastPause = 50 * time.Millisecond
	// MaxPause is the longest pause before another attempt, unless the model server asks for more.
	MaxPause = 10 * time.Minute
)

// Retryable reports whether another attempt can help: the model server was away, overloaded or too slow, or the broker could
// not carry the call. A request that the model server refused, or answered in a wrong shape, is not retried.
func Retryable(f *fault.Error) bool {
	switch f.Code {
	case fault.UpstreamUnavailable, fault.UpstreamTimeout, fault.QueueFull, fault.NoWorkers, fault.ShuttingDown, fault.RateLimited:
		return true
	case fault.UpstreamError:
		if f.Repeat != fault.RepeatByStatus {
			return f.Repeat == fault.RepeatHelps
		}
		return f.Status == 429 || f.Status == 502 || f.Status == 503 || f.Status == 504
	case fault.Invalid, fault.NotFound, fault.MethodNotAllowed, fault.TooLarge, fault.UpstreamBadResponse,
		fault.Deadline, fault.NotImplemented, fault.Conflict, fault.KeyReused, fault.Gone, fault.JobFailed, fault.Unauthorized, fault.Internal:
		return false
	}
	return false
}

// Pause returns the time to wait before the next attempt, with full jitter: a random time up to a bound that doubles with each
// attempt, so that jobs that failed together do not return together.
func Pause(attempt int) time.Duration {
	bound := MaxPause
	if attempt < 10 {
		bound = min(firstPause<<max(attempt, 0), MaxPause)
	}
	return max(rand.N(bound), leastPause)
}
