package api

import (
	"encoding/json"
	"net/http"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

// Paths lists the templates of every path that the router knows.
func (s *Server) Paths() []string { return paths(s.board.router(s.operations())) }

// Fingerprint is that of a job whose envelope was read at now.
func Fingerprint(envelope string, now time.Time) (string, error) {
	e, err := readEnvelope([]byte(envelope))
	if err != nil {
		return "", err
	}
	o, err := e.options(JobsConfig{}.withDefaults(), &inference.Route{Name: e.Route}, now)
	if err != nil {
		return "", err
	}
	return fingerprint(&job.Record{Route: e.Route, Form: []byte("{}")}, o, e.Input)
}

// LongestPause is the most that Headrace asks for of its own accord.
const LongestPause = longestPause

// Pause is what Retry-After says about an error to a caller who has repeated the call so often.
func Pause(e *fault.Error, retries int, dice float64) time.Duration {
	return pause(e, meaningOf(e), retries, dice)
}

// BacklogPause is about how long the calls need that wait on a route.
func BacklogPause(state inference.RouteState) time.Duration { return backlogPause(state) }

// Later makes the pause that an error asks for at least d.
func Later(err error, d time.Duration) error { return later(err, d) }

// RetriesOf is how often a caller says that it has repeated a call.
func RetriesOf(h http.Header) int { return retriesOf(h) }

// Series are the indices of a batch's jobs, by what is placed at the same time.
func Series(batch []json.RawMessage) [][]int {
	entries := make([]batchEntry, len(batch))
	for i := range batch {
		entries[i].envelope, entries[i].err = readEnvelope(batch[i])
	}
	return series(entries)
}
