package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Line makes a job of one line of a file.
func Line(route, prefix, run string, options map[string]any, line string) (json.RawMessage, error) {
	r := lineReader{route: route, prefix: prefix, run: run, options: options}
	if route != "" {
		r.text = func(text string) ([]byte, error) { return bodyFor(route, "llm/v1/embeddings", []string{text}) }
	}
	return r.job([]byte(line))
}

// GoodID tells an id that the gateway takes.
func GoodID(id string) bool { return goodID(id) }

// JobTable shows the jobs of a list.
func JobTable(jobs []string, at time.Time, coloured bool) (string, error) {
	var all []*shown
	for _, job := range jobs {
		v, err := readShown([]byte(job))
		if err != nil {
			return "", err
		}
		all = append(all, v)
	}
	return jobTable(all, at).render(coloured), nil
}

// JobDetails shows one job.
func JobDetails(job string, at time.Time, coloured bool) (string, error) {
	v, err := readShown([]byte(job))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = v.details(&b, at, coloured)
	return b.String() + v.line(coloured) + "\n", err
}

// QueueTable shows queues.
func QueueTable(queues string, at time.Time, coloured bool) (string, error) {
	var all []queue
	err := json.Unmarshal([]byte(queues), &all)
	return queueTable(all, at).render(coloured), err
}

// RouteTable shows routes.
func RouteTable(routes string, coloured bool) (string, error) {
	var all []servedRoute
	err := json.Unmarshal([]byte(routes), &all)
	return routeTable(all).render(coloured), err
}

// AttemptTable shows attempts.
func AttemptTable(attempts string, at time.Time, coloured bool) (string, error) {
	var all []attempt
	err := json.Unmarshal([]byte(attempts), &all)
	return attemptTable(all, at).render(coloured), err
}

// InWords writes a length of time.
func InWords(d time.Duration) string { return inWords(d) }

// Bear waits as one that has reached a gateway before, which now answers with a status, until it gives up.
func Bear(ctx context.Context, limit time.Duration, status int, retryAfter string) (pauses []time.Duration, err error) {
	p := &patience{told: io.Discard, limit: limit, reached: true}
	for {
		resp := &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: http.Header{"Retry-After": {retryAfter}}}
		began := time.Now()
		if err := p.bear(ctx, refusal(resp, nil)); err != nil {
			return pauses, err
		}
		pauses = append(pauses, time.Since(began))
	}
}

// CommitOf is the commit of a build.
func CommitOf(info *debug.BuildInfo) string { return commitOf(info) }
