package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"headrace/api/jobspec"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

// batchHands is how many jobs of a batch are placed at a time.
const batchHands = 64

// placeItem places one job of a batch. What is wrong with it is its own.
func (d *jobDesk) placeItem(ctx context.Context, index int, entry jobspec.Entry, requestID string) batchItem {
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
		c.log.LogAttrs(ctx, slog.LevelError, "internal error with one of several jobs", slog.String("request_id", requestID), of, slog.Any("error", err))
	}
	m, body := problem.Body(problem.Headrace, e, requestID)
	return m.Status, body
}

func (d *jobDesk) placeEnvelope(ctx context.Context, entry jobspec.Entry, requestID string) (*job.Record, bool, error) {
	if entry.Err != nil {
		return nil, false, entry.Err
	}
	o, err := d.orderFrom(entry.Envelope)
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
	if r.Header.Get(jobspec.HeaderKey) != "" {
		return problem.Header(jobspec.HeaderKey, "left out here: a batch has a key for each job, its idempotency_key")
	}
	body, done, err := d.receive(w, r, d.cfg.SyncTimeout)
	defer done()
	if err != nil {
		return err
	}
	entries, err := jobspec.ReadBatch(body.bytes)
	if err != nil {
		return err
	}
	items := d.placeAll(r.Context(), entries, w.id)
	writeJSON(w, http.StatusAccepted, struct {
		Object string      `json:"object"`
		Data   []batchItem `json:"data"`
	}{"list", items})
	return nil
}

// placeAll places the jobs of a batch, many at a time.
func (d *jobDesk) placeAll(ctx context.Context, entries []jobspec.Entry, requestID string) []batchItem {
	items := make([]batchItem, len(entries))
	next := make(chan []int)
	var hands sync.WaitGroup
	for range min(batchHands, len(entries)) {
		hands.Go(func() {
			for indices := range next {
				for _, i := range indices {
					items[i] = d.placeItem(ctx, i, entries[i], requestID)
				}
			}
		})
	}
	for _, indices := range jobspec.Series(entries) {
		next <- indices
	}
	close(next)
	hands.Wait()
	return items
}
