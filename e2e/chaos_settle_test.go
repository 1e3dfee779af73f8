package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"headrace/internal/job"
)

// settle waits until every job has ended, for a bounded time, and looks at each of them for the last time.
func (c *chaos) settle(random *rand.Rand, up time.Time) {
	c.pauseQueue(random, false) // the client that paused it last may not have got an answer
	waiting := 0
	for range 25 { // the broker counts while it starts
		waiting = max(waiting, c.fleet.waiting())
		breathe(c.t.Context(), 200*time.Millisecond)
	}
	// The lease, the pauses before other attempts, and what waits at a moderate pace.
	within := c.set.lease + 25*time.Second + time.Duration(waiting)*time.Second/200
	first := func(wait int) func(*rand.Rand, int) bool {
		return func(random *rand.Rand, n int) bool {
			_, ok := c.view(random, n, wait)
			return ok
		}
	}
	for left := c.fleet.waiting(); left > 0 && time.Since(up) < within && c.going(); left = c.fleet.waiting() {
		breathe(c.t.Context(), 200*time.Millisecond)
		if left > 500 { // looking at them takes time from those who run them
			continue
		}
		if c.lookAt(random, c.h.Open(), first(0)); len(c.h.Open()) == 0 {
			break // what waits still, waits for nothing
		}
	}
	c.lookAt(random, c.h.Open(), first(0))
	for len(c.h.Open()) > 0 && time.Since(up) < within && c.going() {
		c.lookAt(random, c.h.Open(), first(1))
	}
	allowed := within + 5*time.Second // the last look takes a moment
	if open := c.h.Open(); len(open) > 0 {
		c.t.Logf("%d jobs have not ended %s after the last fault", len(open), time.Since(up).Round(time.Second))
		allowed = within
	}
	c.h.Recovered(fmt.Sprintf("the last job, behind %d that waited,", waiting), time.Since(up), allowed)
	c.looked.Store(0)
	c.lookAt(random, c.h.All(), c.lookAgain)
	numbers := c.h.Unexplained()
	for i, n := range append(numbers, c.h.Repeated()...) {
		if i >= len(numbers)+200 || !c.going() { // of those that the latest view explains, some will do
			break
		}
		if attempts, ok := c.attempts(random, n); ok {
			c.h.Attempted(n, len(attempts))
			c.h.Called(n, answers(attempts))
		}
	}
	c.interrupted(random)
}

// lookAt looks at jobs, many at a time.
func (c *chaos) lookAt(random *rand.Rand, numbers []int, look func(*rand.Rand, int) bool) {
	var hands sync.WaitGroup
	next := make(chan int)
	for range 64 {
		random := rand.New(rand.NewPCG(random.Uint64(), 0))
		hands.Go(func() {
			for n := range next {
				c.looked.Add(1)
				for range 10 {
					if !c.going() {
						break
					}
					if look(random, n) {
						break
					}
					breathe(c.t.Context(), 200*time.Millisecond)
				}
			}
		})
	}
	for _, n := range numbers {
		next <- n
	}
	close(next)
	hands.Wait()
}

// chaosAttempt is a call of a model server by a job's own account.
type chaosAttempt struct {
	job.Attempt

	Error *struct {
		Upstream *struct {
			Status int `json:"status"`
		} `json:"upstream"`
	} `json:"error"`
}

// answers is how many of them have an answer of the model server, which it must have been asked for.
func answers(attempts []chaosAttempt) (n int) {
	for _, a := range attempts {
		if a.Outcome == "succeeded" || a.Outcome == "failed" && a.Error != nil && a.Error.Upstream != nil && a.Error.Upstream.Status > 0 {
			n++
		}
	}
	return n
}

// attempts reads the attempts at a job by its own account; false when nothing is left of it.
func (c *chaos) attempts(random *rand.Rand, n int) ([]chaosAttempt, bool) {
	r := c.ask(random, http.MethodGet, "/v1/jobs/"+string(c.h.ID(n))+"/attempts", "")
	var reply struct {
		Data []chaosAttempt `json:"data"`
	}
	if r.status == http.StatusNotFound || r.status == http.StatusGone {
		c.noted(n, r)
		return nil, false
	}
	if r.err != nil || r.status != http.StatusOK || json.Unmarshal(r.body, &reply) != nil {
		c.t.Errorf("the attempts of job %d: %s", n, r)
		return nil, false
	}
	return reply.Data, true
}

// interrupted tells how long interrupted jobs were without a worker, as far as they say: a model server that answers at
// once has them for a moment only. Some of it is time for which no worker ran.
func (c *chaos) interrupted(random *rand.Rand) {
	var gaps []time.Duration
	for _, n := range c.h.Interrupted() {
		attempts, _ := c.attempts(random, n)
		for _, a := range attempts {
			if a.Outcome == "interrupted" && a.EndedAt != nil {
				gaps = append(gaps, a.EndedAt.Sub(a.StartedAt))
			}
		}
		if len(gaps) > 2000 || !c.going() {
			break
		}
	}
	if len(gaps) > 0 {
		slices.Sort(gaps)
		c.t.Logf("%d interruptions: from an interrupted start to the next one %s in the middle, %s at most", len(gaps),
			gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
	}
}

// rest waits until nothing is held any more. A lease whose end was lost is there until it has run out.
func (c *chaos) rest() {
	end := time.Now().Add(c.set.lease + 15*time.Second)
	values := c.fleet.gauges()
	for held(values) != "" && time.Now().Before(end) && c.going() {
		breathe(c.t.Context(), 500*time.Millisecond)
		values = c.fleet.gauges()
	}
	for name, value := range values {
		c.h.AtRest(name, value)
	}
}
