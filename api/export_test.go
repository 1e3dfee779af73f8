package api

import (
	"encoding/json"
	"time"

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

// Series are the indices of a batch's jobs, by what is placed at the same time.
func Series(batch []json.RawMessage) [][]int {
	entries := make([]batchEntry, len(batch))
	for i := range batch {
		entries[i].envelope, entries[i].err = readEnvelope(batch[i])
	}
	return series(entries)
}
