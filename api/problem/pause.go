package problem

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
)

const (
	// leastPause is the first pause that Retry-After asks for where no other party says how long: as long as the first
	// pause of the most patient client libraries, so that the header never makes a client come sooner than by itself.
	leastPause = 4 * time.Second
	// LongestPause is the most that Headrace asks for by itself. OpenAI's SDKs give up above it.
	LongestPause = 120 * time.Second
	// sdkPause and sdkLongest are the pauses of OpenAI's SDKs: the first one, which doubles each time, and the longest.
	sdkPause   = 500 * time.Millisecond
	sdkLongest = 8 * time.Second
	// perCall is how long one waiting call is taken to need on a slot. It is a guess, and so only the pause's growth.
	perCall = 50 * time.Millisecond
)

// pause is what Retry-After says about an error; 0 leaves the header out, because repeating cannot help or because the
// status is not one that has it. A model server's own word and the end of a limit's window are passed on. What is
// Headrace's own guess lies between the pause and one and a half times it, by dice, so that callers who failed
// together do not come back together.
func pause(e *fault.Error, m Meaning, retries int, dice float64) time.Duration {
	if m.Vain || m.Status != http.StatusServiceUnavailable && m.Status != http.StatusTooManyRequests {
		return 0
	}
	if e.RetryAfter > 0 && (e.Code == fault.UpstreamError || e.Code == fault.RateLimited) {
		return e.RetryAfter
	}
	least := max(leastPause, e.RetryAfter, clientPause(retries))
	return min(time.Duration(float64(min(least, LongestPause*2/3))*(1+dice/2)), LongestPause)
}

// clientPause is how long OpenAI's SDKs would wait by themselves before they repeat a call once more.
func clientPause(retries int) time.Duration {
	return min(sdkPause<<min(max(retries, 0), 10), sdkLongest)
}

// Retries reads how often a caller says that it has repeated a call, as OpenAI's SDKs do; 0 for a text that is no number.
func Retries(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0
	}
	return n
}

// Backlog is about how long the calls need that already wait on a route.
func Backlog(state inference.RouteState) time.Duration {
	return min(time.Duration(state.Waiting)*perCall/time.Duration(max(state.Slots, 1)), LongestPause)
}

// Later makes the pause that an error asks for at least d, where the error is about waiting calls or missing workers.
// The error itself is left as it is.
func Later(err error, d time.Duration) error {
	switch e := fault.From(err); fault.CodeOf(err) {
	case fault.QueueFull, fault.NoWorkers, fault.UpstreamUnavailable:
		if d > e.RetryAfter {
			slower := *e
			slower.RetryAfter = d
			return &slower
		}
	case "", fault.Invalid, fault.NotFound, fault.MethodNotAllowed, fault.TooLarge, fault.RateLimited, fault.UpstreamTimeout,
		fault.UpstreamError, fault.UpstreamBadResponse, fault.Deadline, fault.NotImplemented, fault.Conflict, fault.KeyReused,
		fault.Gone, fault.JobFailed, fault.Unauthorized, fault.ShuttingDown, fault.Internal:
	}
	return err
}
