package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// readBatch splits the body of POST /v1/jobs/batch into envelopes.
func readBatch(body []byte) ([]json.RawMessage, error) {
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
		return nil, badOption("jobs", "takes a list of jobs, not a JSON %s; "+form, typed.Value)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "the body is not a batch: %s; "+form, strings.TrimPrefix(err.Error(), "json: "))
	}
	if len(batch.Jobs) == 0 || len(batch.Jobs) > maxBatch {
		return nil, badOption("jobs", "has %d entries; 1 to %d are accepted at a time", len(batch.Jobs), maxBatch)
	}
	return batch.Jobs, nil
}

// batchEntry is one job of a batch as it was read.
type batchEntry struct {
	envelope *envelope
	err      error // why it cannot be
}

// series are the indices of a batch's entries, by what may be done at the same time: entries of one id, or of one key on
// one route, follow each other in their order, so that the first one counts.
func series(entries []batchEntry) [][]int {
	var all [][]int
	places := make(map[string]int)
	for i, e := range entries {
		name := ""
		switch {
		case e.err != nil:
		case e.envelope.ID != "":
			name = "id " + e.envelope.ID
		case e.envelope.Key != "":
			name = "key " + e.envelope.Route + "\x00" + e.envelope.Key
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

// placeItem places one job of a batch. What is wrong with it is its own.
func (d *jobDesk) placeItem(ctx context.Context, index int, entry batchEntry, requestID string) batchItem {
	rec, fresh, err := d.placeEnvelope(ctx, entry, requestID)
	if err != nil {
		status, problem := d.itemProblem(ctx, slog.Int("index", index), err, requestID)
		return batchItem{Index: index, Status: status, Error: problem}
	}
	status := http.StatusAccepted
	if !fresh {
		status = http.StatusOK
	}
	return batchItem{Index: index, Status: status, Job: new(d.viewJob(rec))}
}

// itemProblem is the status and the error of one job of several; of identifies it. For internal errors the caller gets a
// generic message; the log has the cause.
func (c *chassis) itemProblem(ctx context.Context, of slog.Attr, err error, requestID string) (status int, body any) {
	e := fault.From(err)
	if e.Code == fault.Internal {
		c.log.LogAttrs(ctx, slog.LevelError, "one job of several failed inside", slog.String("request_id", requestID), of, slog.Any("error", err))
	}
	m, body := problem.Body(problem.Headrace, e, requestID)
	return m.Status, body
}

func (d *jobDesk) placeEnvelope(ctx context.Context, entry batchEntry, requestID string) (*job.Record, bool, error) {
	if entry.err != nil {
		return nil, false, entry.err
	}
	o, err := d.orderFrom(entry.envelope)
	if err != nil {
		return nil, false, err
	}
	o.asked.Request.ID = requestID
	return d.place(ctx, o)
}

// batchItem is the answer to one job of a batch.
type batchItem struct {
	Index  int      `json:"index"`
	Status int      `json:"status"`
	Job    *jobView `json:"job,omitempty"`
	Error  any      `json:"error,omitempty"`
}

// placeJobs answers POST /v1/jobs/batch.
func (d *jobDesk) placeJobs(w *replyWriter, r *http.Request, _ string) error {
	if r.Header.Get(headerKey) != "" {
		return badHeader(headerKey, "left out here: a batch has a key for each job, its idempotency_key")
	}
	body, done, err := d.receive(w, r, d.cfg.SyncTimeout)
	defer done()
	if err != nil {
		return err
	}
	raw, err := readBatch(body.bytes)
	if err != nil {
		return err
	}
	items := d.placeAll(r.Context(), raw, w.id)
	writeJSON(w, http.StatusAccepted, "application/json", struct {
		Object string      `json:"object"`
		Data   []batchItem `json:"data"`
	}{"list", items})
	return nil
}

// placeAll places the jobs of a batch, many at a time.
func (d *jobDesk) placeAll(ctx context.Context, raw []json.RawMessage, requestID string) []batchItem {
	entries := make([]batchEntry, len(raw))
	for i := range raw {
		entries[i].envelope, entries[i].err = readEnvelope(raw[i])
	}
	items := make([]batchItem, len(raw))
	next := make(chan []int)
	var hands sync.WaitGroup
	for range min(batchHands, len(raw)) {
		hands.Go(func() {
			for indices := range next {
				for _, i := range indices {
					items[i] = d.placeItem(ctx, i, entries[i], requestID)
				}
			}
		})
	}
	for _, indices := range series(entries) {
		next <- indices
	}
	close(next)
	hands.Wait()
	return items
}
