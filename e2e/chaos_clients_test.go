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

	"headrace/e2e/history"
	"headrace/internal/job"
)

// chaosView is a job as the server shows it.
type chaosView struct {
	ID            job.ID    `json:"id"`
	Status        job.State `json:"status"`
	Run           int       `json:"run"`
	Attempt       int       `json:"attempt"`
	MaxAttempts   int       `json:"max_attempts"`
	Interruptions int       `json:"interruptions"`
	Revision      uint64    `json:"revision"`
	ResultInfo    *struct {
		SHA256 string `json:"sha256"`
	} `json:"result_info"`
	Error struct {
		Code string `json:"code"`
	} `json:"error"`
}

func (v chaosView) view() history.View {
	w := history.View{
		ID: v.ID, State: v.Status, Run: v.Run, Attempt: v.Attempt, MaxAttempts: v.MaxAttempts, Interruptions: v.Interruptions, Revision: v.Revision,
	}
	if v.ResultInfo != nil && v.ResultInfo.SHA256 != "" { // a job that is not shown alone does not say it
		w.Digest = digest(v.ResultInfo.SHA256)
	}
	return w
}

// digest makes a number of a SHA-256 in hexadecimal digits.
func digest(text string) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(text))
	return sum.Sum64()
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
	for !c.over.Load() && c.going() {
		accepted := c.accepted.Load()
		if accepted+int64(n) > int64(c.set.jobs) {
			return false
		}
		if c.set.pace && float64(accepted) > float64(c.set.jobs)*float64(time.Since(c.began))/float64(c.set.length) {
			breathe(c.t.Context(), 50*time.Millisecond)
			continue
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

// chaosOrder is how a job is asked for, so that it can be asked for once more.
type chaosOrder struct {
	method, path, body string
	headers            []string
}

// ordered is what a job is asked for with.
func (c *chaos) ordered(n int, way chaosWay, more string) chaosOrder {
	key := []string{"Idempotency-Key", fmt.Sprint("key-", n)}
	switch way {
	case byKey:
		return chaosOrder{http.MethodPost, "/v1/jobs", c.envelopeOf(n, "emb", `,"priority":"batch"`+more), key}
	case byEmbedding:
		return chaosOrder{http.MethodPost, "/v1/embeddings", c.embeddingsOf(n), append(key, "Prefer", more)}
	case bySide:
		return chaosOrder{http.MethodPut, fmt.Sprint("/v1/jobs/own-", n), c.envelopeOf(n, "side", more), nil}
	case byID:
	}
	return chaosOrder{http.MethodPut, fmt.Sprint("/v1/jobs/own-", n), c.envelopeOf(n, "emb", more), nil}
}

// chaosWay is one of the ways to ask for a job.
type chaosWay uint8

const (
	byID chaosWay = iota
	byKey
	byEmbedding
	bySide
)

// asking remembers how a job is asked for.
type asking struct {
	way  chaosWay
	more string
}

// place asks for one job until its outcome is known, and remembers how.
func (c *chaos) place(random *rand.Rand, n int, way chaosWay, more string) {
	c.asked.Store(n, asking{way, more})
	end := time.Now().Add(c.set.length + 30*time.Second + 2*c.set.lease)
	for time.Now().Before(end) && c.going() {
		if c.placed(random, n, c.ordered(n, way, more)) {
			return
		}
		breathe(c.t.Context(), time.Duration(50+random.IntN(400))*time.Millisecond)
	}
	if c.going() {
		c.t.Errorf("job %d could not be placed", n)
	}
}

// placed asks for a job and reports whether the outcome is known.
func (c *chaos) placed(random *rand.Rand, n int, o chaosOrder) bool {
	r := c.ask(random, o.method, o.path, o.body, o.headers...)
	var v chaosView
	switch {
	case r.status == http.StatusAccepted || r.status == http.StatusOK && o.path != "/v1/embeddings":
		if r.err != nil || json.Unmarshal(r.body, &v) != nil {
			return false
		}
		c.took(n, v.view(), r.asked)
	case r.status == http.StatusGone:
		c.h.Gone(n, r.asked)
	case r.header.Get("Job-Id") != "": // the result, or what the job failed of
		c.took(n, history.View{ID: job.ID(r.header.Get("Job-Id"))}, r.asked)
		if v, ok := c.view(random, n, 0); r.status == http.StatusOK && r.err == nil && ok && v.Run == 1 {
			c.judge(n, 1, r.body)
		}
	case !r.unsure():
		c.t.Errorf("job %d: %s", n, r)
	default:
		return false
	}
	return true
}

// inputOf is a job's input: its number, and more behind it for some, whose inputs and results do not fit into their
// records.
func (c *chaos) inputOf(n int) string {
	if n%c.set.large == 0 {
		return strconv.Itoa(n) + strings.Repeat(" ", 100_000)
	}
	return strconv.Itoa(n)
}

func (c *chaos) envelopeOf(n int, route, more string) string {
	return fmt.Sprintf(`{"route":%q,"input":{"input":%q}%s}`, route, c.inputOf(n), more)
}

func (c *chaos) embeddingsOf(n int) string {
	return fmt.Sprintf(`{"model":"emb","input":%q}`, c.inputOf(n))
}

// putter chooses ids of its own, asks for some jobs again, for some to be run later, and for some to be tried seldom.
func (c *chaos) putter(random *rand.Rand) {
	for c.more(1) {
		n, more := c.h.Ask(), ""
		switch random.IntN(4) {
		case 0:
			more = fmt.Sprintf(`,"run_at":%q`, time.Now().Add(time.Duration(random.IntN(5000))*time.Millisecond).Format(time.RFC3339Nano))
		case 1:
			more = fmt.Sprintf(`,"retry":{"max_attempts":%d}`, 1+random.IntN(2))
		}
		for range 1 + random.IntN(2) {
			c.place(random, n, byID, more)
		}
	}
}

// keyed repeats itself under the same key.
func (c *chaos) keyed(random *rand.Rand) {
	for c.more(1) {
		n := c.h.Ask()
		for range 1 + random.IntN(3) {
			c.place(random, n, byKey, "")
		}
	}
}

// async uses the path of OpenAI's clients, and waits for some of its results.
func (c *chaos) async(random *rand.Rand) {
	for c.more(1) {
		prefer := "respond-async"
		if random.IntN(2) == 0 {
			prefer = "wait=2"
		}
		c.place(random, c.h.Ask(), byEmbedding, prefer)
	}
}

// canceller cancels what it has asked for.
func (c *chaos) canceller(random *rand.Rand) {
	for c.more(1) {
		n := c.h.Ask()
		c.place(random, n, byID, "")
		breathe(c.t.Context(), time.Duration(random.IntN(50))*time.Millisecond)
		for range 1 + random.IntN(2) {
			c.cancel(random, n)
		}
	}
}

// pauser holds a queue up, again and again.
func (c *chaos) pauser(random *rand.Rand) {
	for c.more(1) {
		c.pauseQueue(random, true)
		for range 1 + random.IntN(3) {
			c.place(random, c.h.Ask(), bySide, "")
		}
		breathe(c.t.Context(), time.Duration(random.IntN(500))*time.Millisecond)
		c.pauseQueue(random, false)
		breathe(c.t.Context(), time.Duration(random.IntN(500))*time.Millisecond)
	}
}

// pauseQueue pauses or resumes a queue, until it is known to be done.
func (c *chaos) pauseQueue(random *rand.Rand, paused bool) {
	verb := "resume"
	if paused {
		verb = "pause"
	}
	for end := time.Now().Add(time.Minute); c.going() && time.Now().Before(end); breathe(c.t.Context(), 100*time.Millisecond) {
		r := c.ask(random, http.MethodPost, "/v1/queues/side/"+verb, "")
		if r.err == nil && r.status == http.StatusOK {
			return
		}
		if !r.unsure() {
			c.t.Errorf("%s: %s", verb, r)
			return
		}
	}
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
		for len(left) > 0 && c.going() {
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
			c.asked.Store(n, asking{byID, ""})
		case named:
			more = fmt.Sprintf(`,"idempotency_key":"key-%d"`, n)
		}
		body.WriteString(c.envelopeOf(n, "emb", more))
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
		case http.StatusGone: // it was asked for before, and somebody has erased it
			c.h.Gone(numbers[i], r.asked)
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			left = append(left, numbers[i])
		default:
			c.t.Errorf("job %d of a batch: %d %s", numbers[i], item.Status, item.Error)
		}
	}
	return left
}
