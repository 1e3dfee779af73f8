package jobspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// ReadBatch splits the body of POST /v1/jobs/batch into entries. An entry that is no envelope has its own error.
func ReadBatch(body []byte) ([]Entry, error) {
	const form = `write {"jobs": [{"route": "...", "input": {...}}]}`
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, fault.New(fault.Invalid, "the body is missing; "+form)
	}
	var batch struct {
		Jobs []json.RawMessage `json:"jobs"`
	}
	err := readObject(body, &batch)
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if typed.Field == "" {
			return nil, fault.New(fault.Invalid, "a batch is an object, not a JSON %s; "+form, typed.Value)
		}
		return nil, problem.Option("jobs", "takes a list of jobs, not a JSON %s; "+form, typed.Value)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "the body is not a batch: %s; "+form, strings.TrimPrefix(err.Error(), "json: "))
	}
	if len(batch.Jobs) == 0 || len(batch.Jobs) > MaxBatch {
		return nil, problem.Option("jobs", "has %d entries; 1 to %d are accepted at a time", len(batch.Jobs), MaxBatch)
	}
	entries := make([]Entry, len(batch.Jobs))
	for i, text := range batch.Jobs {
		entries[i].Envelope, entries[i].Err = ReadEnvelope(text)
	}
	return entries, nil
}

// Entry is one job of a batch as it was read.
type Entry struct {
	Envelope *Envelope
	Err      error // why it cannot be
}

// Series are the indices of a batch's entries, by what may be done at the same time: entries of one id, or of one key on
// one route, follow each other in their order, so that the first one counts.
func Series(entries []Entry) [][]int {
	var all [][]int
	places := make(map[string]int)
	for i, e := range entries {
		name := ""
		switch {
		case e.Err != nil:
		case e.Envelope.ID != "":
			name = "id " + e.Envelope.ID
		case e.Envelope.Key != "":
			name = "key " + e.Envelope.Route + "\x00" + e.Envelope.Key
		}
		at, ok := places[name]
		if name == "" || !ok {
			places[name] = len(all)
			all = append(all, []int{i})
			continue
		}
		all[at] = append(all[at], i)
	}
	return all
}
