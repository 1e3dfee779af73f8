package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/e2e/history"
	"headrace/internal/job"
)

// noted takes an answer that shows a job, and reports whether it tells of the job for certain; v is empty when nothing is
// left of it.
func (c *chaos) noted(n int, r chaosReply) (v chaosView, ok bool) {
	switch {
	case r.err != nil || r.unsure() || r.status == http.StatusConflict:
		return v, false
	case r.status == http.StatusNotFound:
		c.h.Missing(n, r.asked)
	case r.status == http.StatusGone:
		c.h.Gone(n, r.asked)
	case r.status == http.StatusOK || r.status == http.StatusAccepted:
		if err := json.Unmarshal(r.body, &v); err != nil {
			c.t.Errorf("job %d: %v in %s", n, err, r)
			return v, false
		}
		c.h.Saw(n, v.view(), r.asked)
		if v.Status == job.Failed {
			c.failed.Store(n, v.Error.Code)
		}
	default:
		c.t.Errorf("job %d: %s", n, r)
	}
	return v, true
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
	case r.status == http.StatusGone: // the job, or only its result
		if v, ok := c.view(random, n, 0); !ok || v.ID == "" {
			return ok
		}
		c.h.NoResult(n)
	case r.status == http.StatusNotFound:
		c.h.Missing(n, r.asked)
	default: // it must have ended otherwise, and may not have
		c.t.Errorf("the result of job %d: %s", n, r)
		c.view(random, n, 0)
	}
	return true
}

// lookAgain looks at a job that was seen to end, and at its result when it has one.
func (c *chaos) lookAgain(random *rand.Rand, n int) bool {
	if s, run := c.h.State(n); s == job.Succeeded && !c.result(random, n, run) {
		return false
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
	err := json.Unmarshal(body, &reply)
	if err != nil || len(reply.Data) != 1 || len(reply.Data[0].Embedding) != 2+c.model.paddingOf(n) || int(reply.Data[0].Embedding[0]) != n {
		c.h.Wrong(n, fmt.Sprintf("%.200s", body))
		return
	}
	sum := sha256.Sum256(body)
	c.h.Read(n, run, digest(hex.EncodeToString(sum[:])))
}

// reader looks at jobs again and again, also at those that have ended, and waits for some.
func (c *chaos) reader(random *rand.Rand) {
	for c.going() && !c.over.Load() {
		n, ok := c.some(random)
		if !ok {
			breathe(c.t.Context(), 10*time.Millisecond)
			continue
		}
		if !c.look(random, n, random.IntN(3)) {
			breathe(c.t.Context(), 100*time.Millisecond)
		}
	}
}

// some is an accepted job: one of all, or one of the latest.
func (c *chaos) some(random *rand.Rand) (n int, ok bool) {
	all := c.h.Len()
	if all == 0 {
		return 0, false
	}
	n = random.IntN(all)
	if random.IntN(2) == 0 {
		n = max(all-1-random.IntN(50), 0)
	}
	return n, c.h.ID(n) != ""
}

// follower reads events, breaks off, and goes on where it was.
func (c *chaos) follower(random *rand.Rand) {
	for c.going() && !c.over.Load() {
		n, ok := c.some(random)
		from := uint64(0)
		for range 1 + random.IntN(3) {
			if ok {
				had, _ := c.follow(random, n, from, time.Duration(50+random.IntN(1000))*time.Millisecond)
				if len(had) > 0 { // it goes on after one of them: the others came, and it broke off before it had noted them
					from = had[random.IntN(len(had))]
				}
			}
			breathe(c.t.Context(), time.Duration(random.IntN(50))*time.Millisecond)
		}
	}
}

// follow reads the events of a job after one of them, at most for a time, and gives their numbers. done reports whether the
// stream has told the job's end, or there is no such job any more.
func (c *chaos) follow(random *rand.Rand, n int, from uint64, within time.Duration) (had []uint64, done bool) {
	ctx, cancel := context.WithTimeout(c.t.Context(), within)
	defer cancel()
	addr := c.fleet.apis[random.IntN(len(c.fleet.apis))]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/v1/jobs/%s/events", addr, c.h.ID(n)), http.NoBody)
	if err != nil {
		c.t.Error(err)
		return nil, false
	}
	if from > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(from, 10))
	}
	s := c.h.Follow(n, from)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, false
	}
	defer func() { _ = resp.Body.Close() }()
	r := chaosReply{status: resp.StatusCode, header: resp.Header, asked: s.Asked, addr: addr}
	if r.status != http.StatusOK {
		if r.body, r.err = io.ReadAll(io.LimitReader(resp.Body, 1<<16)); r.err == nil {
			_, done = c.noted(n, r)
		}
		return nil, done
	}
	if err := readEvents(resp.Body, &s); err != nil {
		c.t.Errorf("the events of job %d: %v", n, err)
	}
	c.h.Streamed(n, s)
	for _, e := range s.Events {
		had, done = append(had, e.ID), e.Kind == "done"
	}
	return had, done
}

// readEvents reads server-sent events until they end or break off.
func readEvents(from io.Reader, s *history.Stream) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	var e history.Event
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "": // a blank line, or ": alive"
			if value != "" {
				s.Quiet = s.Quiet || len(s.Events) == 0
			} else if e.Kind != "" {
				s.Events, e = append(s.Events, e), history.Event{}
			}
		case "id":
			id, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return err
			}
			e.ID = id
		case "event":
			e.Kind = value
		case "data":
			var v chaosView
			if json.Unmarshal([]byte(value), &v) != nil {
				if !bytes.HasSuffix(lines.Bytes(), []byte("}")) {
					return nil // it was cut off
				}
				return errors.New("no job in " + value)
			}
			e.View = v.view()
		}
	}
	return nil // it ends or was cut off: what came is what counts
}
