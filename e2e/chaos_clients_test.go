package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/internal/history"
	"headrace/internal/job"
)

// chaosView is a job as the server shows it.
type chaosView struct {
	ID            job.ID    `json:"id"`
	Status        job.State `json:"status"`
	Run           int       `json:"run"`
	Attempt       int       `json:"attempt"`
	Interruptions int       `json:"interruptions"`
	Revision      uint64    `json:"revision"`
	Error         struct {
		Code string `json:"code"`
	} `json:"error"`
}

func (v chaosView) view() history.View {
	return history.View{ID: v.ID, State: v.Status, Run: v.Run, Attempt: v.Attempt, Interruptions: v.Interruptions, Revision: v.Revision}
}

// chaosReply is an answer, or why there is none.
type chaosReply struct {
	status int
	header http.Header
	body   []byte
	err    error
	asked  history.Moment
	addr   string
}

func (r chaosReply) String() string {
	return fmt.Sprintf("%s answers %d %.300s (%v)", r.addr, r.status, r.body, r.err)
}

// unsure reports whether the caller does not know what came of it, or was told to come again.
func (r chaosReply) unsure() bool {
	return r.err != nil || r.status == http.StatusServiceUnavailable || r.status == http.StatusGatewayTimeout
}

// ask asks one of the front ends.
func (c *chaos) ask(random *rand.Rand, method, path, body string, headers ...string) chaosReply {
	addr := c.fleet.apis[random.IntN(len(c.fleet.apis))]
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	r := chaosReply{asked: c.h.Now(), addr: addr}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		r.err = err
		return r
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.client.Do(req)
	if err != nil {
		r.err = err
		return r
	}
	defer func() { _ = resp.Body.Close() }()
	r.status, r.header = resp.StatusCode, resp.Header
	r.body, r.err = io.ReadAll(resp.Body)
	return r
}

// more reports whether another n jobs are wanted, and waits until not too many are waiting.
func (c *chaos) more(n int) bool {
	for !c.over.Load() && c.t.Context().Err() == nil {
		accepted := c.accepted.Load()
		if accepted+int64(n) > int64(c.set.jobs) {
			return false
		}
		if accepted-c.model.runs.Load() < int64(c.set.backlog) {
			return true
		}
		breathe(c.t.Context(), 50*time.Millisecond)
	}
	return false
}

