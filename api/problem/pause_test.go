package problem_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

func after(code fault.Code, status int, d time.Duration) *fault.Error {
	e := fault.New(code, "text")
	e.Status, e.RetryAfter = status, d
	return e
}

// pause is the Retry-After of an error for a caller that has already repeated the call that many times.
func pause(e *fault.Error, retries int, dice float64) time.Duration {
	return problem.Of(problem.Headrace, e, problem.Caller{Retries: retries, Dice: dice}).RetryAfter
}

func TestPauseIsNeverShorterThanTheClientsOwn(t *testing.T) {
	t.Parallel()
	const low, high = 0, 0.999
	for _, c := range []struct {
		name        string
		e           *fault.Error
		retries     int
		least, most time.Duration
	}{
		{"a first try", after(fault.QueueFull, 0, time.Second), 0, 4 * time.Second, 6 * time.Second},
		{"a model server that says nothing", after(fault.UpstreamError, 503, 0), 0, 4 * time.Second, 6 * time.Second},
		{"a model server that is gone", after(fault.UpstreamUnavailable, 0, 0), 2, 4 * time.Second, 6 * time.Second},
		{"many tries", after(fault.NoWorkers, 0, 2*time.Second), 9, 8 * time.Second, 12 * time.Second},
		{"a header that is made up", after(fault.NoWorkers, 0, 0), 1 << 40, 8 * time.Second, 12 * time.Second},
		{"another one", after(fault.NoWorkers, 0, 0), -5, 4 * time.Second, 6 * time.Second},
		{"a backlog", after(fault.QueueFull, 0, 40*time.Second), 0, 40 * time.Second, 60 * time.Second},
		{"a large backlog", after(fault.QueueFull, 0, time.Hour), 0, 80 * time.Second, 120 * time.Second},
		{"a model server's own word", after(fault.UpstreamError, 429, 300*time.Second), 0, 300 * time.Second, 300 * time.Second},
		{"a short word of its own", after(fault.UpstreamError, 503, time.Second), 5, time.Second, time.Second},
		{"the end of a limit's window", after(fault.RateLimited, 0, 30*time.Second), 0, 30 * time.Second, 30 * time.Second},
		{"an answer of the wrong shape", after(fault.UpstreamBadResponse, 0, 0), 0, 0, 0},
		{"streaming", after(fault.NotImplemented, 0, 0), 0, 0, 0},
		{"a full disk of a model server", after(fault.UpstreamError, 507, 0), 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()

			if got := pause(c.e, c.retries, low); got != c.least {
				t.Errorf("at least %v, want %v", got, c.least)
			}
			if got := pause(c.e, c.retries, high); got > c.most || got < c.least || c.most > c.least && got < c.most-time.Second {
				t.Errorf("at most %v, want %v", got, c.most)
			}
		})
	}
}

func TestPauseGrowsWithTheBacklog(t *testing.T) {
	t.Parallel()
	before := time.Duration(-1)
	for _, waiting := range []int{0, 100, 1000, 10_000} {
		now := problem.Backlog(inference.RouteState{Waiting: waiting, Slots: 5})
		if now <= before || now > problem.LongestPause {
			t.Errorf("%d waiting calls: %v after %v", waiting, now, before)
		}
		before = now
	}
	if slow, quick := problem.Backlog(inference.RouteState{Waiting: 100, Slots: 1}), problem.Backlog(inference.RouteState{Waiting: 100, Slots: 4}); slow <= quick {
		t.Errorf("%v with one slot, %v with four", slow, quick)
	}
	shared := after(fault.QueueFull, 0, time.Second)
	if got := fault.From(problem.Later(shared, time.Minute)).RetryAfter; got != time.Minute || shared.RetryAfter != time.Second {
		t.Errorf("%v, and the error itself %v", got, shared.RetryAfter)
	}
	if own := after(fault.UpstreamError, 429, 0); !errors.Is(problem.Later(own, time.Minute), own) {
		t.Error("a backlog of ours was told as a model server's word")
	}
}

func TestRetriesThatAreNoNumberCountAsNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "2": 2, "x": 0, strconv.FormatUint(1<<63, 10): 0} {
		if got := problem.Retries(text); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}
