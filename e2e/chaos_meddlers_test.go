package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"headrace/internal/job"
)

// meddler does everything that a client may do to jobs that are there, whether they have ended or not.
func (c *chaos) meddler(random *rand.Rand) {
	deeds := []func(*rand.Rand, int){
		c.cancel, c.cancel, c.retry, c.retry, c.redrive, c.redriveMany, c.repeat, c.repeat, c.repeatOtherwise, c.poll, c.poll, c.erase,
	}
	for c.going() && !c.over.Load() {
		n, ok := c.some(random)
		if !ok {
			breathe(c.t.Context(), 10*time.Millisecond)
			continue
		}
		if random.IntN(2) == 0 { // it knows what it does it to
			c.look(random, n, 0)
		}
		deed := deeds[random.IntN(len(deeds))]
		deed(random, n)
		if random.IntN(2) == 0 { // and what came of it
			c.look(random, n, 0)
		}
		breathe(c.t.Context(), time.Duration(random.IntN(20))*time.Millisecond)
	}
}

// cancel asks for the end of a job, which does nothing to one that has ended.
func (c *chaos) cancel(random *rand.Rand, n int) {
	c.h.AskCancel(n)
	c.noted(n, c.ask(random, http.MethodPost, fmt.Sprintf("/v1/jobs/%s/cancel", c.h.ID(n)), ""))
}

// retry asks for another run, which is granted to a job that has failed, was cancelled or has expired.
func (c *chaos) retry(random *rand.Rand, n int) {
	c.again(random, n, fmt.Sprintf("/v1/jobs/%s/retry", c.h.ID(n)))
}

// redrive asks for another run of a job that has failed.
func (c *chaos) redrive(random *rand.Rand, n int) {
	c.again(random, n, fmt.Sprintf("/v1/dead/%s/redrive", c.h.ID(n)))
}

func (c *chaos) again(random *rand.Rand, n int, path string) {
	c.h.AskRun(n)
	r := c.ask(random, http.MethodPost, path, "")
	if r.status == http.StatusGone { // the job, or only its input
		c.view(random, n, 0)
		return
	}
	c.noted(n, r)
}

// redriveMany asks for another run of some jobs that have failed.
func (c *chaos) redriveMany(random *rand.Rand, _ int) {
	c.h.AskRuns()
	if r := c.ask(random, http.MethodPost, "/v1/dead/redrive?limit=3", ""); r.status != http.StatusAccepted && !r.unsure() {
		c.t.Errorf("redriving jobs: %s", r)
	}
}

// repeat asks for a job once more, in the same words.
func (c *chaos) repeat(random *rand.Rand, n int) {
	if how, ok := c.asked.Load(n); ok {
		a := how.(asking)
		c.placed(random, n, c.ordered(n, a.way, a.more))
	}
}

// repeatOtherwise asks for another job under the id or key of one that is there.
func (c *chaos) repeatOtherwise(random *rand.Rand, n int) {
	how, ok := c.asked.Load(n)
	if !ok || how.(asking).way == byEmbedding {
		return
	}
	a := how.(asking)
	o := c.ordered(n, a.way, a.more+`,"metadata":{"another":"job"}`)
	if r := c.ask(random, o.method, o.path, o.body, o.headers...); r.status == http.StatusOK || r.status == http.StatusAccepted {
		c.h.Twice(n, r.String())
	}
}

// poll waits for news of a job.
func (c *chaos) poll(random *rand.Rand, n int) {
	v, ok := c.view(random, n, 0)
	if !ok || v.ID == "" {
		return
	}
	path := fmt.Sprintf("/v1/jobs/%s?wait=%d", v.ID, random.IntN(2))
	switch r := c.ask(random, http.MethodGet, path, "", "If-None-Match", fmt.Sprintf(`"%d"`, v.Revision)); r.status {
	case http.StatusNotModified:
	default:
		if news, ok := c.noted(n, r); ok && news.Revision == v.Revision {
			c.t.Errorf("job %d is news to one who knows it: %s", n, r)
		}
	}
}

// erase drops a job, which is cancelled first, and asks for it once more in the same words.
func (c *chaos) erase(random *rand.Rand, n int) {
	defer c.repeat(random, n)
	c.h.AskErase(n)
	r := c.ask(random, http.MethodDelete, fmt.Sprintf("/v1/jobs/%s", c.h.ID(n)), "")
	if r.err == nil && r.status == http.StatusNoContent {
		c.h.Gone(n, r.asked)
		return
	}
	c.noted(n, r)
}

// holds proves, once everything is quiet, that a paused queue starts nothing and that one that is resumed goes on.
func (c *chaos) holds(random *rand.Rand) {
	c.pauseQueue(random, true)
	numbers := make([]int, 5)
	for i := range numbers {
		numbers[i] = c.h.Ask()
		c.place(random, numbers[i], bySide, "")
	}
	breathe(c.t.Context(), 500*time.Millisecond)
	for _, n := range numbers {
		c.h.Held(n)
	}
	c.pauseQueue(random, false)
	began, within := time.Now(), 20*time.Second
	for _, n := range numbers {
		for time.Since(began) < within && c.going() {
			if v, ok := c.view(random, n, 1); ok && v.Status.Terminal() {
				break
			}
		}
	}
	c.h.Recovered("a queue that was resumed", time.Since(began), within)
}

// tellsEnds proves, once everything is quiet, that those who follow a job are told how it has ended.
func (c *chaos) tellsEnds(random *rand.Rand) {
	all := c.h.All()
	for range min(len(all), 50) {
		n, told := all[random.IntN(len(all))], false
		if s, _ := c.h.State(n); s == job.Erased || !s.Terminal() {
			continue
		}
		for range 3 {
			had, done := c.follow(random, n, 0, 5*time.Second)
			if told = done; told && len(had) > 0 {
				_, told = c.follow(random, n, had[len(had)-1], 5*time.Second)
			}
			if told || !c.going() {
				break
			}
		}
		if !told {
			c.h.Endless(n)
			return // one is enough, and each takes its time
		}
	}
}