// breathe waits, at most for d.
func breathe(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// took notes an acceptance.
func (c *chaos) took(n int, v history.View, asked history.Moment) {
	if c.h.ID(n) == "" {
		c.accepted.Add(1)
	}
	c.h.Accepted(n, v, asked)
}

// insist asks for one job until its outcome is known.
func (c *chaos) insist(random *rand.Rand, n int, method, path, body string, headers ...string) {
	end := time.Now().Add(c.set.length + 3*time.Minute)
	for time.Now().Before(end) && c.t.Context().Err() == nil {
		r := c.ask(random, method, path, body, headers...)
		var v chaosView
		switch {
		case r.status == http.StatusAccepted || r.status == http.StatusOK && path != "/v1/embeddings":
			if r.err == nil && json.Unmarshal(r.body, &v) == nil {
				c.took(n, v.view(), r.asked)
				return
			}
		case r.header.Get("Job-Id") != "": // the result, or what the job failed of
			c.took(n, history.View{ID: job.ID(r.header.Get("Job-Id"))}, r.asked)
			if r.status == http.StatusOK && r.err == nil && c.look(random, n, 0) {
				c.judge(n, 1, r.body)
			}
			return
		case !r.unsure():
			c.t.Errorf("job %d: %s", n, r)
			return
		}
		breathe(c.t.Context(), time.Duration(50+random.IntN(400))*time.Millisecond)
	}
	if c.t.Context().Err() == nil {
		c.t.Errorf("job %d could not be placed", n)
	}
}

// largeEvery is how many jobs there are for one whose input and result do not fit into its record.
const largeEvery = 500

// inputOf is a job's input: its number, and more behind it.
func inputOf(n int) string {
	if n%largeEvery == 0 {
		return strconv.Itoa(n) + strings.Repeat(" ", 100_000)
	}
	return strconv.Itoa(n)
}

func envelopeOf(n int, more string) string {
	return fmt.Sprintf(`{"route":"emb","input":{"input":%q}%s}`, inputOf(n), more)
}

func embeddingsOf(n int) string { return fmt.Sprintf(`{"model":"emb","input":%q}`, inputOf(n)) }

// putter chooses ids of its own, asks for some jobs again, and for some to be run later.
func (c *chaos) putter(random *rand.Rand) {
	for c.more(1) {
		n, more := c.h.Ask(), ""
		if random.IntN(4) == 0 {
			more = fmt.Sprintf(`,"run_at":%q`, time.Now().Add(time.Duration(random.IntN(5000))*time.Millisecond).Format(time.RFC3339Nano))
		}
		for range 1 + random.IntN(2) {
			c.insist(random, n, http.MethodPut, fmt.Sprint("/v1/jobs/own-", n), envelopeOf(n, more))
		}
	}
}

// keyed repeats itself under the same key.
func (c *chaos) keyed(random *rand.Rand) {
	for c.more(1) {
		n := c.h.Ask()
		for range 1 + random.IntN(3) {
			c.insist(random, n, http.MethodPost, "/v1/jobs", envelopeOf(n, `,"priority":"batch"`), "Idempotency-Key", fmt.Sprint("key-", n))
		}
	}
}

// async uses the path of OpenAI's clients, and waits for some of its results.
func (c *chaos) async(random *rand.Rand) {
	for c.more(1) {
		n := c.h.Ask()
		prefer := "respond-async"
		if random.IntN(2) == 0 {
			prefer = "wait=2"
		}
		c.insist(random, n, http.MethodPost, "/v1/embeddings", embeddingsOf(n), "Idempotency-Key", fmt.Sprint("key-", n), "Prefer", prefer)
	}
}

// canceller cancels what it has asked for.
func (c *chaos) canceller(random *rand.Rand) {
	for c.more(1) {
		n := c.h.Ask()
		c.insist(random, n, http.MethodPut, fmt.Sprint("/v1/jobs/own-", n), envelopeOf(n, ""))
		breathe(c.t.Context(), time.Duration(random.IntN(50))*time.Millisecond)
		c.h.AskCancel(n)
		for range 1 + random.IntN(2) {
			c.noted(n, c.ask(random, http.MethodPost, fmt.Sprintf("/v1/jobs/own-%d/cancel", n), ""))
		}
	}
}

// noted takes an answer that shows a job, and reports whether it does.
func (c *chaos) noted(n int, r chaosReply) (v chaosView, ok bool) {
	switch {
	case r.err != nil || r.unsure() || r.status == http.StatusConflict:
	case r.status == http.StatusNotFound || r.status == http.StatusGone:
		c.h.Missing(n, r.asked)
	case r.status == http.StatusOK || r.status == http.StatusAccepted:
		if err := json.Unmarshal(r.body, &v); err != nil {
			c.t.Errorf("job %d: %v in %s", n, err, r)
			return v, false
		}
		c.h.Saw(n, v.view(), r.asked)
		if v.Status == job.Failed {
			c.failed.Store(n, v.Error.Code)
		}
		return v, true
	default:
		c.t.Errorf("job %d: %s", n, r)
	}
	return v, false
}

// look reads a job, and its result when it has one; false when it could not be read.
func (c *chaos) look(random *rand.Rand, n, wait int) bool {
	v, ok := c.view(random, n, wait)
	if !ok || v.Status != job.Succeeded {
		return ok
	}
	return c.result(random, n, v.Run)
}

// view reads a job.
func (c *chaos) view(random *rand.Rand, n, wait int) (chaosView, bool) {
	return c.noted(n, c.ask(random, http.MethodGet, fmt.Sprintf("/v1/jobs/%s?wait=%d", c.h.ID(n), wait), ""))
}

// result reads the result of a job that has succeeded in a run.
func (c *chaos) result(random *rand.Rand, n, run int) bool {
	switch r := c.ask(random, http.MethodGet, fmt.Sprintf("/v1/jobs/%s/result", c.h.ID(n)), ""); {
	case r.err == nil && r.status == http.StatusOK:
		c.judge(n, run, r.body)
	case r.unsure():
		return false
	case r.status == http.StatusNotFound || r.status == http.StatusGone:
		c.h.Missing(n, r.asked)
	default: // it must have ended otherwise, and may not have
		c.t.Errorf("the result of job %d: %s", n, r)
		c.view(random, n, 0)
	}
	return true
}

// lookAgain looks at a job that was seen to end: at its result, which nobody can have but one that has succeeded.
func (c *chaos) lookAgain(random *rand.Rand, n int) bool {
	if s, run := c.h.State(n); s == job.Succeeded {
		return c.result(random, n, run)
	}
	_, ok := c.view(random, n, 0)
	return ok
}

// judge notes a result, which must be the job's own.
func (c *chaos) judge(n, run int, body []byte) {
	var reply struct {
		Data []struct {
			Embedding []float64 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &reply); err != nil || len(reply.Data) != 1 || len(reply.Data[0].Embedding) != 2+paddingOf(n) || int(reply.Data[0].Embedding[0]) != n {
		c.h.Wrong(n, fmt.Sprintf("%.200s", body))
		return
	}
	sum := fnv.New64a()
	_, _ = sum.Write(body)
	c.h.Read(n, run, sum.Sum64())
}

// batcher asks for many at once, with ids, keys or, once, without either.
func (c *chaos) batcher(random *rand.Rand) {
	for {
		size := min(1+random.IntN(2*c.set.batch), 1000)
		if !c.more(size) {
			return
		}
		named := random.IntN(10) > 0
		left := make([]int, 0, size)
		for range size {
			left = append(left, c.h.Ask())
		}
		for len(left) > 0 && c.t.Context().Err() == nil {
			left = c.batch(random, left, named)
			if !named {
				break // asking again could make them twice
			}
			if len(left) > 0 {
				breathe(c.t.Context(), time.Duration(50+random.IntN(400))*time.Millisecond)
			}
		}
	}
}

// batch asks for jobs and gives those of which it knows no outcome.
func (c *chaos) batch(random *rand.Rand, numbers []int, named bool) (left []int) {
	var body bytes.Buffer
	body.WriteString(`{"jobs":[`)
	for i, n := range numbers {
		if i > 0 {
			body.WriteByte(',')
		}
		more := ""
		switch {
		case named && n%2 == 0:
			more = fmt.Sprintf(`,"id":"own-%d"`, n)
		case named:
			more = fmt.Sprintf(`,"idempotency_key":"key-%d"`, n)
		}
		body.WriteString(envelopeOf(n, more))
	}
	body.WriteString(`]}`)
	r := c.ask(random, http.MethodPost, "/v1/jobs/batch", body.String())
	var reply struct {
		Data []struct {
			Status int             `json:"status"`
			Job    chaosView       `json:"job"`
			Error  json.RawMessage `json:"error"`
		} `json:"data"`
	}
	switch {
	case r.unsure():
		return numbers
	case r.status != http.StatusAccepted || json.Unmarshal(r.body, &reply) != nil || len(reply.Data) != len(numbers):
		c.t.Errorf("a batch of %d: %s", len(numbers), r)
		return nil
	}
	for i, item := range reply.Data {
		switch item.Status {
		case http.StatusAccepted, http.StatusOK:
			c.took(numbers[i], item.Job.view(), r.asked)
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			left = append(left, numbers[i])
		default:
			c.t.Errorf("job %d of a batch: %d %s", numbers[i], item.Status, item.Error)
		}
	}
	return left
}

// reader looks at jobs again and again, and waits for some; it runs some of those again that failed or were cancelled.
func (c *chaos) reader(random *rand.Rand) {
	for !c.over.Load() && c.t.Context().Err() == nil {
		all := c.h.Len()
		if all == 0 {
			breathe(c.t.Context(), 10*time.Millisecond)
			continue
		}
		n := random.IntN(all)
		if random.IntN(2) == 0 {
			n = max(all-1-random.IntN(50), 0) // one of the latest
		}
		id := c.h.ID(n)
		if id == "" {
			continue
		}
		if !c.look(random, n, random.IntN(3)) {
			breathe(c.t.Context(), 100*time.Millisecond)
		}
		if random.IntN(20) == 0 {
			c.again(random, n, id)
		}
	}
}

// again asks for another run, which is granted to a job that has failed or was cancelled.
func (c *chaos) again(random *rand.Rand, n int, id job.ID) {
	v, ok := c.noted(n, c.ask(random, http.MethodGet, "/v1/jobs/"+string(id), ""))
	if ok && (v.Status == job.Failed || v.Status == job.Cancelled) {
		c.h.AskRun(n)
		c.noted(n, c.ask(random, http.MethodPost, "/v1/jobs/"+string(id)+"/retry", ""))
	}
}
